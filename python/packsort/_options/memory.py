"""The memory that a call may take.

By default a call takes half of what the machine and the limits of its processes allow: the machine's memory, those of
its control groups (`cgroup`, version 1 or 2), and `ulimit`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from packsort import _checks
from packsort.errors import OptionError

FIXED_BYTES = 128 << 20
"""Memory that any call takes beyond that of the process at its start: buffers, threads, and modules imported on the
way."""
_LIMIT_FILES = {"cgroup": "memory.limit_in_bytes", "cgroup2": "memory.max"}
_UNKNOWN = 2**62  # bytes, where the system does not tell


def in_units(size: int) -> str:
    """Write a size in bytes as an option takes it, rounded up to three digits.

    Example:
        >>> in_units(999), in_units(1_234_567_890)
        ('999B', '1.24GB')
    """
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if size >= 1000**power:
            digits = 10 ** (3 * power - max(0, 3 - len(str(size // 1000**power))))
            return f"{-(-size // digits) * digits / 1000**power:g}{unit}"
    return f"{size}B"


def find_memory_limit(value: Any = None) -> int:
    """Return the bytes of memory that a call may take; None is half of `available_memory`.

    Raises:
        OptionError: The value is no size.
    """
    return available_memory() // 2 if value is None else _checks.byte_size("memory_limit", value)


def used_memory() -> int:
    """Return the resident memory of the process in bytes; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def check_least_memory(limit: int, least: int, what: str, way_out: str = "raise it") -> None:
    """Refuse a limit below the least that would do.

    Args:
        limit: Bytes of memory that a call may take.
        least: Bytes that it takes at least.
        what: What they are for.
        way_out: What to do.

    Raises:
        OptionError: The limit is smaller; the message names the least that would do.

    Example:
        >>> check_least_memory(10**6, 2 * 10**9, "7 rows")
        Traceback (most recent call last):
        packsort.errors.OptionError: memory_limit must be at least 2GB for 7 rows, got 1MB: raise it
    """
    if limit < least:
        raise OptionError(
            f"memory_limit must be at least {in_units(least)} for {what}, got {in_units(limit)}: {way_out}"
        )


def available_memory(process: Path = Path("/proc/self")) -> int:
    """Return the bytes of memory that the machine, control groups and `ulimit` allow this process.

    Args:
        process: Folder of the process in the file system `proc`.
    """
    return min([_machine_memory(), *_resource_limits(), *_control_group_limits(process)])


def _machine_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN


def _resource_limits() -> Iterator[int]:
    try:
        import resource
    except ImportError:  # of Unix
        return
    for name in ("RLIMIT_AS", "RLIMIT_DATA"):
        limit = resource.getrlimit(getattr(resource, name))[0]
        if limit != resource.RLIM_INFINITY:
            yield limit


def _control_group_limits(process: Path) -> Iterator[int]:
    """Yield the limits of the groups that the process is in, from its own up to the outermost one that is mounted."""
    try:
        groups = (process / "cgroup").read_text().splitlines()
        mounts = (process / "mountinfo").read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    own = {}
    for line in groups:
        number, controllers, path = line.split(":", 2)
        if number == "0" or "memory" in controllers.split(","):
            own["cgroup2" if number == "0" else "cgroup"] = path
    for line in mounts:
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        if kind not in own or (kind == "cgroup" and "memory" not in options.split(",")):
            continue
        root, mount = before.split(" ")[3:5]
        # A container sees its own group as the root of the mount, whatever the path that the process is told.
        below = os.path.relpath(own[kind], root) if own[kind].startswith(root) else "."
        folder = Path(mount, below)
        for group in (folder, *folder.parents):
            with suppress(OSError, ValueError):  # not there, or `max`
                yield int((group / _LIMIT_FILES[kind]).read_text())
            if group == Path(mount):
                break

"""The command line of packsort as a process of its own, for signals, limits, terminals and pipes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

# The fixture `run` of conftest.py: the same in this process, for everything that a process does not change.
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "packsort", *map(str, args)]


def run_process(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*args), text=True, timeout=120, **{"capture_output": True, **options})  # type: ignore[call-overload,no-any-return]


def start(*args: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(command(*args), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload,no-any-return]

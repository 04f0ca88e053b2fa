"""Peak memory of a run: that of the GPU, or the resident memory of the process on a CPU."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset(device: torch.device) -> None:
    """Start to measure the peak."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # systems without this file have no peak of a part of a process
            _CLEAR.write_text("5")


def peak(device: torch.device) -> int | None:
    """Return the peak since `reset` in bytes, or None where it is not known."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text())
        return int(found[1]) * 1024 if found else None
    return None

"""Runs that were stopped: how they are recognised, and what they have left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from packsort._atomic.steps import hidden
from packsort._paths import printable

RUN_FILE = ".packsort-run"
"""File in an unfinished folder, and for a moment in a finished one: the identity of the run, and what it recorded."""


def read_run(folder: Path) -> tuple[str | None, list[Any]]:
    """Return the identity of the run that wrote a folder and what it recorded; None if there is no such run."""
    path = folder / RUN_FILE
    try:
        # Opening a named pipe would wait for ever.
        lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []  # the last may have been cut off
        identity, *records = map(json.loads, lines)
    except (OSError, ValueError, RecursionError):
        return None, []
    return (identity, records) if isinstance(identity, str) else (None, [])


def stopped_run(out: Path) -> str:
    """Say in words what a run that was stopped has left in the place of an output that is not there.

    Args:
        out: The output.

    Returns:
        The words, to follow what names the output, or nothing if no run was stopped.
    """
    path = Path(os.path.realpath(out))
    if hidden(path, "replaced").is_dir():
        return (
            f": a run that replaced it was stopped, and what was there is in `{printable(hidden(path, 'replaced'))}`; "
            "the same call again finishes it"
        )
    if hidden(path, "unfinished").is_dir():
        return ": writing it was not finished; the same call again goes on"
    return ""

"""Checkpoints of a run that is not finished: weights, optimizer, and place."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from packsort._atomic import replace_file

FOLDER = "unfinished"
_LEAST_SECONDS = 20.0
_SHARE = 0.02  # of the time may go into saving


class Checkpoint:
    """The checkpoint of one run, saved now and then.

    Args:
        folder: Folder of the results.
        key: Key of the run.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.path = folder / FOLDER / f"{key}.pt"
        self._next = time.monotonic() + _LEAST_SECONDS

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, or None. The file holds tensors and numbers, and can run no code."""
        if not self.path.exists():
            return None
        state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        return state

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again."""
        return time.monotonic() >= self._next

    def save(self, state: dict[str, Any]) -> None:
        """Save a state in the place of the last; the file is whole at every moment."""
        begin = time.monotonic()
        self.path.parent.mkdir(exist_ok=True)
        with replace_file(self.path) as file:
            torch.save(state, file)
        took = time.monotonic() - begin
        self._next = time.monotonic() + max(_LEAST_SECONDS, took / _SHARE)

    def remove(self) -> None:
        """Remove the checkpoint of a finished run."""
        self.path.unlink(missing_ok=True)
        if self.path.parent.is_dir() and not any(self.path.parent.iterdir()):
            self.path.parent.rmdir()

"""Figures of runs, one JSON line each, in `results.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from packsort._atomic import replace_file
from packsort.errors import SourceError
from packsort.experiment.settings import RunSettings

NAME = "results.jsonl"


@dataclass(frozen=True)
class Run:
    """Figures of one run.

    Attributes:
        settings: Its settings.
        steps: Steps of all epochs.
        samples_per_step: Mean number of conversations, or pieces of them, in a step.
        tokens: Tokens computed.
        real_tokens: Those that are not padding.
        seconds: Time of all steps, batches included; None where times were not to be recorded.
        peak_memory: Most memory of the device or, on a CPU, of the process, in bytes; None where it is not known.
        split: Conversations in more than one row.
        truncated: Conversations that lost their end.
        tokens_lost: Tokens lost by that.
        waiting: Times longer that a step lasts where 8 ranks take batches of this method and wait for each other; None
            with fewer than 8 steps.
        curve: Training loss: (real tokens seen, mean loss since the entry before; None where no token carried loss).
        before: Held-out figures of the initial weights.
        after: Held-out figures at the end; None for a method of which only the time is measured.
        weights: Number of weights.
        machine: Device, versions and date.
        without_loss: Steps in which no token carried loss.
    """

    settings: RunSettings
    steps: int
    samples_per_step: float
    tokens: int
    real_tokens: int
    seconds: float | None
    peak_memory: int | None
    split: int
    truncated: int
    tokens_lost: int
    waiting: float | None
    curve: Sequence[tuple[int, float | None]]
    before: Mapping[str, Any]
    after: Mapping[str, Any] | None
    weights: int
    machine: Mapping[str, str]
    without_loss: int = 0

    def to_line(self) -> str:
        """Return the record as one line of JSON, with figures to seven digits; what is no number is null."""
        facts = {"key": self.settings.key, **asdict(self), "settings": self.settings.to_dict()}
        return json.dumps(_rounded(facts), allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> Run:
        """Return the record of a line."""
        facts = json.loads(line)
        facts.pop("key", None)
        given = facts["settings"]
        if "only" in given:
            given["only"] = tuple(given["only"])
        return cls(**{**facts, "settings": RunSettings(**given)})


class Records:
    """Figures of the finished runs in a folder, by the keys of their settings.

    Args:
        folder: The folder.

    Raises:
        SourceError: The file in it holds something else.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lines: dict[str, str] = {}
        if self.path.exists():
            for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
                try:
                    self._lines[Run.from_line(line).settings.key] = line
                except (ValueError, TypeError, KeyError) as error:
                    raise SourceError(
                        f"line {number} of `{self.path}` is no record of a run ({error}): remove the file"
                    ) from error

    def __contains__(self, settings: RunSettings) -> bool:
        return settings.key in self._lines

    def __getitem__(self, settings: RunSettings) -> Run:
        return Run.from_line(self._lines[settings.key])

    def add(self, run: Run) -> None:
        """Add a finished run; the file is whole at every moment."""
        self._lines[run.settings.key] = run.to_line()
        with replace_file(self.path) as file:
            file.write("".join(f"{self._lines[key]}\n" for key in sorted(self._lines)).encode())


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.7g}") if isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return value

"""Counts of tokenized rows, which add up over batches, files and processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

from packsort.tokenization.notes import NoteKind


@dataclass
class SplitCounts:
    """Counts of conversations that were cut, and of turns that were too long.

    Attributes:
        split: Number of conversations cut.
        windows: Number of windows that they were cut into.
        turns_left_out: Number of turns that are too long for a window.
        tokens_left_out: Tokens of these turns, without system messages. A conversation that is left out counts with all
            its tokens.
        rows_shortened: Number of conversations that lack some of their turns.
        rows_left_out: Number of conversations that lack all of their turns.
    """

    split: int = 0
    windows: int = 0
    turns_left_out: int = 0
    tokens_left_out: int = 0
    rows_shortened: int = 0
    rows_left_out: int = 0


@dataclass
class Tally(SplitCounts):
    """Counts of tokenized rows, those of `SplitCounts` among them.

    Attributes:
        sequences: Number of sequences.
        tokens: Number of tokens.
        loss_tokens: Number of tokens that carry loss.
        without_loss: Number of sequences in which no token carries loss.
        empty: Number of rows without tokens.
        merged: Number of rows whose prompt alone has other tokens than the start of their sequence.
        by_contents: Number of conversations whose turns their contents gave.
        dated: Number of batches in which the chat template had read the date.
        noted: Number of rows, messages or tool calls by the kind of their note.
        unwritten: Number of messages that the chat template does not write as they are, by role.

    Example:
        >>> one = Tally(sequences=2, noted=Counter({"bos_in_text": 1}))
        >>> one += Tally(sequences=3, noted=Counter({"bos_in_text": 2}))
        >>> one.sequences, one.noted["bos_in_text"]
        (5, 3)
    """

    sequences: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    without_loss: int = 0
    empty: int = 0
    merged: int = 0
    by_contents: int = 0
    dated: int = 0
    noted: Counter[NoteKind] = field(default_factory=Counter)
    unwritten: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: Tally) -> Self:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))
        return self

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {**vars(self), "noted": dict(self.noted), "unwritten": dict(self.unwritten)}

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Tally:
        """Return the counts that `to_json` gave.

        Raises:
            TypeError: They are not counts.
        """
        values = dict(facts)
        noted, unwritten = Counter(values.pop("noted")), Counter(values.pop("unwritten"))
        if not all(type(number) is int for number in (*values.values(), *noted.values(), *unwritten.values())):
            raise TypeError("counts must be integers")
        return cls(**values, noted=noted, unwritten=unwritten)

"""Interface of packs: those of a packed directory, and those that are packed on the fly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from packsort.balance.costs import CostModel
from packsort.sources.sequence_columns import Dictionaries

PackArrays = Mapping[str, NDArray[Any]]
"""One pack: an array for each column, as `packsort.Shards` gives it."""


class EpochPacks(Protocol):
    """Packs of one epoch.

    Attributes:
        together: Number of packs whose places are best looked up at once, 1 if that saves nothing.
    """

    together: int

    def expect(self, numbers: Sequence[int]) -> None:
        """Say which packs are taken next, up to `together` of them, so that they are looked up at once."""

    def take(self, numbers: Sequence[int], *, pieces: bool = False) -> list[PackArrays]:
        """Return packs by number.

        Args:
            numbers: Their numbers.
            pieces: Whether tokens and labels may be `packsort._core.Pieces`, as a batch takes them.
        """

    def pack_order(self) -> NDArray[np.int64] | None:
        """Return the numbers of all packs in the order of the epoch, int64 (num_packs,), or None for 0, 1, 2, ..."""

    def costs(self, cost: CostModel, attention: str) -> NDArray[np.float64]:
        """Return the cost of each pack, float64 (num_packs,)."""


class Packs(Protocol):
    """All packs of a source, in any epoch.

    Attributes:
        name: The source, for messages.
        seed: Seed of the order of packs, or None.
        in_order: Whether packs come in input order in every epoch.
        max_length: Most tokens of a pack.
        max_sequences: Most sequences of a pack, or None for any number.
        max_fillers: Most separators and stretches of padding between and after them, or None for any number.
        pad_to_multiple_of: Number of which the tokens of each sequence are a multiple, padding included.
        columns: Names of a pack's columns.
        kept: Those with one value for each segment that were kept.
        dictionaries: Texts of kept columns of codes.
        plan_fingerprint: Fingerprint of the plan, the same in all epochs.
    """

    name: str
    seed: int | None
    in_order: bool
    max_length: int
    max_sequences: int | None
    max_fillers: int | None
    pad_to_multiple_of: int
    columns: tuple[str, ...]
    kept: tuple[str, ...]
    dictionaries: Dictionaries
    plan_fingerprint: str

    @property
    def data_fingerprint(self) -> str:
        """Fingerprint of the tokens."""

    def __len__(self) -> int: ...

    def in_epoch(self, epoch: int) -> EpochPacks:
        """Return the packs of an epoch."""

    def check_unchanged(self) -> None:
        """Raise a `DamagedError` if the source has changed since it was opened."""

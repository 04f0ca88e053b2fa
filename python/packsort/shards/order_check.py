"""Check that packs of `strategy="in_order"` are those that the strategy makes, in its order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from packsort.errors import PacksortError
from packsort.planning.build import plan
from packsort.planning.displacement import displacement
from packsort.shards.manifest import Manifest
from packsort.shards.shard_check import ShardCheck


class PackOrder:
    """Order of the packs of a directory, and of the sequences in them.

    The packs follow from the lengths of the sequences that they hold, so the strategy is run again and its packs are
    compared. Where groups kept sequences apart, only their order is checked: the directory does not hold the groups.

    Args:
        manifest: Record of the directory.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._pieces = [np.zeros((3, 0), np.int64)]  # rows, first tokens and lengths of the pieces of each shard
        self._sizes = [np.zeros(0, np.int64)]  # pieces of each pack

    def add(self, check: ShardCheck) -> None:
        """Record the packs of a shard."""
        self._pieces.append(np.stack([column[check.inside] for column in (check.ids, check.starts, check.lengths)]))
        self._sizes.append(np.diff(np.concatenate([[0], np.cumsum(check.inside)])[check.segment_ends]))

    def problems(self) -> Iterator[str]:
        """Yield the first pack that is another than it must be, and counts that are others than the manifest's."""
        rows, starts, lengths = np.concatenate(self._pieces, axis=1).astype(np.int64)
        sizes = np.concatenate(self._sizes)
        counts, options = self._manifest.counts, self._manifest.options
        moved = displacement(rows, starts, counts.rows)
        if moved != (counts.max_displacement, counts.mean_displacement):
            yield (
                f"sequences stand up to {moved[0]} places from their own, {moved[1]} on average; the manifest says "
                f"{counts.max_displacement} and {counts.mean_displacement}"
            )
        in_input = np.lexsort((starts, rows))  # the piece at each place of the input
        if options.groups is None and options.alone is None:
            yield from self._replayed(in_input, lengths, sizes)
            return
        places = np.empty_like(in_input)
        places[in_input] = np.arange(len(in_input))
        yield from _disorder(places, sizes, shuffled=options.seed is not None)

    def _replayed(
        self, in_input: NDArray[np.int64], lengths: NDArray[np.int64], sizes: NDArray[np.int64]
    ) -> Iterator[str]:
        options = self._manifest.options
        try:
            made = plan(
                lengths[in_input],
                self._manifest.max_length,
                strategy="in_order",
                window=options.window,
                max_sequences=options.max_sequences,
                pad_to_multiple_of=options.pad_to_multiple_of,
                num_packs_multiple_of=options.num_packs_multiple_of,
                separator=options.separator is not None,
                seed=options.seed,
                epoch=options.epoch,
            )
        except PacksortError:  # a length that no pack holds, which was reported before
            return
        if not np.array_equal(np.diff(made.pack_offsets), sizes):
            same = np.diff(made.pack_offsets)[: len(sizes)] == sizes[: made.num_packs]
            yield _other(len(same) if same.all() else int(np.argmin(same)))
            return
        same = in_input[made.sequence_ids] == np.arange(len(in_input))
        if not same.all():
            yield _other(int(np.searchsorted(made.pack_offsets, np.argmin(same), side="right")) - 1)


def _other(pack: int) -> str:
    return f"pack {pack}: it is not the pack that strategy='in_order' makes of these sequences"


def _disorder(places: NDArray[np.int64], sizes: NDArray[np.int64], *, shuffled: bool) -> Iterator[str]:
    """Yield the first pack whose sequences are out of order, and the first that comes before the one in front of it."""
    firsts = np.concatenate([[0], np.cumsum(sizes)])
    falls = np.flatnonzero(np.diff(places) < 0) + 1
    inside = np.setdiff1d(falls, firsts)
    if len(inside):
        pack = int(np.searchsorted(firsts, inside[0], side="right")) - 1
        yield f"pack {pack}: its sequences are not in the order of the source"
    begins = places[firsts[:-1][sizes > 0]]
    early = np.flatnonzero(np.diff(begins) < 0)
    if len(early) and not shuffled:
        yield f"pack {early[0] + 1}: its first sequence comes before that of the pack in front of it"

"""Ways of packing the same table of tokens: packsort, and what people use instead. `against.py` runs them.

A way takes tokens and gives packs of tokens, or it takes their lengths and gives the ids of each pack; `take` gives
the same rows in another order and packs nothing. Each counts what it made, and refuses to be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TOKENS, IDS, NO_PACKS = "packs of tokens", "ids of packs", "rows in another order"


@dataclass(frozen=True)
class Made:
    """Packs and cost of one way.

    Attributes:
        packs: Number of packs.
        cut: Sequences that no pack holds whole.
        lost: Tokens that no pack holds.
    """

    packs: int
    cut: int = 0
    lost: int = 0


@dataclass(frozen=True)
class Way:
    """One way of packing.

    Attributes:
        name: As the table shows it.
        gives: What comes out.
        library: Distribution whose version is shown.
        prepare: Takes the table and the limit, imports what is needed, and returns what is timed.
        count: Counts what the timed call returned: result, lengths, limit.
    """

    name: str
    gives: str
    library: str
    prepare: Callable[[pa.Table, int], Callable[[], Any]]
    count: Callable[[Any, NDArray[np.int64], int], Made]


def lengths_of(table: pa.Table) -> NDArray[np.int64]:
    return np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in table["input_ids"].chunks]).astype(np.int64)


def _count_bins(offsets: NDArray[Any], ids: NDArray[Any], lengths: NDArray[np.int64], limit: int) -> Made:
    """Check that every sequence is in one pack, and that no pack is too long."""
    assert np.array_equal(np.bincount(ids, minlength=len(lengths)), np.ones(len(lengths), np.int64))
    assert np.add.reduceat(lengths[ids], offsets[:-1]).max() <= limit
    return Made(len(offsets) - 1)


def _count_lists(packs: list[list[int]], lengths: NDArray[np.int64], limit: int) -> Made:
    offsets = np.concatenate([[0], np.cumsum([len(pack) for pack in packs])])
    return _count_bins(offsets, np.concatenate(packs), lengths, limit)


def _packsort_tokens(table: pa.Table, limit: int) -> Callable[[], Any]:
    import packsort

    return lambda: packsort.pack(table, limit)


def _count_packed(packs: pa.Table, lengths: NDArray[np.int64], limit: int) -> Made:
    ids = np.concatenate([chunk.values.to_numpy() for chunk in packs["sequence_ids"].chunks])
    offsets = np.concatenate([[0], np.cumsum(packs["sequence_ids"].combine_chunks().value_lengths().to_numpy())])
    return _count_bins(offsets, ids, lengths, limit)


def _packsort_plan(table: pa.Table, limit: int) -> Callable[[], Any]:
    import packsort

    lengths = lengths_of(table)

    def run() -> tuple[Any, Any]:
        plan = packsort.plan(lengths, limit)
        return plan.pack_offsets, plan.sequence_ids

    return run


def _trl(strategy: str) -> Callable[[pa.Table, int], Callable[[], Any]]:
    def prepare(table: pa.Table, limit: int) -> Callable[[], Any]:
        import datasets
        import trl

        datasets.disable_progress_bars()
        datasets.disable_caching()
        dataset = datasets.Dataset(table)
        return lambda: trl.pack_dataset(dataset, limit, strategy)

    return prepare


def _count_trl(packs: Any, lengths: NDArray[np.int64], limit: int) -> Made:
    table = packs.with_format("arrow").data.table
    made = lengths_of(table)
    assert made.max() <= limit
    cut = 0
    if "seq_lengths" not in table.column_names:  # `wrapped` joins all and cuts, batch by batch of 1,000 rows
        for start in range(0, len(lengths), 1000):
            ends = np.cumsum(lengths[start : start + 1000])
            cuts = np.arange(limit, ends[-1], limit)
            # A cut that is not where a sequence ends is inside one; several may be inside the same.
            cut += len(np.unique(np.searchsorted(ends, cuts[~np.isin(cuts, ends)])))
    return Made(len(made), cut, int(lengths.sum() - made.sum()))


def _seqpacker(table: pa.Table, limit: int) -> Callable[[], Any]:
    import seqpacker

    lengths = lengths_of(table)
    packer = seqpacker.Packer(limit, strategy="obfd")
    return lambda: packer.pack_flat(lengths)


def _count_seqpacker(found: Any, lengths: NDArray[np.int64], limit: int) -> Made:
    ids, cuts = found
    return _count_bins(np.concatenate([[0], cuts, [len(ids)]]), np.asarray(ids), lengths, limit)


def _lightbinpack(table: pa.Table, limit: int) -> Callable[[], Any]:
    import lightbinpack

    lengths = lengths_of(table).astype(np.int32)
    return lambda: lightbinpack.obfd(lengths, limit)


def _binpacking(table: pa.Table, limit: int) -> Callable[[], Any]:
    """`binpacking` as ms-swift calls it: 1,000 sequences at a time, and the last pack goes on to the next."""
    import binpacking

    lengths = lengths_of(table).tolist()

    def run() -> list[list[int]]:
        packs: list[list[int]] = []
        left: list[tuple[int, int]] = []
        for start in range(0, len(lengths), 1000):
            left += [(start + at, length) for at, length in enumerate(lengths[start : start + 1000])]
            found = binpacking.to_constant_volume(left, limit, weight_pos=1)
            left = [] if start + 1000 >= len(lengths) else found.pop()
            packs += [[number for number, _ in pack] for pack in found]
        return packs

    return run


def _take(table: pa.Table, limit: int) -> Callable[[], Any]:
    import packsort

    plan = packsort.plan(lengths_of(table), limit, seed=0)
    ids = pa.array(plan.sequence_ids)
    return lambda: table.take(ids)


WAYS = (
    Way("packsort", TOKENS, "packsort", _packsort_tokens, _count_packed),
    Way("TRL bfd", TOKENS, "trl", _trl("bfd"), _count_trl),
    Way("TRL wrapped", TOKENS, "trl", _trl("wrapped"), _count_trl),
    Way("packsort.plan", IDS, "packsort", _packsort_plan, lambda found, *rest: _count_bins(*found, *rest)),
    Way("seqpacker obfd", IDS, "seqpacker", _seqpacker, _count_seqpacker),
    Way("LightBinPack obfd", IDS, "lightbinpack", _lightbinpack, _count_lists),
    Way("binpacking (ms-swift)", IDS, "binpacking", _binpacking, _count_lists),
    Way("pyarrow take", NO_PACKS, "pyarrow", _take, lambda found, lengths, limit: Made(0)),
)

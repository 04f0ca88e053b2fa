"""Misspelled options, for mypy: `make check` fails unless mypy reports an error on each of these lines.

Each `type: ignore` states the error that mypy must report; mypy is strict and reports those that it does not need.
"""

from __future__ import annotations

from typing import Any

import packsort
import packsort.hf
from packsort.torch import Batcher, PackedCollator, PackedDataset, PackedLoader, PackedStream


def misspelled(table: Any) -> None:
    """Pass an option that no callable has."""
    packsort.plan([1], 8, stratgy="bfd")  # type: ignore[call-arg]
    packsort.pack(table, 8, stratgy="bfd")  # type: ignore[call-arg]
    packsort.write_shards(table, "packed", 8, stratgy="bfd")  # type: ignore[call-arg]
    packsort.hf.pack_dataset(table, 8, stratgy="bfd")  # type: ignore[call-arg]
    PackedLoader(table, 8, stratgy="bfd")  # type: ignore[call-arg]
    PackedDataset(table, 8, stratgy="bfd")  # type: ignore[call-arg]
    PackedStream(table, 8, overlnog="drop")  # type: ignore[call-arg]
    PackedCollator("rows", 8, pading="last")  # type: ignore[call-overload]
    Batcher("rows", 8, pading="last")  # type: ignore[call-overload]


def misplaced(table: Any) -> None:
    """Pass an option of another callable."""
    packsort.plan([1], 8, layout="rows")  # type: ignore[call-arg]
    PackedDataset(table, 8, layout="rows")  # type: ignore[call-arg]
    PackedStream(table, 8, splittable=[True])  # type: ignore[call-arg]
    Batcher("rows", 8, strategy="bfd")  # type: ignore[call-overload]
    PackedCollator("rows")  # type: ignore[call-overload]


def wrong_choices(table: Any) -> None:
    """Pass values that no option has."""
    PackedLoader(table, 8, layout="row")  # type: ignore[arg-type]
    PackedLoader(table, 8, strategy="best")  # type: ignore[arg-type]
    packsort.hf.pack_dataset(table, 8, "best")  # type: ignore[arg-type]


def right(table: Any) -> None:
    """Pass every kind of option as it is meant."""
    PackedLoader(table, 8, strategy="bfd", labels="shifted", pad_token_id=3, groups="source")
    PackedDataset(table, 8, strategy="bfd", seed=1, epoch=2)
    PackedStream(table, 8, overlong="drop", padding="last", layout="rows")
    PackedCollator("rows", 8, padding="last")
    Batcher(max_length=8)

"""Plans of packs that the caller made: the extension point for strategies of one's own.

Each pack becomes a pattern that occurs once. The ids of a length stand in the order in which the packs take them, so
every pack keeps its sequences and their order. The core checks the parts once more.

Cost: O(sequences log sequences), on one thread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks, _core
from packsort._arrow import as_chunked, first_null, is_list, list_offsets, to_numpy
from packsort.errors import LengthError, OptionError
from packsort.planning.lengths import as_lengths


def plan_of_packs(lengths: Any, packs: Any, *, max_length: int, seed: int | None, epoch: int) -> _core.Plan:
    """Check packs and make a plan of them; `Plan.from_packs` documents arguments and errors."""
    limit = _checks.max_length(max_length)
    seed = None if seed is None else _checks.seed("seed", seed)
    epoch = _checks.seed("epoch", epoch)
    tokens = _tokens(lengths, limit)
    offsets, ids = _ids(packs)
    _check_ids(ids, offsets, len(tokens))
    _check_room(tokens[ids], offsets, limit)
    classes, class_of, counts = np.unique(tokens, return_inverse=True, return_counts=True)
    taken = class_of[ids]  # class of each sequence, pack after pack
    starts = np.ones(len(ids), np.bool_)  # of slots: runs of one class within a pack
    starts[1:] = taken[1:] != taken[:-1]
    starts[offsets[:-1]] = True
    slots = np.flatnonzero(starts)
    parts = {
        **{"max_length": limit, "strategy": "given", "overlong": "error", "truncation_side": "right", "empty": "error"},
        **{"max_sequences": None, "pad_to_multiple_of": 1, "num_packs_multiple_of": 1, "separator": False, "window": 0},
        **{"num_overlong": 0, "tokens_lost": 0, "num_empty": 0, "seed": seed, "epoch": epoch},
        **{"rows": len(tokens), "last_alone": False, "proven": 0},
        **dict.fromkeys(("cut_rows", "cut_rests", "piece_rows", "piece_starts"), np.zeros(0, np.int64)),
        "class_lengths": classes,
        "class_first": np.concatenate([[0], np.cumsum(counts)]),
        "group_first": np.array([0, len(classes)]),
        "repeats": np.ones(len(offsets) - 1, np.int64),
        "slot_offsets": np.searchsorted(slots, offsets),
        "slot_classes": taken[slots],
        "slot_copies": np.diff(slots, append=len(ids)),
        "items": ids[np.argsort(taken, kind="stable")].astype(np.uint32 if len(tokens) < 2**32 else np.int64),
    }
    return _core.Plan.from_parts(parts)


def _tokens(lengths: Any, limit: int) -> NDArray[np.int64]:
    checked = as_lengths(lengths)
    tokens: NDArray[Any] = checked if isinstance(checked, np.ndarray) else to_numpy(checked)
    if len(tokens) and int(tokens.min()) < 1:
        row = int(np.argmax(tokens < 1))
        raise LengthError(f"lengths must be at least 1, got {tokens[row]} (sequence {row})", row, int(tokens[row]))
    if len(tokens) and int(tokens.max()) > limit:
        row = int(tokens.argmax())
        raise LengthError(
            f"lengths must be at most max_length={limit}, got {tokens[row]} (sequence {row}): cut or drop such "
            "sequences first",
            row,
            int(tokens[row]),
        )
    return tokens.astype(np.int64)


def _ids(packs: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets of packs in a list of ids, and the ids."""
    try:
        column = as_chunked(packs).combine_chunks()
    except (TypeError, ValueError, OverflowError, pa.ArrowException) as error:
        raise OptionError(f"packs must be lists of integers, got {type(packs).__name__}: {error}") from error
    if not len(column):
        return np.zeros(1, np.int64), np.zeros(0, np.int64)
    if column.null_count:
        raise OptionError(
            f"packs must be lists of integers, got a null (pack {first_null(pa.chunked_array([column]))})"
        )
    if not is_list(column.type) or not (
        pa.types.is_integer(column.type.value_type) or pa.types.is_null(column.type.value_type)
    ):
        raise OptionError(f"packs must be lists of integers, got {column.type}")
    offsets = list_offsets(column)
    values = column.flatten()
    if values.null_count:
        place = first_null(pa.chunked_array([values]))
        raise OptionError(f"packs must hold no nulls, got one (pack {_pack_of(place, offsets)})")
    if (empty := np.flatnonzero(np.diff(offsets) == 0)).size:
        raise OptionError(f"packs must hold at least one sequence each, got none (pack {empty[0]})")
    try:
        return offsets - offsets[0], to_numpy(values.cast(pa.int64()))
    except pa.ArrowInvalid as error:
        raise OptionError(f"packs must hold ids below 2**63: {error}") from error


def _check_ids(ids: NDArray[np.int64], offsets: NDArray[np.int64], rows: int) -> None:
    wrong = (ids < 0) | (ids >= rows)
    if wrong.any():
        place = int(wrong.argmax())
        raise OptionError(
            f"packs must hold ids from 0 to {rows - 1}, got {ids[place]} (pack {_pack_of(place, offsets)})"
        )
    uses = np.bincount(ids, minlength=rows)
    if (uses > 1).any():
        twice = int((uses > 1).argmax())
        places = np.flatnonzero(ids == twice)[:2]
        found = " and ".join(str(_pack_of(int(place), offsets)) for place in places)
        raise OptionError(f"packs must hold each sequence once, got sequence {twice} again (packs {found})")
    if (uses == 0).any():
        missing = int((uses == 0).sum())
        raise OptionError(
            f"packs must hold every sequence, got none with sequence {int((uses == 0).argmax())} "
            f"({missing:,} of {rows:,} are missing): leave them out of lengths and of the source"
        )


def _check_room(lengths: NDArray[np.int64], offsets: NDArray[np.int64], limit: int) -> None:
    taken = np.add.reduceat(lengths, offsets[:-1]) if len(lengths) else lengths
    if (taken > limit).any():
        pack = int((taken > limit).argmax())
        raise OptionError(f"packs must hold at most max_length={limit} tokens, got {taken[pack]} (pack {pack})")


def _pack_of(place: int, offsets: NDArray[np.int64]) -> int:
    return int(np.searchsorted(offsets, place, "right")) - 1

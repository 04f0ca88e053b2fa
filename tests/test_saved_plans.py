"""Files and fingerprints of plans stay valid from version to version."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import packsort
from packsort.planning.stored import from_stored, to_stored

LENGTHS = [3, 5, 2, 2, 9, 11, 4, 4]
GOLDEN = Path(__file__).parent / "golden" / "plan-0.1.0.arrow"


@pytest.mark.parametrize(
    ("options", "fingerprint"),
    [
        ({"overlong": "drop"}, "56f005d98e9d164b5318f49f15b0c819"),
        (
            {"overlong": "truncate", "truncation_side": "left", "max_sequences": 3, "seed": 3, "epoch": 2},
            "f41d3d6b41d39b63633bfd98bc66d9e7",
        ),
        (
            {
                "strategy": "bfd",
                "overlong": "split",
                "pad_to_multiple_of": 2,
                "separator": True,
                "num_packs_multiple_of": 4,
                "groups": [0, 0, 0, 0, 1, 1, 1, 1],
            },
            "01c71290e9bcd04dbbcea7568870e74e",
        ),
        (
            {"strategy": "random", "overlong": "truncate", "truncation_side": "left", "seed": 1},
            "c825fb96a03fd91410d6c11dc00fa668",
        ),
    ],
)
def test_fingerprints_are_those_of_version_0_1(options: dict[str, Any], fingerprint: str, tmp_path: Path) -> None:
    plan = packsort.plan(LENGTHS, 8, **options)
    assert plan.fingerprint == fingerprint
    plan.save(tmp_path / "plan.arrow")
    for again in (packsort.load_plan(tmp_path / "plan.arrow"), pickle.loads(pickle.dumps(plan))):
        assert again.fingerprint == fingerprint
        assert np.array_equal(again.sequence_ids, plan.sequence_ids)
        assert np.array_equal(again.piece_starts, plan.piece_starts)


def test_a_plan_saved_by_version_0_1_is_read() -> None:
    plan = packsort.plan(LENGTHS, 8, overlong="split", seed=3, max_sequences=3, num_packs_multiple_of=4)
    saved = packsort.load_plan(GOLDEN)
    assert saved == plan
    assert (saved.max_sequences, saved.truncation_side, saved.num_split) == (3, "right", 2)
    assert np.array_equal(saved.sequence_ids, plan.sequence_ids)


@pytest.mark.parametrize(
    "change",
    [
        {"order": np.array([], np.uint32)},
        {"proven": 2**64 - 1},
        {"rows": 2**64 - 1},
        {"max_sequences": -1},
        {"repeats": np.array([-1], np.int64)},
        {"slot_copies": np.array([2**40], np.int64)},
        {"strategy": "random"},
        {"strategy": "rand"},
    ],
)
def test_stored_parts_that_contradict_each_other_are_refused(change: dict[str, Any]) -> None:
    stored = to_stored(packsort.plan(LENGTHS, 8, overlong="split")._core)
    with pytest.raises((packsort.PacksortError, OverflowError, TypeError, KeyError)):
        from_stored(stored | change)

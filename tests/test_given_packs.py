"""`Plan.from_packs`: packs that the caller made are a plan like any other, or are refused by name."""

from __future__ import annotations

import pickle

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packed_rows import rows
from packsort import LengthError, LengthTypeError, OptionError, Plan
from packsort.torch import PackedLoader


@st.composite
def packings(draw):
    """Draw lengths, and packs of them in any order."""
    lengths = draw(st.lists(st.integers(1, 9), max_size=40))
    ids = draw(st.permutations(range(len(lengths))))
    packs: list[list[int]] = []
    for one in ids:
        if not packs or draw(st.booleans()):
            packs.append([])
        packs[-1].append(one)
    return lengths, packs


@given(packings(), st.none() | st.integers(0, 2**64 - 1), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_packs_keep_their_sequences_in_every_epoch_and_form(packing, seed, epoch):
    lengths, packs = packing
    limit = max((sum(lengths[i] for i in pack) for pack in packs), default=1)
    plan = Plan.from_packs(lengths, packs, max_length=limit, seed=seed, epoch=epoch)
    assert (plan.strategy, plan.num_rows, plan.num_tokens) == ("given", len(lengths), sum(lengths))
    found = [ids.tolist() for ids in plan]
    assert sorted(found) == sorted(packs)
    assert seed is not None or found == packs
    assert [plan[i].tolist() for i in range(len(plan))] == found
    assert plan.piece_lengths.tolist() == [lengths[i] for pack in found for i in pack]
    assert plan.lower_bound <= plan.num_packs
    other = plan.with_epoch(epoch + 1)
    assert sorted(ids.tolist() for ids in other) == sorted(packs)
    assert pickle.loads(pickle.dumps(plan)) == plan
    for again in (pa.array(packs, pa.large_list(pa.uint32())), [np.array(pack, np.uint16) for pack in packs]):
        same = Plan.from_packs(np.array(lengths, np.int64), again, max_length=limit, seed=seed, epoch=epoch)
        assert same.fingerprint == plan.fingerprint
    assert len(packs) < 2 or Plan.from_packs(lengths, packs[::-1], max_length=limit).fingerprint != plan.fingerprint


def test_first_fit_decreasing_given_back_has_its_facts(tmp_path):
    lengths = rows()["input_ids"].combine_chunks().value_lengths()
    known = packsort.plan(lengths, 64)
    plan = Plan.from_packs(pl.Series(lengths.to_numpy()), list(known), max_length=64)
    for name in ("num_packs", "num_sequences", "num_tokens", "efficiency", "lower_bound", "gap", "num_dropped"):
        assert getattr(plan, name) == getattr(known, name), name
    assert np.array_equal(plan.sequence_ids, known.sequence_ids)
    assert plan.window is None
    plan.save(tmp_path / "plan.arrow")
    assert packsort.load_plan(tmp_path / "plan.arrow") == plan
    assert packsort.schedule(plan.with_epoch(1), world_size=2)


def test_a_loader_trains_on_given_packs_in_their_order_or_shuffled():
    table = rows()
    lengths = table["input_ids"].combine_chunks().value_lengths()
    packs = [ids.tolist()[::-1] for ids in packsort.plan(lengths, 64)]
    tokens = [[one for i in pack for one in table["input_ids"][i].as_py()] for pack in packs]
    ordered = PackedLoader(table, plan=Plan.from_packs(lengths, packs, max_length=64), device=None)
    for _ in range(2):
        assert [batch["input_ids"][0].tolist() for batch in ordered] == tokens
    shuffled = PackedLoader(table, plan=Plan.from_packs(lengths, packs, max_length=64, seed=1), device=None)
    first, second = ([batch["input_ids"][0].tolist() for batch in shuffled] for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second) == sorted(tokens)
    with pytest.raises(packsort.PacksortError, match="the plan has 60 sequences, but"):
        PackedLoader(table.slice(1), plan=Plan.from_packs(lengths, packs, max_length=64), device=None)


def test_given_packs_are_written_and_proven(tmp_path):
    table = rows()
    lengths = table["input_ids"].combine_chunks().value_lengths()
    packs = [ids.tolist()[::-1] for ids in packsort.plan(lengths, 64)]
    plan = Plan.from_packs(lengths, packs, max_length=64)
    plan.save(tmp_path / "plan.arrow")
    manifest = packsort.write_shards(table, tmp_path / "packed", plan=tmp_path / "plan.arrow", shard_size=2000)
    assert (manifest.plan, manifest.options.strategy, len(manifest.shards) > 1) == (plan.fingerprint, "given", True)
    tokens = [[one for i in pack for one in table["input_ids"][i].as_py()] for pack in packs]
    assert [pack["input_ids"].tolist() for pack in packsort.open_shards(tmp_path / "packed")] == tokens
    assert [batch["input_ids"][0].tolist() for batch in PackedLoader(tmp_path / "packed", device=None)] == tokens
    assert packsort.verify(tmp_path / "packed", source=table)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"plan": packsort.plan([3], 10)}, "one that `Plan.from_packs` made, got one of strategy='ffd'"),
        ({"plan": 7}, "plan must be a Plan, the path of a saved one, or None, got 7"),
        ({"max_length": 64}, "max_length must be 10, as the plan has it, or None, got 64"),
        ({"strategy": "bfd"}, "strategy does not go with plan: the plan has decided it already"),
        ({"overlong": "split_turns"}, "overlong does not go with plan"),
        ({"separator": 1}, "separator does not go with plan"),
        ({"seed": 1}, "seed does not go with plan: pass it to `Plan.from_packs`"),
        ({"epoch": 1}, "epoch does not go with plan"),
        ({"index_only": True}, "index_only=True does not go with plan"),
        ({}, "the plan is of other sequences: its sequence 0 has 3 tokens, that of `<table>` has 4"),
        ({"source": pa.table({"input_ids": [[1, 2, 3]] * 2})}, "the plan has 1 sequences, but `<table>` has 2"),
        ({"plan": None}, "max_length must be an integer"),
    ],
)
def test_what_does_not_go_with_a_plan_is_refused_by_name(tmp_path, wrong, message):
    table = pa.table({"input_ids": [[1, 2, 3, 4]]})
    arguments = {"source": table, "out": tmp_path / "packed", "plan": Plan.from_packs([3], [[0]], max_length=10)}
    with pytest.raises(OptionError, match=message):
        packsort.write_shards(**{**arguments, **wrong})
    assert not (tmp_path / "packed").exists()


HOSTILE = [
    ([3, 5], [[0, 1, 1]], OptionError, r"each sequence once, got sequence 1 again \(packs 0 and 0\)"),
    ([3, 5], [[1], [0, 1]], OptionError, r"each sequence once, got sequence 1 again \(packs 0 and 1\)"),
    ([3, 5, 2], [[1]], OptionError, r"every sequence, got none with sequence 0 \(2 of 3 are missing\)"),
    ([3], [], OptionError, r"every sequence, got none with sequence 0"),
    ([3, 5], [[0, 1], []], OptionError, r"at least one sequence each, got none \(pack 1\)"),
    ([3, 5], [[0], [2]], OptionError, r"ids from 0 to 1, got 2 \(pack 1\)"),
    ([3, 5], [[0], [-1]], OptionError, r"ids from 0 to 1, got -1 \(pack 1\)"),
    ([3, 5], [[0], [2**63]], OptionError, "packs must"),
    ([3, 5], [[0], [2**64]], OptionError, "packs must be lists of integers"),
    ([6, 5], [[0, 1]], OptionError, r"at most max_length=10 tokens, got 11 \(pack 0\)"),
    ([2**31 - 1] * 3, [[0, 1, 2]], LengthError, "at most max_length=10"),
    ([3, 11], [[0], [1]], LengthError, r"at most max_length=10, got 11 \(sequence 1\)"),
    ([3, 0], [[0], [1]], LengthError, r"at least 1, got 0 \(sequence 1\)"),
    ([3, -5], [[0], [1]], LengthError, r"at least 1, got -5"),
    ([3, None], [[0], [1]], LengthError, "null"),
    ([3.0], [[0]], LengthTypeError, "integers"),
    ([3, 5], [0, 1], OptionError, "packs must be lists of integers, got int64"),
    ([3, 5], [[0.0, 1.0]], OptionError, "packs must be lists of integers, got list"),
    ([3, 5], [[True, False]], OptionError, "packs must be lists of integers, got list"),
    ([3, 5], [["0", "1"]], OptionError, "packs must be lists of integers, got list"),
    ([3, 5], [[[0], [1]]], OptionError, "packs must be lists of integers, got list"),
    ([3, 5], [[0, None, 1]], OptionError, r"no nulls, got one \(pack 0\)"),
    ([3, 5], [[0, 1], None], OptionError, r"got a null \(pack 1\)"),
    ([3, 5], 7, OptionError, "packs must be lists of integers, got int"),
    ([3, 5], None, OptionError, "packs must be lists of integers"),
    ([3, 5], "01", OptionError, "packs must be lists of integers"),
    ([3, 5], {0: [0, 1]}, OptionError, "packs must be lists of integers"),
]


@pytest.mark.parametrize(("lengths", "packs", "error", "message"), HOSTILE)
def test_hostile_packs_are_refused_by_name(lengths, packs, error, message):
    with pytest.raises(error, match=message):
        Plan.from_packs(lengths, packs, max_length=10)


@pytest.mark.parametrize("wrong", [{"max_length": 0}, {"max_length": 2**31}, {"seed": -1}, {"epoch": 1.5}])
def test_other_arguments_are_checked(wrong):
    with pytest.raises(OptionError, match=f"{next(iter(wrong))} must be"):
        Plan.from_packs([3], [[0]], **{"max_length": 10, **wrong})


def test_given_is_no_strategy_to_plan_with():
    with pytest.raises(OptionError, match="strategy must be one of"):
        packsort.plan([3], 10, strategy="given")

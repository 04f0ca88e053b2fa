"""Strategies and constraints, alone and together."""

from __future__ import annotations

import datetime
from itertools import pairwise

import datasets
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from reference import first_fit_decreasing


def packs_of(plan: packsort.Plan) -> list[list[int]]:
    return [ids.tolist() for ids in plan]


@given(st.integers(1, 60), st.lists(st.integers(1, 60), min_size=1, max_size=150))
@settings(max_examples=60, deadline=None)
def test_bfd_packs_are_as_long_as_those_of_trl(max_length: int, lengths: list[int]) -> None:
    lengths = [min(length, max_length) for length in lengths]
    rows = pa.table({"input_ids": [[0] * length for length in lengths]})
    theirs = trl.data_utils._pack_bfd(rows, max_length)["seq_lengths"].to_pylist()
    ours = packs_of(packsort.plan(lengths, max_length, strategy="bfd"))
    assert [[lengths[i] for i in pack] for pack in ours] == theirs
    assert sorted(i for pack in ours for i in pack) == list(range(len(lengths)))


def test_bfd_is_trls_over_a_whole_dataset() -> None:
    lengths = np.clip(np.random.default_rng(0).lognormal(4, 1, 3000), 1, 512).astype(int).tolist()
    dataset = datasets.Dataset.from_dict({"input_ids": [[0] * length for length in lengths]})
    packed = trl.pack_dataset(dataset, 512, "bfd", map_kwargs={"batch_size": len(lengths)})
    plan = packsort.plan(lengths, 512, strategy="bfd")
    assert [[lengths[i] for i in pack] for pack in packs_of(plan)] == packed["seq_lengths"]


def test_padding_is_one_sequence_a_pack() -> None:
    plan = packsort.plan([3, 9, 5], 10, strategy="padding")
    assert packs_of(plan) == [[1], [2], [0]]
    assert plan.efficiency == 17 / 30
    assert plan.lower_bound == 2


@given(
    st.lists(st.tuples(st.integers(1, 50), st.sampled_from("abc"), st.booleans()), max_size=120),
    st.sampled_from(["ffd", "bfd", "padding"]),
    st.none() | st.integers(1, 6),
    st.sampled_from(["error", "drop", "truncate"]),
    st.none() | st.integers(0, 9),
)
@settings(max_examples=120, deadline=None)
def test_constraints_hold_together(
    rows: list[tuple[int, str, bool]], strategy: str, most: int | None, overlong: str, seed: int | None
) -> None:
    limit = 50 if overlong == "error" else 30
    lengths, groups, alone = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    options = {"strategy": strategy, "overlong": overlong, "max_sequences": most, "seed": seed}
    plan = packsort.plan(
        lengths, limit, groups=pa.array(groups, pa.string()), alone=pa.array(alone, pa.bool_()), **options
    )
    planned = [min(length, limit) for length in lengths]
    kept = [i for i, length in enumerate(lengths) if length <= limit or overlong == "truncate"]
    packs = packs_of(plan)
    assert sorted(i for pack in packs for i in pack) == kept
    for pack in packs:
        assert sum(planned[i] for i in pack) <= limit
        assert len({(groups[i], alone[i]) for i in pack}) == 1
        assert len(pack) <= (most or len(pack))
        assert len(pack) == 1 or not (alone[pack[0]] or strategy == "padding")
    assert plan.lower_bound <= plan.num_packs
    assert plan.piece_lengths.tolist() == [planned[i] for pack in packs for i in pack]
    assert [plan[i].tolist() for i in range(len(plan))] == packs
    later = plan.with_epoch(4)
    assert sorted(sorted(planned[i] for i in pack) for pack in packs_of(later)) == sorted(
        sorted(planned[i] for i in pack) for pack in packs
    )
    assert all(len({(groups[i], alone[i]) for i in pack}) == 1 for pack in packs_of(later))


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 3)), min_size=1, max_size=100))
@settings(max_examples=80, deadline=None)
def test_each_group_has_the_packs_it_has_by_itself(rows: list[tuple[int, int]]) -> None:
    lengths, groups = (np.array(column) for column in zip(*rows, strict=True))
    found = packs_of(packsort.plan(lengths, 40, groups=groups))
    expected = []
    for group in sorted(set(groups.tolist())):
        ids = np.flatnonzero(groups == group)
        expected += [ids[pack].tolist() for pack in first_fit_decreasing(lengths[ids].tolist(), 40)]
    assert found == expected


@pytest.mark.parametrize(
    "groups",
    [
        ["x", "y", "x", "y"],
        [b"x", b"y", b"x", b"y"],
        [1.5, 2.5, 1.5, 2.5],
        [7, -1, 7, -1],
        [True, False, True, False],
        [datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)] * 2,
        np.array(["x", "y", "x", "y"]),
        pd.Series(["x", "y", "x", "y"], dtype="category"),
        pl.Series(["x", "y", "x", "y"], dtype=pl.Categorical),
        pa.chunked_array([pa.array(["x"]).dictionary_encode(), pa.array(["y", "x", "y"]).dictionary_encode()]),
        pa.array([None, "x", "y", "x", "y"]).slice(1),
    ],
)
def test_groups_are_of_any_type(groups: object) -> None:
    assert packs_of(packsort.plan([1, 2, 3, 4], 8, groups=groups)) == [[2, 0], [3, 1]]


def test_a_cap_on_sequences_is_kept_and_counted_in_the_bound() -> None:
    plan = packsort.plan([1] * 10, 100, max_sequences=4)
    assert [len(pack) for pack in packs_of(plan)] == [4, 4, 2]
    assert plan.lower_bound == 3
    assert plan.max_sequences == 4


def test_the_number_of_packs_is_a_multiple_by_splitting_packs() -> None:
    plan = packsort.plan([5, 5, 5, 5, 9], 10, num_packs_multiple_of=4)
    assert packs_of(plan) == [[4], [0, 1], [2], [3]]
    assert plan.lower_bound == plan.num_packs == 4
    lengths = np.random.default_rng(0).integers(1, 100, 5000)
    for multiple in (8, 64, 3000):
        plan = packsort.plan(lengths, 512, num_packs_multiple_of=multiple, seed=0)
        assert plan.num_packs == -(-packsort.plan(lengths, 512).num_packs // multiple) * multiple
        assert sorted(plan.sequence_ids.tolist()) == list(range(5000))
        assert plan.with_epoch(1).num_packs == plan.num_packs
    assert packsort.plan([], 8, num_packs_multiple_of=8).num_packs == 0
    with pytest.raises(packsort.OptionError) as caught:
        packsort.plan([1, 2, 3], 8, num_packs_multiple_of=8)
    assert str(caught.value) == "num_packs_multiple_of 8 needs 8 packs, but there are 3 sequences"


def test_saved_plans_keep_groups_and_caps(tmp_path: object) -> None:
    rng = np.random.default_rng(0)
    options = {"groups": rng.integers(0, 9, 2000), "alone": rng.random(2000) < 0.1, "max_sequences": 5}
    plan = packsort.plan(rng.integers(1, 100, 2000), 256, strategy="bfd", seed=2, **options)
    plan.save(tmp_path / "plan.arrow")  # type: ignore[operator]
    again = packsort.load_plan(tmp_path / "plan.arrow")  # type: ignore[operator]
    assert again == plan
    assert (again.strategy, again.max_sequences, again.lower_bound) == ("bfd", 5, plan.lower_bound)
    assert packs_of(again.with_epoch(3)) == packs_of(plan.with_epoch(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": ["a", None]}, "groups has a null at sequence 1; every sequence needs a group"),
        ({"groups": ["a"]}, "groups must have a value for each of 2 sequences, got 1"),
        ({"groups": [[1], [2]]}, "groups must be of a type whose values can be compared, got list<item: int64>"),
        ({"groups": 3}, "groups must be a column of values, got int"),
        ({"alone": [1, 0]}, "alone must be booleans, got int64"),
        ({"alone": [True, None]}, "alone has a null at sequence 1; every sequence needs True or False"),
        ({"alone": [True, False, True]}, "alone must have a value for each of 2 sequences, got 3"),
        ({"max_sequences": 0}, "max_sequences must be between 1 and 2**32 - 1, or None, got 0"),
        ({"max_sequences": 1.5}, "max_sequences must be an integer, or None, got 1.5"),
        ({"num_packs_multiple_of": 0}, "num_packs_multiple_of must be between 1 and 2**32 - 1, got 0"),
    ],
)
def test_wrong_constraints_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        packsort.plan([1, 2], 8, **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


@given(st.lists(st.integers(1, 60), max_size=100), st.integers(1, 40), st.none() | st.integers(0, 9), st.integers(0, 3))
@settings(max_examples=80, deadline=None)
def test_random_packs_are_cuts_of_all_tokens(lengths: list[int], max_length: int, seed: int | None, epoch: int) -> None:
    plan = packsort.plan(lengths, max_length, strategy="random", seed=seed, epoch=epoch)
    pieces = list(zip(plan.sequence_ids.tolist(), plan.piece_starts.tolist(), plan.piece_lengths.tolist(), strict=True))
    tokens = [(i, token) for i, start, length in pieces for token in range(start, start + length)]
    order = list(dict.fromkeys(i for i, _ in tokens))
    assert tokens == [(i, token) for i in order for token in range(lengths[i])]
    assert sorted(order) == list(range(len(lengths)))
    if seed is None and epoch == 0:
        assert order == sorted(order)
    packs = [sum(n for _, _, n in pieces[a:b]) for a, b in pairwise(plan.pack_offsets.tolist())]
    assert packs == [max_length] * (sum(lengths) // max_length) + [sum(lengths) % max_length] * (
        sum(lengths) % max_length > 0
    )
    assert plan.num_split == sum(sum(i == j for i, _, _ in pieces) > 1 for j in range(len(lengths)))
    assert plan.num_packs == plan.lower_bound == -(-sum(lengths) // max_length)
    assert [plan[i].tolist() for i in range(len(plan))] == packs_of(plan)
    assert plan.with_epoch(epoch) == plan


@given(
    st.lists(st.tuples(st.integers(1, 90), st.integers(0, 2), st.booleans()), max_size=80),
    st.integers(1, 40),
    st.sampled_from(["ffd", "bfd", "padding"]),
    st.none() | st.integers(0, 9),
)
@settings(max_examples=80, deadline=None)
def test_split_sequences_are_packed_piece_by_piece(
    rows: list[tuple[int, int, bool]], max_length: int, strategy: str, seed: int | None
) -> None:
    lengths, groups, alone = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    plan = packsort.plan(
        lengths,
        max_length,
        strategy=strategy,
        overlong="split",
        seed=seed,
        groups=pa.array(groups, pa.int32()),
        alone=pa.array(alone, pa.bool_()),
    )
    pieces = list(zip(plan.sequence_ids.tolist(), plan.piece_starts.tolist(), plan.piece_lengths.tolist(), strict=True))
    tokens = [(i, token) for i, start, length in pieces for token in range(start, start + length)]
    assert sorted(tokens) == [(i, token) for i, length in enumerate(lengths) for token in range(length)]
    # As few pieces as possible: all but the last of a sequence fill a pack.
    assert len(pieces) == sum(-(-length // max_length) for length in lengths)
    assert plan.num_split == sum(length > max_length for length in lengths)
    assert (plan.num_sequences, plan.num_tokens, plan.tokens_lost) == (len(lengths), sum(lengths), 0)
    for a, b in pairwise(plan.pack_offsets.tolist()):
        assert sum(length for _, _, length in pieces[a:b]) <= max_length
        assert len({(groups[i], alone[i]) for i, _, _ in pieces[a:b]}) == 1
    assert [plan[i].tolist() for i in range(len(plan))] == packs_of(plan)
    assert sorted(plan.with_epoch(3).sequence_ids.tolist()) == sorted(plan.sequence_ids.tolist())


def test_split_without_long_sequences_changes_nothing() -> None:
    lengths = np.random.default_rng(0).integers(1, 64, 1000)
    whole, split = (packsort.plan(lengths, 64, overlong=overlong) for overlong in ("error", "split"))
    assert packs_of(split) == packs_of(whole)
    assert split.num_split == 0
    assert "piece_starts" not in packsort.pack(pa.table({"input_ids": [[1, 2]]}), 4, overlong="split").column_names


def test_saved_plans_keep_cuts(tmp_path: object) -> None:
    plan = packsort.plan([3, 70, 5, 200], 64, overlong="split", seed=1)
    plan.save(tmp_path / "plan.arrow")  # type: ignore[operator]
    again = packsort.load_plan(tmp_path / "plan.arrow")  # type: ignore[operator]
    assert again == plan
    assert again.piece_starts.tolist() == plan.piece_starts.tolist()
    assert again.with_epoch(5) == plan.with_epoch(5)


def test_split_packs_are_as_long_as_those_of_trls_bfd_split() -> None:
    lengths = np.random.default_rng(0).lognormal(4, 1, 800).astype(int).clip(1).tolist()
    rows = pa.table({"input_ids": [[0] * length for length in lengths]})
    theirs = trl.data_utils._pack_bfd(rows, 64, "split")["seq_lengths"].to_pylist()
    plan = packsort.plan(lengths, 64, strategy="bfd", overlong="split")
    ours = [plan.piece_lengths[a:b].tolist() for a, b in pairwise(plan.pack_offsets.tolist())]
    assert ours == theirs


def test_random_packs_without_a_seed_are_trls_wrapped() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 99, n).tolist() for n in rng.integers(1, 50, 200)]
    packed = packsort.pack(pa.table({"input_ids": rows}), 64, strategy="random", seed=None)
    theirs = trl.data_utils._pack_wrapped(pa.table({"input_ids": rows}), 64)
    assert packed["input_ids"].to_pylist() == theirs["input_ids"].to_pylist()
    starts = [token for pack in packed["piece_starts"].to_pylist() for token in pack]
    assert sum(start > 0 for start in starts) >= packsort.plan(list(map(len, rows)), 64, strategy="random").num_split


def test_random_packing_drops_and_truncates_if_asked() -> None:
    lengths = [3, 50, 4]
    assert packsort.plan(lengths, 10, strategy="random").num_tokens == 57
    dropped = packsort.plan(lengths, 10, strategy="random", overlong="drop")
    assert (dropped.num_tokens, dropped.num_dropped, dropped.tokens_lost) == (7, 1, 50)
    cut = packsort.plan(lengths, 10, strategy="random", overlong="truncate")
    assert (cut.num_tokens, cut.num_truncated, cut.tokens_lost) == (17, 1, 40)


def test_saved_random_plans_come_back(tmp_path: object) -> None:
    plan = packsort.plan(np.random.default_rng(0).integers(1, 99, 500), 64, strategy="random", seed=5)
    plan.save(tmp_path / "plan.arrow")  # type: ignore[operator]
    again = packsort.load_plan(tmp_path / "plan.arrow")  # type: ignore[operator]
    assert again == plan
    assert again.with_epoch(2) == plan.with_epoch(2) != plan
    assert again.patterns.num_rows == again.num_patterns == 0


def test_random_packing_clashes_with_constraints() -> None:
    for name, value in {
        "groups": ["a", "b"],
        "alone": [True, False],
        "max_sequences": 3,
        "num_packs_multiple_of": 2,
    }.items():
        with pytest.raises(packsort.OptionError, match=f"strategy='random' does not go with {name}: "):
            packsort.plan([1, 2], 8, strategy="random", **{name: value})  # type: ignore[arg-type]

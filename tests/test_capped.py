"""Caps on sequences, against a readable reference and against first-fit in input order; and the order of pieces."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from reference import capped, first_fit

CAPS = st.integers(1, 12)


@st.composite
def lengths_and_room(draw: st.DrawFn) -> tuple[list[int], int]:
    """Lengths of a few kinds, and a `max_length` that fits several of most of them."""
    max_length = draw(st.sampled_from([5, 12, 30, 60, 200, 1000]))
    number = draw(st.integers(1, 200))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["lognormal", "uniform", "alike"]))
    if kind == "lognormal":
        lengths = random.lognormal(np.log(max_length / 8), 1, number)
    elif kind == "uniform":
        lengths = random.uniform(1, max_length / 3 + 1, number)
    else:
        lengths = random.choice([max_length / 7, max_length / 3], number)
    return np.clip(lengths, 1, max_length).astype(int).tolist(), max_length


def with_ids(packs: list[list[int]], lengths: list[int]) -> list[list[int]]:
    """Hand out ids to packs of lengths, equal lengths in input order."""
    ids = {length: iter([i for i, other in enumerate(lengths) if other == length]) for length in set(lengths)}
    return [[next(ids[length]) for length in pack] for pack in packs]


def packs_of(plan: packsort.Plan) -> list[list[int]]:
    return [ids.tolist() for ids in plan]


@given(lengths_and_room(), CAPS)
@settings(max_examples=150, deadline=None)
def test_a_capped_plan_is_the_references_id_for_id(case: tuple[list[int], int], most: int) -> None:
    lengths, max_length = case
    expected = with_ids(capped(lengths, max_length, most), lengths)
    assert packs_of(packsort.plan(lengths, max_length, max_sequences=most)) == expected
    assert packs_of(packsort.plan(lengths, max_length, max_sequences=most, strategy="bfd")) == expected


@given(lengths_and_room(), CAPS)
@settings(max_examples=60, deadline=None)
def test_a_separator_is_a_token_more_for_sequences_and_packs(case: tuple[list[int], int], most: int) -> None:
    lengths, max_length = case
    plan = packsort.plan(lengths, max_length, max_sequences=most, separator=True)
    longer = [length + 1 for length in lengths]
    assert packs_of(plan) == with_ids(capped(longer, max_length + 1, most), longer)


@given(lengths_and_room(), CAPS, st.sampled_from([2, 3, 4]))
@settings(max_examples=60, deadline=None)
def test_sequences_take_multiples(case: tuple[list[int], int], most: int, multiple: int) -> None:
    lengths, max_length = case
    room = max_length // multiple * multiple
    lengths = [min(length, room) for length in lengths]
    plan = packsort.plan(lengths, max_length, max_sequences=most, pad_to_multiple_of=multiple)
    expected = capped(lengths, room, most, lambda length: -(-length // multiple) * multiple)
    assert packs_of(plan) == with_ids(expected, lengths)


@given(lengths_and_room(), CAPS, st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_each_group_has_the_packs_that_it_has_by_itself(case: tuple[list[int], int], most: int, seed: int) -> None:
    lengths, max_length = case
    groups = np.random.default_rng(seed).integers(0, 3, len(lengths))
    expected = []
    for group in range(3):
        ids = np.flatnonzero(groups == group).tolist()
        own = [lengths[i] for i in ids]
        expected += [[ids[i] for i in pack] for pack in with_ids(capped(own, max_length, most), own)]
    plan = packsort.plan(lengths, max_length, max_sequences=most, groups=pa.array(groups, pa.int32()))
    assert packs_of(plan) == expected


LENGTHS = {
    "lognormal": lambda random, number: random.lognormal(6, 1, number),
    "normal": lambda random, number: random.normal(600, 200, number),
    "narrow": lambda random, number: random.normal(1000, 100, number),
    "uniform": lambda random, number: random.uniform(1, 2000, number),
}


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("strategy", ["ffd", "bfd"])
def test_no_more_packs_than_first_fit_in_input_order(kind: str, strategy: str) -> None:
    lengths = np.clip(LENGTHS[kind](np.random.default_rng(1), 1500), 1, 4096).astype(int)
    for most in (2, 4, 6, 7, 8, 12, 24, 64):
        plan = packsort.plan(lengths, 4096, max_sequences=most, strategy=strategy)
        assert plan.num_packs <= len(first_fit(lengths.tolist(), 4096, most)), most
        assert max(len(ids) for ids in plan) <= most


@pytest.mark.parametrize("kind", LENGTHS)
def test_packs_are_within_one_percent_of_the_bound(kind: str) -> None:
    lengths = np.clip(LENGTHS[kind](np.random.default_rng(2), 20_000), 1, 2048).astype(int)
    for most in (2, 3, 4, 8, 64):
        plan = packsort.plan(lengths, 2048, max_sequences=most)
        fewest = packsort.plan(lengths, 2048, max_sequences=most, strategy="optimal", gap=0.005, max_seconds=60)
        assert plan.num_packs <= 1.01 * fewest.lower_bound, most


def test_a_billion_sequences_are_capped_on_counts() -> None:
    counts = np.bincount(np.clip(np.random.default_rng(3).lognormal(6, 1, 100_000), 1, 8192).astype(int)) * 10_000
    plan = packsort.plan_counts(counts, 8192, max_sequences=16)
    assert plan.num_sequences == 1_000_000_000
    assert plan.num_packs <= 1.002 * plan.lower_bound


def test_many_sequences_of_few_lengths_are_capped_at_once() -> None:
    plan = packsort.plan(np.ones(3_000_000, np.int8), 1 << 21, max_sequences=1_000_000)
    assert [len(ids) for ids in plan] == [1_000_000] * 3
    lengths = np.tile([1, 2, 3], 1_000_000)
    plan = packsort.plan(lengths, 1 << 20, max_sequences=500_000)
    assert plan.num_packs <= plan.lower_bound + 1


@given(
    st.lists(st.integers(1, 60), max_size=60),
    st.integers(1, 12),
    st.sampled_from(["ffd", "bfd", "padding"]),
    st.none() | st.integers(1, 4),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_pieces_of_equal_lengths_are_in_input_order(
    lengths: list[int], max_length: int, strategy: str, most: int | None, in_groups: bool
) -> None:
    groups = np.arange(len(lengths)) % 2 if in_groups else np.zeros(len(lengths), int)
    plan = packsort.plan(
        lengths,
        max_length,
        overlong="split",
        strategy=strategy,
        max_sequences=most,
        groups=pa.array(groups, pa.int32()),
    )
    pieces = list(zip(plan.sequence_ids.tolist(), plan.piece_starts.tolist(), plan.piece_lengths.tolist(), strict=True))
    for group in set(groups.tolist()):
        for length in range(1, max_length + 1):
            own = [(row, start) for row, start, n in pieces if n == length and groups[row] == group]
            assert own == sorted(own)


@given(st.lists(st.integers(1, 60), max_size=60), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_splitting_is_planning_the_pieces_in_input_order(lengths: list[int], max_length: int) -> None:
    pieces = [(i, start) for i, length in enumerate(lengths) for start in range(0, length, max_length)]
    plan = packsort.plan(lengths, max_length, overlong="split")
    whole = packsort.plan([min(max_length, lengths[i] - start) for i, start in pieces], max_length)
    found = list(zip(plan.sequence_ids.tolist(), plan.piece_starts.tolist(), strict=True))
    offsets = plan.pack_offsets.tolist()
    assert [found[a:b] for a, b in pairwise(offsets)] == [[pieces[i] for i in pack] for pack in packs_of(whole)]

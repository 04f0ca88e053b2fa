"""Plans made from counts of lengths: the packs of plans of lengths, for any number of sequences."""

import pickle
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packsort import CountedPlan, plan, plan_counts

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "strategy": st.sampled_from(["ffd", "bfd", "padding", "optimal"]),
        "max_sequences": st.integers(1, 4),
        "pad_to_multiple_of": st.integers(1, 8),
        "separator": st.booleans(),
        "seed": st.integers(0, 2**64 - 1),
        "epoch": st.integers(0, 2),
    },
)
OVERLONG = st.sampled_from([("drop", "right"), ("truncate", "right"), ("truncate", "left")])
BILLION = 1_000_000_000


def billion_counts(longest=4096):
    """Counts of a billion lengths, about log-normal."""
    lengths = np.arange(longest + 1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        weights = np.exp(-((np.log(lengths) - 6) ** 2) / 2)
    counts = (weights / weights.sum() * BILLION).astype(np.int64)
    counts[500] += BILLION - counts.sum()
    return counts


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 60), max_size=200), st.integers(8, 50), OPTIONS, OVERLONG, st.integers(0, 200))
def test_the_packs_are_those_of_the_lengths(lengths, max_length, options, overlong, cut):
    options |= {"overlong": overlong[0], "truncation_side": overlong[1], "empty": "drop"}
    planned = plan(np.array(lengths, np.int64), max_length, **options)
    counted = plan_counts(np.bincount(np.array(lengths, np.int64)), max_length, **options)
    for name in ("num_rows", "num_packs", "num_tokens", "num_padding", "tokens_lost", "lower_bound", "num_dropped"):
        assert getattr(counted, name) == getattr(planned, name), name
    assert counted.patterns.equals(planned.patterns)

    # Two parts are placed apart, as two machines would.
    before = np.bincount(np.array(lengths[:cut], np.int64), minlength=1)
    parts = [(lengths[:cut], None), (lengths[cut:], before)]
    numbers = np.concatenate([counted.numbers(np.array(part, np.int64), skipped) for part, skipped in parts])
    places = np.concatenate([counted.places(np.array(part, np.int64), skipped) for part, skipped in parts])
    offsets, listed = counted.list_packs(0, counted.num_packs)
    assert offsets.tolist() == planned.pack_offsets.tolist()
    assert listed.tolist() == numbers[planned.sequence_ids].tolist()
    assert counted.list_lengths(0, counted.num_packs).tolist() == planned.piece_lengths.tolist()
    for index, ids in enumerate(planned):
        assert (places[ids] == index).all()
    assert (places >= 0).sum() == planned.num_sequences


def test_a_pack_tells_lengths_and_ranks():
    counted = plan_counts({3: 3, 4: 1}, max_length=7)
    assert [(pack.lengths.tolist(), pack.ranks.tolist()) for pack in counted] == [([4, 3], [0, 0]), ([3, 3], [1, 2])]
    assert counted[-1].ranks.tolist() == [1, 2]
    with pytest.raises(IndexError, match="pack 2 is not in the plan, which has 2 packs"):
        counted[2]


def test_a_billion_sequences_are_planned_saved_loaded_and_searched_without_their_ids(tmp_path):
    counts = billion_counts()
    plan_counts(counts // 1000, 4096)  # starts threads
    begin = time.process_time()
    counted = plan_counts(counts, 4096, seed=5, epoch=2)
    assert counted.num_sequences == BILLION
    counted.save(tmp_path / "plan.arrow")
    assert (tmp_path / "plan.arrow").stat().st_size < 1_000_000
    loaded = CountedPlan.load(tmp_path / "plan.arrow")
    assert loaded == counted
    index = counted.num_packs - 12_345
    pack = loaded[index]
    assert pack.lengths.sum() <= 4096
    before = dict(zip(pack.lengths.tolist(), pack.ranks.tolist(), strict=True))
    for length, rank in before.items():
        assert loaded.places([length], before={length: rank}).tolist() == [index]
    # Neither the time nor the memory of a billion of anything: their ids alone would take 8 GB.
    assert time.process_time() - begin < 5


def test_numbers_beyond_32_bits_lead_to_packs_and_back():
    counted = plan_counts(billion_counts() * 30, 4096, seed=1)
    assert counted.num_sequences > 2**34
    first = counted.num_packs // 2
    offsets, numbers = counted.list_packs(first, first + 5000)
    assert numbers.dtype == np.int64
    assert numbers.max() > 2**33
    assert counted.places_of(numbers).tolist() == np.repeat(np.arange(5000) + first, np.diff(offsets)).tolist()


def test_a_plan_of_rows_beyond_32_bits_is_saved_and_listed(tmp_path):
    """A plan of few sequences whose rows are moved beyond 2^32, as lengths of so many rows would give them."""
    from packsort import _core
    from packsort.planning.plan import Plan

    parts = plan([3, 5, 2, 2], 7, seed=1)._core.parts()
    moved = Plan(_core.Plan.from_parts(parts | {"rows": 2**40 + 4, "items": parts["items"].astype(np.int64) + 2**40}))
    moved.save(tmp_path / "plan.arrow")
    loaded = packsort.load_plan(tmp_path / "plan.arrow")
    assert loaded.num_rows == 2**40 + 4
    assert sorted(loaded.sequence_ids.tolist()) == [2**40 + row for row in range(4)]
    assert loaded[0].dtype == loaded.sequence_ids.dtype == np.int64
    assert [ids.tolist() for ids in loaded] == [loaded[0].tolist(), loaded[1].tolist()]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "random"}, "strategy='random' needs all lengths in order, not their counts: pass all lengths to"),
        ({"strategy": "hybrid", "splittable": [True]}, "splittable says something of single sequences"),
        ({"overlong": "split"}, "overlong='split' needs all lengths in order"),
        ({"groups": [1]}, "groups says something of single sequences, which counts do not know: pass all lengths to"),
        ({"alone": [True]}, "alone says something of single sequences"),
        ({"piece_starts": [[0]]}, "piece_starts says something of single sequences"),
    ],
)
def test_options_of_single_sequences_are_refused_by_name(options, message):
    with pytest.raises(packsort.OptionError, match=message):
        plan_counts([0, 1], 7, **options)


def test_what_cannot_be_planned_is_counted():
    with pytest.raises(packsort.LengthError, match=r"^5 sequences are longer than 7 tokens; the longest has 9: pass "):
        plan_counts([0, 0, 3, 0, 0, 0, 0, 0, 2, 3], 7)
    with pytest.raises(packsort.LengthError, match=r"^1 sequence has length 0: pass empty='drop'"):
        plan_counts([1, 5], 7)


@pytest.mark.parametrize("counts", [[-1, 2], [0.5], [[1]], {"a": 1}, {1: True}, [2**63], "12", {-1: 2}, None])
def test_other_things_than_counts_are_refused(counts):
    with pytest.raises(packsort.OptionError, match="counts must be an array of integers of at least 0"):
        plan_counts(counts, 7)


def test_sequences_that_were_not_counted_are_refused():
    counted = plan_counts({3: 2}, 7)
    with pytest.raises(packsort.LengthError, match="more sequences of 3 tokens than the plan counts") as caught:
        counted.numbers([3, 3, 3])
    assert caught.value.length == 3
    with pytest.raises(packsort.OptionError, match="before must be an array"):
        counted.numbers([3], before="x")


def test_plans_of_counts_and_of_lengths_are_not_taken_for_each_other(tmp_path):
    counted, planned = plan_counts({3: 2}, 7), plan([3, 3], 7)
    assert counted != planned
    counted.save(tmp_path / "counted.arrow")
    planned.save(tmp_path / "planned.arrow")
    with pytest.raises(packsort.SourceError, match=r"made from counts: load it with `CountedPlan.load`"):
        packsort.load_plan(tmp_path / "counted.arrow")
    with pytest.raises(packsort.SourceError, match="made from lengths: load it with `load_plan`"):
        CountedPlan.load(tmp_path / "planned.arrow")
    assert pickle.loads(pickle.dumps(counted)) == counted
    assert counted.with_epoch(1).num_packs == counted.num_packs

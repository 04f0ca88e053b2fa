"""`strategy="optimal"` in plans, saved plans, shards, loaders and the command line."""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import packsort
from packsort.cli import main
from packsort.torch import PackedDataset, PackedLoader
from reference import fewest_packs

MAX_LENGTH = 1024
LENGTHS = np.random.default_rng(0).normal(307, 25, 4000).astype(int).clip(1, MAX_LENGTH)  # three fit, some four do not


def table(lengths: Any = LENGTHS) -> pa.Table:
    """Return sequences of these lengths; each token names its sequence."""
    return pa.table({"input_ids": [(np.arange(n) % 50 + 60 * (i % 500)).tolist() for i, n in enumerate(lengths)]})


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_few_sequences_of_a_group_are_packed_as_brute_force_packs_them(data: st.DataObject) -> None:
    max_length = data.draw(st.integers(8, 40))
    multiple = data.draw(st.sampled_from([1, 1, 2, 4, 8]))
    separator = data.draw(st.booleans())
    limit = max_length // multiple * multiple
    lengths = data.draw(st.lists(st.integers(1, limit), min_size=1, max_size=16))
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(lengths), max_size=len(lengths)))
    alone = data.draw(st.lists(st.sampled_from([False, False, True]), min_size=len(lengths), max_size=len(lengths)))
    plan = packsort.plan(
        lengths,
        max_length,
        strategy="optimal",
        pad_to_multiple_of=multiple,
        separator=separator,
        groups=groups,
        alone=alone,
    )
    capacity = max_length + separator if multiple == 1 else limit
    taken = defaultdict(list)
    for length, group, single in zip(lengths, groups, alone, strict=True):
        if not single:
            taken[group].append(min(capacity, -(-(length + separator) // multiple) * multiple))
    assume(all(len(own) <= 9 for own in taken.values()))
    assert plan.num_packs == plan.lower_bound == sum(fewest_packs(own, capacity) for own in taken.values()) + sum(alone)


def test_fewer_packs_than_first_fit_decreasing_with_proof() -> None:
    greedy = packsort.plan(LENGTHS, MAX_LENGTH)
    plan = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal")
    assert plan.num_packs < greedy.num_packs
    assert plan.num_packs <= plan.lower_bound + 1
    assert plan.lower_bound > greedy.lower_bound
    assert plan.gap == (plan.num_packs - plan.lower_bound) / plan.lower_bound
    assert plan.strategy == "optimal"
    assert sorted(plan.sequence_ids.tolist()) == list(range(len(LENGTHS)))
    assert np.add.reduceat(LENGTHS[plan.sequence_ids], plan.pack_offsets[:-1]).max() <= MAX_LENGTH
    assert np.array_equal(plan.piece_lengths, LENGTHS[plan.sequence_ids])
    assert pa.compute.sum(plan.patterns["repeat"]).as_py() >= plan.num_packs


def test_several_lengths_that_take_as_much_share_the_places() -> None:
    options = {"pad_to_multiple_of": 64, "separator": True}
    greedy = packsort.plan(LENGTHS, MAX_LENGTH, **options)
    plan = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", **options)
    assert plan.num_packs <= min(greedy.num_packs, plan.lower_bound + 1)
    assert sorted(plan.sequence_ids.tolist()) == list(range(len(LENGTHS)))
    assert np.array_equal(plan.piece_lengths, LENGTHS[plan.sequence_ids])


def test_a_bound_of_groups_is_the_sum_of_theirs() -> None:
    groups = np.arange(len(LENGTHS)) % 3
    plan = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", groups=groups)
    own = [packsort.plan(LENGTHS[groups == g], MAX_LENGTH, strategy="optimal") for g in range(3)]
    assert plan.num_packs == sum(p.num_packs for p in own)
    assert plan.lower_bound == sum(p.lower_bound for p in own)
    more = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", groups=groups, num_packs_multiple_of=64)
    assert more.num_packs == -(-plan.num_packs // 64) * 64
    assert more.lower_bound == -(-plan.lower_bound // 64) * 64


def test_what_first_fit_decreasing_fills_stops_at_once() -> None:
    seen: list[tuple[int, int, float]] = []
    lengths = np.random.default_rng(1).lognormal(5.5, 1.2, 50_000).astype(int).clip(1, 8192)
    greedy = packsort.plan(lengths, 8192)
    plan = packsort.plan(lengths, 8192, strategy="optimal", gap=0.001, on_progress=lambda *now: seen.append(now))
    assert plan.num_packs == greedy.num_packs
    assert seen == [(greedy.num_packs, greedy.lower_bound, greedy.gap)]


def test_it_stops_at_a_gap_and_after_a_number_of_programs() -> None:
    seen: list[tuple[int, int, float]] = []
    greedy = packsort.plan(LENGTHS, MAX_LENGTH)
    some = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", gap=0.02, on_progress=lambda *now: seen.append(now))
    assert some.gap <= 0.02 < greedy.gap
    assert [packs for packs, _, _ in seen] == sorted((packs for packs, _, _ in seen), reverse=True)
    assert [bound for _, bound, _ in seen] == sorted(bound for _, bound, _ in seen)
    none = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", max_seconds=0)
    assert none.num_packs <= greedy.num_packs
    one, two = (packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", max_iterations=2) for _ in range(2))
    assert one == two
    assert one.lower_bound <= one.num_packs <= greedy.num_packs


def test_it_is_an_ordinary_plan(tmp_path: Path) -> None:
    plan = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", seed=3, max_sequences=3)
    plan.save(tmp_path / "plan.arrow")
    again = packsort.load_plan(tmp_path / "plan.arrow")
    assert again == plan == pickle.loads(pickle.dumps(plan))
    assert (again.lower_bound, again.gap, again.strategy) == (plan.lower_bound, plan.gap, "optimal")
    later = plan.with_epoch(1)
    assert (later.num_packs, later.lower_bound) == (plan.num_packs, plan.lower_bound)
    assert later.sequence_ids.tolist() != plan.sequence_ids.tolist()
    assert sorted(later.sequence_ids.tolist()) == list(range(len(LENGTHS)))
    assert all(np.array_equal(later[i], ids) for i, ids in zip(range(50), later, strict=False))
    assert max(len(pack) for pack in plan) <= 3


def test_shards_of_it_are_proven_and_say_the_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(table(), tmp_path / "rows.parquet")
    arguments = ["pack", str(tmp_path / "rows.parquet"), "--max-length", str(MAX_LENGTH)]
    assert main([*arguments, "-o", str(tmp_path / "greedy")]) == 0
    assert "`--strategy optimal` may save up to" in capsys.readouterr().out
    assert main([*arguments, "-o", str(tmp_path / "fewest"), "--strategy", "optimal", "--gap", "0.05%"]) == 0
    assert "may save" not in capsys.readouterr().out
    assert main(["verify", str(tmp_path / "fewest"), "--source", str(tmp_path / "rows.parquet")]) == 0
    counts = json.loads((tmp_path / "fewest" / "manifest.json").read_text())["counts"]
    options = json.loads((tmp_path / "fewest" / "manifest.json").read_text())["options"]
    plan = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", gap=0.0005, seed=0)
    assert (counts["packs"], counts["lower_bound"], counts["gap"]) == (plan.num_packs, plan.lower_bound, plan.gap)
    assert (options["strategy"], options["gap"], options["max_iterations"]) == ("optimal", 0.0005, None)
    capsys.readouterr()
    assert (
        main(["plan", str(tmp_path / "rows.parquet"), "--max-length", "1024", "--strategy", "optimal", "--json"]) == 0
    )
    shown = json.loads(capsys.readouterr().out)
    assert shown["packs"] <= shown["lower_bound"] + 1
    assert shown["gap"] == (shown["packs"] - shown["lower_bound"]) / shown["lower_bound"]


def test_ranks_share_one_plan(tmp_path: Path) -> None:
    plan = packsort.plan(LENGTHS, MAX_LENGTH, strategy="optimal", seed=5)
    plan.save(tmp_path / "plan.arrow")
    rows = table()
    alone = PackedLoader(rows, max_length=MAX_LENGTH, strategy="optimal", seed=5)
    assert alone.num_packs == plan.num_packs
    seen: list[list[int]] = []
    for rank in range(2):
        loader = PackedLoader(rows, plan=tmp_path / "plan.arrow", rank=rank, world_size=2)
        assert loader.max_length == MAX_LENGTH
        batches = [batch["input_ids"].tolist() for batch in loader]
        assert len(batches) == len(loader)
        seen += [ids for (ids,) in batches]
    once = [ids for (ids,) in (batch["input_ids"].tolist() for batch in PackedLoader(rows, plan=plan))]
    assert len(seen) - len(once) == len(once) % 2  # the tail repeats packs until ranks have as many
    assert not Counter(map(tuple, once)) - Counter(map(tuple, seen))
    later = PackedLoader(rows, plan=plan.with_epoch(3))  # epochs are the loader's, whichever the plan was saved in
    assert [ids for (ids,) in (batch["input_ids"].tolist() for batch in later)] == once
    with pytest.raises(packsort.OptionError, match="strategy='optimal' does not go with world_size=2"):
        PackedLoader(rows, max_length=MAX_LENGTH, strategy="optimal", rank=0, world_size=2)


def test_a_plan_of_other_sequences_is_refused(tmp_path: Path) -> None:
    plan = packsort.plan([3, 4, 5], 8)
    rows = pa.table({"input_ids": [[1] * 3, [1] * 4, [1] * 5]})
    assert PackedLoader(rows, plan=plan).num_packs == 2
    assert len(PackedDataset(rows, plan=plan)) == 2
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (rows.slice(0, 2), {}, "the plan has 3 sequences, but `<table>` has 2"),
        (pa.table({"input_ids": [[1] * 3, [1] * 5, [1] * 5]}), {}, "its sequence 1 has 4 tokens, that of"),
        (rows, {"max_length": 9}, "max_length must be 8, as the plan has it, or None, got 9"),
        (rows, {"strategy": "bfd"}, "strategy does not go with plan"),
        (rows, {"separator": 7}, "the plan leaves no room for separators: separator must be None"),
    ]
    for source, options, message in cases:
        with pytest.raises(packsort.OptionError, match=message):
            PackedLoader(source, plan=plan, **options)
    packsort.write_shards(rows, tmp_path / "packed", 8)
    with pytest.raises(packsort.OptionError, match=r"plan does not go with `.*`, which is packed already"):
        PackedLoader(tmp_path / "packed", plan=plan)


def test_datasets_take_the_plan_along_when_they_are_pickled() -> None:
    dataset = PackedDataset(table(), MAX_LENGTH, strategy="optimal", max_seconds=60)
    again = pickle.loads(pickle.dumps(dataset))
    assert again._packs.plan_fingerprint == dataset._packs.plan_fingerprint
    assert [again[i]["sequence_ids"].tolist() for i in (0, -1)] == [
        dataset[i]["sequence_ids"].tolist() for i in (0, -1)
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "ffd", "gap": 0.1}, "gap does not go with strategy='ffd': only strategy='optimal' searches"),
        ({"strategy": "bfd", "max_iterations": 3}, "max_iterations does not go with strategy='bfd'"),
        ({"max_seconds": 3}, "max_seconds does not go with strategy='ffd'"),
        ({"strategy": "optimal", "gap": -0.1}, "gap must be a finite number of at least 0, or None, got -0.1"),
        ({"strategy": "optimal", "gap": "5%"}, "gap must be a number, or None, got '5%'"),
        (
            {"strategy": "optimal", "max_iterations": 0},
            "max_iterations must be between 1 and 2**32 - 1, or None, got 0",
        ),
        (
            {"strategy": "optimal", "max_seconds": float("nan")},
            "max_seconds must be a finite number of at least 0, or None, got nan",
        ),
        ({"strategy": "optimal", "splittable": [True, True]}, "splittable does not go with strategy='optimal'"),
    ],
)
def test_wrong_budgets_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(packsort.OptionError, match=re.escape(message)):
        packsort.plan([1, 2], 8, **options)


def test_without_highspy_the_command_says_what_to_install(tmp_path: Path) -> None:
    pq.write_table(pa.table({"input_ids": [[1, 2]]}), tmp_path / "rows.parquet")
    (tmp_path / "highspy.py").write_text("raise ImportError\n")
    arguments = ["plan", str(tmp_path / "rows.parquet"), "--max-length", "8", "--strategy", "optimal"]
    script = f"import sys; from packsort.cli import main; sys.exit(main({arguments!r}))"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith("""strategy='optimal' needs highspy: pip install "packsort[optimal]\"""")

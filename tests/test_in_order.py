"""Packs in input order: against the definition, at every door, and what they tell of themselves."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from commands import Run
from packsort.torch import PackedDataset, PackedLoader, PackedStream
from packsort.torch._stream.buffer import InOrderBuffer
from reference import in_order

Piece = tuple[int, int, int]
WINDOWS = st.sampled_from([0, 1, 2, 5, 64, 2**32 - 1])


def pieces_of(plan: packsort.Plan) -> list[list[Piece]]:
    """Return (row, first token, tokens) of each piece of each pack."""
    columns = (plan.sequence_ids.tolist(), plan.piece_starts.tolist(), plan.piece_lengths.tolist())
    pieces = list(zip(*columns, strict=True))
    return [pieces[a:b] for a, b in pairwise(plan.pack_offsets.tolist())]


def planned_pieces(lengths: list[int], limit: int, overlong: str, side: str) -> list[Piece]:
    """Return the pieces of all rows in input order, by the definition of `overlong`."""
    pieces: list[Piece] = []
    for row, length in enumerate(lengths):
        if length <= limit:
            pieces += [(row, 0, length)] * (length > 0)
        elif overlong == "truncate":
            pieces.append((row, length - limit if side == "left" else 0, limit))
        elif overlong == "split":
            pieces += [(row, start, min(limit, length - start)) for start in range(0, length, limit)]
    return pieces


@st.composite
def cases(draw: Any) -> tuple[list[int], int, dict[str, Any]]:
    rows = draw(st.integers(0, 60))
    max_length = draw(st.integers(4, 40))
    column = lambda values: draw(st.lists(values, min_size=rows, max_size=rows))  # noqa: E731
    options: dict[str, Any] = {
        "window": draw(WINDOWS),
        "overlong": draw(st.sampled_from(["drop", "truncate", "split"])),
    }
    if draw(st.booleans()):
        options["max_sequences"] = draw(st.integers(1, 5))
    if draw(st.booleans()):
        options["pad_to_multiple_of"] = draw(st.integers(1, 4))
    if draw(st.booleans()):
        options["separator"] = True
    if draw(st.booleans()):
        options["groups"] = column(st.sampled_from("abc"))
    if draw(st.booleans()):
        options["alone"] = column(st.booleans())
    if options["overlong"] == "truncate":
        options["truncation_side"] = draw(st.sampled_from(["left", "right"]))
    return column(st.integers(0, 60)), max_length, options


@given(cases(), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_packs_are_those_of_the_definition(case: tuple[list[int], int, dict[str, Any]], ranks: int) -> None:
    lengths, max_length, options = case
    arrays = {"groups": pa.string(), "alone": pa.bool_()}
    given = options | {name: pa.array(options[name], kind) for name, kind in arrays.items() if name in options}
    given |= {"strategy": "in_order", "empty": "drop"}
    multiple = options.get("pad_to_multiple_of", 1)
    limit = max_length // multiple * multiple
    pieces = planned_pieces(lengths, limit, options["overlong"], options.get("truncation_side", "right"))
    groups = options.get("groups", [0] * len(lengths))
    alone = options.get("alone", [False] * len(lengths))
    definition: dict[str, Any] = {
        "max_sequences": options.get("max_sequences"),
        "multiple": multiple,
        "separator": options.get("separator", False),
        "groups": [None if alone[row] else groups[row] for row, _, _ in pieces],
    }
    tokens = [length for _, _, length in pieces]

    plan = packsort.plan(lengths, max_length, **given)
    expected = in_order(tokens, max_length, options["window"], **definition)
    assert pieces_of(plan) == [[pieces[i] for i in pack] for pack in expected]
    assert [plan[i].tolist() for i in range(len(plan))] == [[pieces[i][0] for i in pack] for pack in expected]
    moved = [abs(at - piece) for at, piece in enumerate(i for pack in expected for i in pack)]
    assert (plan.max_displacement, plan.mean_displacement) == (max(moved, default=0), np.mean(moved or [0]))
    assert plan.lower_bound <= plan.num_packs
    for epoch in (1, 2**64 - 1):
        assert pieces_of(plan.with_epoch(epoch)) == pieces_of(plan)
    shuffled = packsort.plan(lengths, max_length, seed=7, **given)
    assert sorted(pieces_of(shuffled)) == sorted(pieces_of(plan))
    assert sorted(pieces_of(shuffled.with_epoch(1))) == sorted(pieces_of(plan))

    if -(-plan.num_packs // ranks) * ranks > len(pieces):
        with pytest.raises(packsort.OptionError, match="num_packs_multiple_of"):
            packsort.plan(lengths, max_length, num_packs_multiple_of=ranks, **given)
        return
    more = packsort.plan(lengths, max_length, num_packs_multiple_of=ranks, **given)
    expected = in_order(tokens, max_length, options["window"], **definition, packs_multiple=ranks)
    assert pieces_of(more) == [[pieces[i] for i in pack] for pack in expected]


@given(st.lists(st.integers(1, 30), max_size=300), WINDOWS)
@settings(max_examples=60, deadline=None)
def test_no_sequence_is_taken_past_more_than_the_window(lengths: list[int], window: int) -> None:
    plan = packsort.plan(lengths, 30, strategy="in_order", window=window)
    order = plan.sequence_ids.tolist()
    for place, row in enumerate(order):
        assert sum(other < row for other in order[place:]) <= window
    firsts = plan.sequence_ids[plan.pack_offsets[:-1]].tolist()
    assert firsts == sorted(firsts)
    assert all(ids.tolist() == sorted(ids.tolist()) for ids in plan)


def test_pieces_that_were_cut_beforehand_come_in_order() -> None:
    starts = pa.array([[0, 4], [0], [], [0, 2, 5]], pa.list_(pa.int32()))
    plan = packsort.plan([7, 6, 0, 9], 9, strategy="in_order", window=2, piece_starts=starts, empty="drop")
    assert pieces_of(plan) == [[(0, 0, 4), (0, 4, 3), (3, 0, 2)], [(1, 0, 6), (3, 2, 3)], [(3, 5, 4)]]


def test_saved_plans_and_pickles_come_back(tmp_path: Path) -> None:
    import pickle

    groups = pa.array(["a", "b", "a", "c"] * 25)
    plan = packsort.plan(list(range(1, 101)), 120, strategy="in_order", window=3, groups=groups, seed=4)
    plan.save(tmp_path / "plan.arrow")
    for again in (packsort.load_plan(tmp_path / "plan.arrow"), pickle.loads(pickle.dumps(plan))):
        assert again == plan
        assert pieces_of(again) == pieces_of(plan)
        assert pieces_of(again.with_epoch(5)) == pieces_of(plan.with_epoch(5))
        assert (again.window, again.strategy) == (3, "in_order")
    assert plan != packsort.plan(list(range(1, 101)), 120, strategy="in_order", window=4, groups=groups, seed=4)
    assert packsort.plan([3], 3).window is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 3}, "window does not go with strategy='ffd': only strategy='in_order' looks ahead"),
        ({"strategy": "in_order", "window": -1}, r"window must be between 0 and 2\*\*32 - 1, or None, got -1"),
        ({"strategy": "in_order", "window": 1.5}, "window must be an integer, or None, got 1.5"),
        ({"strategy": "in_order", "splittable": [True]}, "only strategy='hybrid' cuts splittable sequences"),
        ({"strategy": "in_order", "gap": 0.1}, "only strategy='optimal' searches"),
    ],
)
def test_what_does_not_go_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(packsort.OptionError, match=message):
        packsort.plan([1], 5, **options)


def test_counts_do_not_know_the_order() -> None:
    with pytest.raises(packsort.OptionError, match="strategy='in_order' needs all lengths in order"):
        packsort.plan_counts({3: 2}, 5, strategy="in_order")


def rows(lengths: list[int]) -> pa.Table:
    return pa.table({"input_ids": pa.array([[i] * length for i, length in enumerate(lengths)], pa.list_(pa.int32()))})


LENGTHS = np.random.default_rng(3).integers(1, 40, 500).tolist()


def expected_rows(window: int = 64) -> list[list[int]]:
    return in_order(LENGTHS, 64, window)


def rows_of(packs: Any) -> list[list[int]]:
    return [pack["sequence_ids"].tolist() for pack in packs]


def test_doors_keep_the_order_unless_a_seed_is_given(tmp_path: Path) -> None:
    table = rows(LENGTHS)
    given: dict[str, Any] = {"strategy": "in_order"}
    assert packsort.pack(table, 64, **given)["sequence_ids"].to_pylist() == expected_rows()
    manifest = packsort.write_shards(table, tmp_path / "packed", 64, shard_size=10_000, **given)
    assert (manifest.options.window, manifest.options.seed) == (64, None)
    assert rows_of(packsort.open_shards(tmp_path / "packed")) == expected_rows()
    loaders = [PackedLoader(table, 64, keep=None, **given), PackedLoader(tmp_path / "packed")]
    for loader in loaders:
        for epoch in range(2):
            assert loader.epoch == epoch
            ids = [batch["input_ids"][0].tolist() for batch in loader]
            assert ids == [[i for i in pack for _ in range(LENGTHS[i])] for pack in expected_rows()]
    assert rows_of(PackedDataset(table, 64, **given)) == expected_rows()
    assert rows_of(PackedDataset(table, 64, **given).with_epoch(3)) == expected_rows()
    assert rows_of(PackedDataset(tmp_path / "packed")) == expected_rows()

    for loader in (PackedLoader(table, 64, seed=0, **given), PackedLoader(tmp_path / "packed", seed=0)):
        passes = [[tuple(batch["input_ids"][0].tolist()) for batch in loader] for _ in range(2)]
        assert passes[0] != passes[1]
        assert sorted(passes[0]) == sorted(passes[1])
    with pytest.raises(packsort.OptionError, match="balance does not go with packs in input order"):
        PackedLoader(table, 64, balance=True, **given)
    PackedLoader(table, 64, balance=True, seed=1, **given)


def test_a_memory_limit_changes_nothing(tmp_path: Path) -> None:
    pq.write_table(rows(LENGTHS), tmp_path / "rows.parquet", row_group_size=50)
    for name, limit in (("all", "8GB"), ("index", None)):
        packsort.write_shards(
            tmp_path / "rows.parquet",
            tmp_path / name,
            64,
            strategy="in_order",
            window=7,
            memory_limit=limit,
            index_only=name == "index",
        )
        shards = packsort.open_shards(tmp_path / name)
        assert rows_of(shards) == expected_rows(7)
        found = packsort.verify(tmp_path / name, tmp_path / "rows.parquet")
        assert found, str(found)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("constraints", [{}, {"groups": "group"}, {"pad_to_multiple_of": 8, "separator": 1}])
def test_verify_proves_the_order(tmp_path: Path, seed: int | None, constraints: dict[str, Any]) -> None:
    table = rows(LENGTHS).append_column("group", pa.array([i % 3 for i in range(len(LENGTHS))]))
    options: dict[str, Any] = {"strategy": "in_order", "window": 5, "seed": seed, "overlong": "split", **constraints}
    manifest = packsort.write_shards(table, tmp_path / "packed", 32, num_packs_multiple_of=8, **options)
    assert packsort.verify(tmp_path / "packed", table)
    assert packsort.verify(tmp_path / "packed")
    assert manifest.counts.max_displacement is not None
    # Packs of another strategy that say they are in order.
    packsort.write_shards(table, tmp_path / "other", 32, num_packs_multiple_of=8, **options | {"window": 6})
    relabel(tmp_path / "other", window=5)
    found = packsort.verify(tmp_path / "other", table)
    if "groups" not in constraints:
        assert any("it is not the pack that strategy='in_order' makes" in one for one in found.problems)
    del options["window"]
    packsort.write_shards(table, tmp_path / "ffd", 32, num_packs_multiple_of=8, **options | {"strategy": "ffd"})
    relabel(tmp_path / "ffd", window=5, strategy="in_order")
    found = packsort.verify(tmp_path / "ffd", table)
    assert any("in the order of the source" in one or "in_order" in one for one in found.problems)
    assert any("places from their own" in one for one in found.problems)


def relabel(folder: Path, **options: Any) -> None:
    """Change options of a manifest, with its checksum."""
    from packsort.shards.sealed_json import seal

    facts = json.loads((folder / "manifest.json").read_text())
    facts["options"] |= options
    facts.pop("checksum")
    (folder / "manifest.json").write_text(json.dumps(seal(facts)))


@given(st.lists(st.integers(1, 50), max_size=80), st.integers(5, 50), WINDOWS, st.integers(1, 3), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_a_stream_packs_as_a_plan_and_resumes_exactly(
    lengths: list[int], max_length: int, window: int, batch_size: int, stop: int
) -> None:
    sequences = [[i] * length for i, length in enumerate(lengths)]
    options: dict[str, Any] = {"strategy": "in_order", "window": window, "overlong": "truncate", "prefetch": 0}
    options |= {"layout": "rows", "batch_size": batch_size, "device": None}
    expected = in_order([min(length, max_length) for length in lengths], max_length, window)

    stream = PackedStream(sequences, max_length, **options)
    found: list[list[int]] = []
    state, resumed = None, 0
    for at, batch in enumerate(stream):
        found += ids_of(batch)
        if at == stop:
            state = stream.state_dict()
            resumed = at + 1
    assert found == expected
    if state is not None:
        again = PackedStream(sequences, max_length, **options)
        again.load_state_dict(state)
        rest = [ids for batch in again for ids in ids_of(batch)]
        assert rest == expected[resumed * batch_size :]


def ids_of(batch: Any) -> list[list[int]]:
    """Return the sequences of each row of a batch, whose tokens are their numbers."""
    return [
        list(dict.fromkeys(ids[segments > 0].tolist()))
        for ids, segments in zip(batch["input_ids"], batch["segment_ids"], strict=True)
    ]


def test_a_stream_keeps_no_more_than_its_window_and_a_pack() -> None:
    buffer = InOrderBuffer(100, 8)
    taken = 0
    for number, length in enumerate(np.random.default_rng(0).integers(20, 90, 2000).tolist()):
        buffer.add(number, length)
        assert number - taken <= 8 + 5 + 1
        while buffer.is_full:
            taken += len(buffer.take())


def test_options_of_streams_that_do_not_go_are_refused() -> None:
    with pytest.raises(packsort.OptionError, match="buffer_size does not go with strategy='in_order'"):
        PackedStream([[1]], 4, strategy="in_order", buffer_size=3)
    with pytest.raises(packsort.OptionError, match="window does not go with strategy='ffd'"):
        PackedStream([[1]], 4, window=3)
    state = PackedStream([[1]], 4, strategy="in_order", window=3).state_dict()
    with pytest.raises(packsort.OptionError, match="state is of a stream with strategy='in_order'"):
        PackedStream([[1]], 4).load_state_dict(state)
    with pytest.raises(packsort.OptionError, match="state is of a stream with window=3"):
        PackedStream([[1]], 4, strategy="in_order").load_state_dict(state)


def test_datasets_are_packed_in_order() -> None:
    import datasets

    from packsort.hf import pack_dataset, pack_stream

    dataset = datasets.Dataset.from_dict({"input_ids": [[i] * length for i, length in enumerate(LENGTHS)]})
    packed = pack_dataset(dataset, 64, "in_order", window=9)
    sequences = [list(dict.fromkeys(ids)) for ids in packed["input_ids"]]
    assert sequences == expected_rows(9)
    streamed = list(pack_stream(dataset.to_iterable_dataset(), 64, "in_order", window=9, buffer_size=100))
    found = [list(dict.fromkeys(one["input_ids"])) for one in streamed]
    buffers = [in_order(LENGTHS[at : at + 100], 64, 9) for at in range(0, 500, 100)]
    assert found == [[at * 100 + i for i in pack] for at, packs in enumerate(buffers) for pack in packs]


def test_the_command_line_tells_the_order(tmp_path: Path, run: Run) -> None:
    pq.write_table(rows(LENGTHS), tmp_path / "rows.parquet")
    source, out = str(tmp_path / "rows.parquet"), str(tmp_path / "packed")
    plan = packsort.plan(LENGTHS, 64, strategy="in_order", window=7)
    moved = {"window": 7, "max_displacement": plan.max_displacement, "mean_displacement": plan.mean_displacement}
    order = f"window 7; a sequence stands up to {plan.max_displacement} places from its own"
    given = ("--max-length", "64", "--strategy", "in_order", "--window", "7")
    done = run("plan", source, *given, "--json")
    assert json.loads(done.stdout).items() >= moved.items()
    done = run("plan", source, *given)
    assert order in done.stdout
    done = run("pack", source, "-o", out, *given)
    assert order in done.stdout
    assert rows_of(packsort.open_shards(out)) == expected_rows(7)
    assert run("verify", out, "--source", source).returncode == 0
    done = run("inspect", out, "--json")
    assert json.loads(done.stdout).items() >= moved.items()
    assert order in run("inspect", out).stdout
    done = run("plan", source, "--max-length", "64", "--window", "7")
    assert done.returncode == 1
    assert "hint: use `--strategy in_order`" in done.stderr


def test_compare_has_a_column_where_a_window_is_given() -> None:
    found = packsort.compare(LENGTHS, 64, window=7, batch_size=1, world_size=2)[64]["in_order"]
    plan = packsort.plan(LENGTHS, 64, strategy="in_order", window=7)
    assert (found.rows, found.efficiency) == (plan.num_packs, plan.efficiency)
    assert found.max_displacement == plan.max_displacement
    assert found.mean_displacement == plan.mean_displacement
    assert found.with_masks.scheduled is None
    assert "in_order" not in packsort.compare(LENGTHS, 64)[64].methods

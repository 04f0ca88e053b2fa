"""Constraints in every combination, and hybrid packing, against their definitions."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import packsort
from reference import fewest_packs, first_fit_decreasing

Piece = tuple[int, int, int]


def packs_of(plan: packsort.Plan) -> list[list[Piece]]:
    """Return (row, first token, tokens) of each piece of each pack."""
    columns = (plan.sequence_ids.tolist(), plan.piece_starts.tolist(), plan.piece_lengths.tolist())
    pieces = list(zip(*columns, strict=True))
    return [pieces[a:b] for a, b in pairwise(plan.pack_offsets.tolist())]


def written(lengths: list[int], multiple: int, separator: bool) -> int:
    """Count the tokens of a pack: every sequence rounded up, all but the last with a separator."""
    tokens = [length + separator for length in lengths[:-1]] + lengths[-1:]
    return sum(-(-n // multiple) * multiple for n in tokens)


@st.composite
def cases(draw: Any) -> tuple[list[int], int, dict[str, Any]]:
    rows = draw(st.integers(0, 70))
    column = lambda values: draw(st.lists(values, min_size=rows, max_size=rows))  # noqa: E731
    max_length = draw(st.integers(4, 60))
    strategy = draw(st.sampled_from(["ffd", "bfd", "padding", "hybrid", "in_order", "optimal"]))
    options: dict[str, Any] = {
        "strategy": strategy,
        "overlong": draw(st.sampled_from(["drop", "truncate", "split"])),
        "max_sequences": draw(st.none() | st.integers(1, 6)),
        "pad_to_multiple_of": draw(st.sampled_from([1, 1, 2, 3, 4, 8]).filter(lambda m: m <= max_length)),
        "separator": draw(st.booleans()),
        "groups": draw(st.none() | st.just(pa.array(column(st.sampled_from("abc")), pa.string()))),
        "alone": draw(st.none() | st.just(pa.array(column(st.booleans()), pa.bool_()))),
        "seed": draw(st.none() | st.integers(0, 9)),
    }
    if options["overlong"] == "truncate":
        options["truncation_side"] = draw(st.sampled_from(["left", "right"]))
    if strategy == "hybrid":
        options["splittable"] = pa.array(column(st.booleans()), pa.bool_())
    return column(st.integers(1, 80)), max_length, options


@given(cases(), st.integers(1, 5))
@settings(max_examples=200, deadline=None)
def test_every_combination_of_constraints_holds(case: tuple[list[int], int, dict[str, Any]], ranks: int) -> None:
    lengths, max_length, options = case
    plan = packsort.plan(lengths, max_length, **options)
    multiple, separator = options["pad_to_multiple_of"], options["separator"]
    limit = max_length // multiple * multiple
    flags = {
        name: [False] * len(lengths) if options.get(name) is None else options[name].to_pylist()
        for name in ("splittable", "alone")
    }
    groups = [""] * len(lengths) if options["groups"] is None else options["groups"].to_pylist()

    # Every token is in a pack once, unless its sequence is overlong.
    expected = []
    for row, length in enumerate(lengths):
        cut = length > limit and not flags["splittable"][row]
        if cut and options["overlong"] == "drop":
            continue
        first = length - limit if cut and options.get("truncation_side") == "left" else 0
        end = min(length, limit) if cut and options.get("truncation_side") == "right" else length
        expected += [(row, token) for token in range(first, end)]
    for epoch in (None, 3):
        shown = plan if epoch is None else plan.with_epoch(epoch)
        packs = packs_of(shown)
        pieces = [piece for pack in packs for piece in pack]
        tokens = [(row, token) for row, start, length in pieces for token in range(start, start + length)]
        assert sorted(tokens) == expected
        for pack in packs:
            assert written([length for _, _, length in pack], multiple, separator) <= max_length
            assert len({(groups[row], flags["alone"][row]) for row, _, _ in pack}) == 1
            assert len(pack) <= (options["max_sequences"] or len(pack))
            assert len(pack) == 1 or not flags["alone"][pack[0][0]]
            assert len(pack) == 1 or options["strategy"] != "padding"
    pieces = [piece for pack in packs_of(plan) for piece in pack]
    assert plan.num_tokens == len(expected)
    of = {row: sum(row == other for other, _, _ in pieces) for row, _, _ in pieces}
    assert plan.split_rows.tolist() == sorted(row for row, number in of.items() if number > 1)
    assert plan.num_split == len(plan.split_rows)
    assert all(flags["splittable"][row] or options["overlong"] == "split" for row in plan.split_rows.tolist())
    assert plan.num_sequences == len(of)
    assert plan.lower_bound <= plan.num_packs
    if options["strategy"] == "optimal":
        greedy = packsort.plan(lengths, max_length, **options | {"strategy": "ffd"})
        assert greedy.lower_bound <= plan.lower_bound <= plan.num_packs <= greedy.num_packs
        assert plan.gap == (plan.num_packs - plan.lower_bound) / max(1, plan.lower_bound)
    room = [written([length for _, _, length in pack], multiple, separator) for pack in packs_of(plan)]
    assert plan.num_tokens + plan.num_separators + plan.num_padding == sum(room)
    assert [plan[i].tolist() for i in range(len(plan))] == [[row for row, _, _ in pack] for pack in packs_of(plan)]

    if plan.num_sequences >= ranks:
        try:
            more = packsort.plan(lengths, max_length, num_packs_multiple_of=ranks, **options)
        except packsort.OptionError:
            assert -(-plan.num_packs // ranks) * ranks > len(pieces)
        else:
            assert more.num_packs == -(-plan.num_packs // ranks) * ranks
            assert sorted(piece for pack in packs_of(more) for piece in pack) == sorted(pieces)


@given(cases())
@settings(max_examples=50, deadline=None)
def test_saved_plans_come_back_whatever_their_options(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[list[int], int, dict[str, Any]]
) -> None:
    lengths, max_length, options = case
    plan = packsort.plan(lengths, max_length, **options)
    path = tmp_path_factory.mktemp("plans") / "plan.arrow"
    plan.save(path)
    again = packsort.load_plan(path)
    assert again == plan
    assert packs_of(again.with_epoch(2)) == packs_of(plan.with_epoch(2))
    assert (again.pad_to_multiple_of, again.separator) == (plan.pad_to_multiple_of, plan.separator)
    assert (again.num_padding, again.num_split, again.lower_bound) == (
        plan.num_padding,
        plan.num_split,
        plan.lower_bound,
    )


@given(
    st.integers(1, 4).flatmap(lambda m: st.tuples(st.just(m), st.integers(m, 50))),
    st.lists(st.integers(1, 50), max_size=100),
)
@settings(max_examples=100, deadline=None)
def test_multiples_are_first_fit_decreasing_of_lengths_rounded_up(room: tuple[int, int], lengths: list[int]) -> None:
    multiple, max_length = room
    limit = max_length // multiple * multiple
    lengths = [min(length, limit) for length in lengths]
    plan = packsort.plan(lengths, max_length, pad_to_multiple_of=multiple)
    rounded = [-(-length // multiple) * multiple for length in lengths]
    ours = [[rounded[row] for row in ids] for ids in plan]
    # Longest first is also first-fit decreasing of the rounded lengths.
    theirs = first_fit_decreasing(rounded, limit)
    assert ours == [[rounded[row] for row in pack] for pack in theirs]


@given(st.integers(1, 50), st.lists(st.integers(1, 50), max_size=100))
@settings(max_examples=100, deadline=None)
def test_separators_are_first_fit_decreasing_with_a_token_more(max_length: int, lengths: list[int]) -> None:
    lengths = [min(length, max_length) for length in lengths]
    plan = packsort.plan(lengths, max_length, separator=True)
    theirs = first_fit_decreasing([length + 1 for length in lengths], max_length + 1)
    assert [ids.tolist() for ids in plan] == theirs
    assert plan.num_separators == len(lengths) - plan.num_packs


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=60), st.integers(30, 60))
@settings(max_examples=150, deadline=None)
def test_hybrid_takes_as_few_packs_as_tokens_and_whole_sequences_allow(
    rows: list[tuple[int, bool]], max_length: int
) -> None:
    lengths, splittable = (list(column) for column in zip(*rows, strict=True))
    plan = packsort.plan(lengths, max_length, strategy="hybrid", splittable=splittable)
    whole = len(first_fit_decreasing([n for n, cut in rows if not cut], max_length))
    greedy = packsort.plan(lengths, max_length)
    assert plan.num_packs == min(greedy.num_packs, max(whole, -(-sum(lengths) // max_length)))
    pieces = len(plan.sequence_ids)
    assert pieces - len(lengths) <= plan.num_packs  # never more cuts than random packing makes
    if plan.num_packs == greedy.num_packs:
        assert plan.num_split == 0


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_hybrid_cuts_nothing_where_whole_sequences_need_no_more_packs(rows: list[tuple[int, bool]]) -> None:
    lengths, splittable = (list(column) for column in zip(*rows, strict=True))
    plan = packsort.plan(lengths, 12, strategy="hybrid", splittable=splittable)
    assume(packsort.plan(lengths, 12).num_packs == fewest_packs(lengths, 12))
    if plan.num_split:
        assert plan.num_packs < fewest_packs(lengths, 12)


def test_hybrid_splits_as_few_as_can_be() -> None:
    plan = packsort.plan([600] * 1000, 1000, strategy="hybrid", splittable=[True] * 1000)
    assert (plan.num_packs, plan.efficiency) == (600, 1.0)
    assert len(plan.sequence_ids) == 1400  # 400 fit in no pack whole, and each takes two pieces
    plan = packsort.plan([7, 7, 6], 10, strategy="hybrid", splittable=[True, True, True])
    assert (plan.num_packs, plan.num_split, len(plan.sequence_ids)) == (2, 1, 4)
    plan = packsort.plan([7, 7, 6], 10, strategy="hybrid", splittable=[True, True, False])
    assert (plan.num_packs, plan.num_split) == (2, 1)
    assert plan.split_rows.tolist() != [2]


def test_hybrid_cuts_what_is_splittable_and_too_long_and_nothing_else() -> None:
    with pytest.raises(
        packsort.LengthError, match=r"1 of 2 sequences .* is longer than 10 tokens; it has 25 \(sequence 1\)"
    ):
        packsort.plan([25, 25], 10, strategy="hybrid", splittable=[True, False])
    plan = packsort.plan([25, 25], 10, strategy="hybrid", overlong="drop", splittable=[True, False])
    assert (plan.num_packs, plan.num_dropped, plan.num_split, plan.tokens_lost) == (3, 1, 1, 25)


@given(
    st.lists(st.lists(st.integers(1, 20), max_size=5), max_size=40),
    st.integers(20, 50),
    st.sampled_from(["ffd", "bfd"]),
    st.none() | st.integers(0, 5),
)
@settings(max_examples=100, deadline=None)
def test_sequences_are_cut_beforehand(rows: list[list[int]], max_length: int, strategy: str, seed: int | None) -> None:
    starts = [np.cumsum([0, *row[:-1]]).tolist() if row else [] for row in rows]
    lengths = [sum(row) for row in rows]
    plan = packsort.plan(
        pa.array(lengths, pa.int64()),
        max_length,
        strategy=strategy,
        seed=seed,
        piece_starts=pa.array(starts, pa.list_(pa.int32())),
    )
    expected = [(i, first, n) for i, row in enumerate(rows) for first, n in zip(starts[i], row, strict=True)]
    assert sorted(piece for pack in packs_of(plan) for piece in pack) == expected
    assert plan.num_dropped == sum(not row for row in rows)
    assert plan.split_rows.tolist() == [i for i, row in enumerate(rows) if len(row) > 1]
    assert plan.num_sequences == sum(bool(row) for row in rows)
    assert plan.tokens_lost == 0


@given(cases(), st.none() | st.just(9), st.booleans(), st.sampled_from([1 << 20, 300]))
@settings(max_examples=40, deadline=None)
def test_shards_of_every_combination_are_proven_and_damage_is_found(
    tmp_path_factory: pytest.TempPathFactory,
    case: tuple[list[int], int, dict[str, Any]],
    separator: int | None,
    with_labels: bool,
    shard_size: int,
) -> None:
    lengths, max_length, options = case
    assume(lengths)
    rng = np.random.default_rng(0)
    rows: dict[str, Any] = {"input_ids": [rng.integers(10, 99, n).tolist() for n in lengths]}
    if with_labels:
        rows["labels"] = [[-100 if token % 3 else token for token in row] for row in rows["input_ids"]]
        rows["weights"] = [[token / 7 for token in row] for row in rows["input_ids"]]
    for name in ("groups", "alone", "splittable"):
        if options.get(name) is not None:
            rows[name] = options[name]
            options[name] = name
    options["separator"] = separator
    source = pa.table(rows)
    out = tmp_path_factory.mktemp("packed")
    manifest = packsort.write_shards(source, out, max_length, pad_token_id=3, shard_size=shard_size, **options)
    shards = packsort.open_shards(out)
    for found in (shards.verify(), shards.verify(source)):
        assert found.ok, found.problems
    ids = [i for shard in shards for i in shard["sequence_ids"].tolist()]
    assert sum(i == -2 for i in ids) == manifest.counts.separators
    padding = 0
    for pack in shards:
        assert pack["seq_lengths"].sum() == len(pack["input_ids"]) <= max_length
        kinds = np.repeat(pack["sequence_ids"], pack["seq_lengths"])
        assert (pack["input_ids"][kinds == -1] == 3).all()
        assert (pack["input_ids"][kinds == -2] == separator).all()
        assert (pack["input_ids"][kinds >= 0] >= 10).all()
        if options["pad_to_multiple_of"] > 1 or separator is not None:
            assert (pack["labels"][kinds < 0] == -100).all()
            if not with_labels:
                assert (pack["labels"][kinds >= 0] == pack["input_ids"][kinds >= 0]).all()
        padding += int((kinds == -1).sum())
    assert padding == manifest.counts.padding
    assert sum(one["split"] for one in manifest.sources) == manifest.counts.split
    changed = source.set_column(0, "input_ids", pa.array([[t + 1 for t in row] for row in rows["input_ids"]]))
    if manifest.counts.sequences:
        assert not shards.verify(changed).ok


def test_losses_are_counted_by_file_and_reason(tmp_path: Path) -> None:
    for name, lengths in {"a": [5, 30, 7], "b": [50], "c": [8, 8]}.items():
        table = pa.table({"input_ids": [[1] * n for n in lengths]})
        packsort.write_shards(table, tmp_path / "unused", 64, overwrite=True)
        import pyarrow.parquet as pq

        pq.write_table(table, tmp_path / f"{name}.parquet")
    files = [tmp_path / f"{name}.parquet" for name in "abc"]
    counts = {}
    for overlong in ("drop", "truncate", "split"):
        manifest = packsort.write_shards(files, tmp_path / overlong, 20, overlong=overlong)
        counts[overlong] = [
            (one["dropped"], one["truncated"], one["split"], one["tokens_lost"]) for one in manifest.sources
        ]
    assert counts == {
        "drop": [(1, 0, 0, 30), (1, 0, 0, 50), (0, 0, 0, 0)],
        "truncate": [(0, 1, 0, 10), (0, 1, 0, 30), (0, 0, 0, 0)],
        "split": [(0, 0, 1, 0), (0, 0, 1, 0), (0, 0, 0, 0)],
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pad_to_multiple_of": 9}, "pad_to_multiple_of must be between 1 and 8 (max_length), got 9"),
        ({"pad_to_multiple_of": 0}, "pad_to_multiple_of must be between 1 and 8 (max_length), got 0"),
        ({"separator": 7}, "separator must be True or False, got 7"),
        ({"strategy": "hybrid"}, "strategy='hybrid' needs splittable: a boolean for each sequence"),
        ({"splittable": [True, False]}, "splittable does not go with strategy='ffd': only strategy='hybrid' cuts"),
        ({"strategy": "hybrid", "splittable": [1, 0]}, "splittable must be booleans, got int64"),
        (
            {"strategy": "hybrid", "splittable": [True, None]},
            "splittable has a null at sequence 1; every sequence needs True or False",
        ),
        ({"strategy": "hybrid", "splittable": [True]}, "splittable must have a value for each of 2 sequences, got 1"),
        ({"truncation_side": "left"}, "truncation_side='left' does not go with overlong='error'"),
        ({"truncation_side": "up"}, "truncation_side must be one of 'right', 'left', got 'up'"),
        (
            {"overlong": "split_turns"},
            "overlong='split_turns' cuts conversations while `packsort.write_shards` tokenizes them",
        ),
        ({"piece_starts": [[0], [1]]}, "piece_starts of sequence 1 must begin with 0, ascend, and lie"),
        ({"piece_starts": [[0], [0, 2]]}, "piece_starts of sequence 1 must begin with 0"),
        ({"piece_starts": [[0]]}, "piece_starts must have a value for each of 2 sequences, got 1"),
        ({"piece_starts": [0, 0]}, "piece_starts must be lists of integers, got int64"),
        ({"piece_starts": [[0], [0]], "overlong": "drop"}, "piece_starts does not go with overlong='drop'"),
        ({"strategy": "random", "pad_to_multiple_of": 4}, "strategy='random' does not go with pad_to_multiple_of"),
        ({"strategy": "random", "separator": True}, "strategy='random' does not go with separator"),
    ],
)
def test_wrong_options_name_what_clashes(options: dict[str, object], message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        packsort.plan([1, 2], 8, **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"separator": True}, "separator must be an integer, got True"),
        ({"separator": -1}, "separator must be between 0 and 2**31 - 1, got -1"),
        ({"pad_token_id": 2**31}, "pad_token_id must be between 0 and 2**31 - 1, got 2147483648"),
        ({"separator": "<|end|>"}, "separator='<|end|>' is text, and there is no tokenizer"),
        ({"overlong": "split_turns"}, "overlong='split_turns' does not go with tokenizer=None"),
        ({"strategy": "hybrid", "splittable": "no"}, "splittable='no' names no column of the source"),
        ({"alone": "input_ids"}, "alone='input_ids' must name a column of booleans, got list<item: int64>"),
    ],
)
def test_wrong_options_of_packing_are_named(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises((packsort.OptionError, packsort.SourceError)) as caught:
        packsort.write_shards(pa.table({"input_ids": [[1, 2], [3]]}), tmp_path / "out", 8, **options)
    assert str(caught.value).startswith(message)
    assert not (tmp_path / "out").exists()


def test_too_long_for_multiples_names_what_is_left() -> None:
    with pytest.raises(packsort.LengthError) as caught:
        packsort.plan([3, 9], 10, pad_to_multiple_of=4)
    assert str(caught.value) == (
        "1 of 2 sequences (50 %) is longer than 8 tokens, the largest multiple of 4 within max_length 10; it has 9 "
        "(sequence 1): pass overlong='drop', 'truncate' or 'split'"
    )

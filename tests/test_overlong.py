"""What is too long is counted, and the way out is in the words of whatever was called."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from commands import Run
from packsort.planning.overlong import OverlongSequences
from packsort.torch import PackedDataset, PackedLoader, PackedStream

TOKENS = pa.table({"input_ids": [[1] * 3, [2] * 9, [3] * 12, [4] * 12, [5]]})
IN_PYTHON = "pass overlong='drop', 'truncate' or 'split'"


def text_of(error: pytest.ExceptionInfo[packsort.LengthError]) -> str:
    return str(error.value)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    limit=st.integers(1, 30),
    multiple=st.integers(1, 4),
    kind=st.sampled_from([list, np.array, pa.array, lambda lengths: (length for length in lengths)]),
)
def test_the_count_and_the_longest_are_those_of_the_lengths(lengths, limit, multiple, kind):
    room = limit // multiple * multiple
    too_long = [length for length in lengths if length > room]
    if multiple > limit or not too_long:
        return
    with pytest.raises(packsort.LengthError) as caught:
        packsort.plan(kind(lengths), limit, pad_to_multiple_of=multiple)
    many = "sequence" if len(lengths) == 1 else "sequences"
    assert text_of(caught).startswith(f"{len(too_long)} of {len(lengths)} {many} (")
    assert (caught.value.row, caught.value.length) == (lengths.index(max(lengths)), max(lengths))
    assert f"has {max(lengths)} (sequence {lengths.index(max(lengths))}): {IN_PYTHON}" in text_of(caught)
    assert packsort.plan(lengths, limit, pad_to_multiple_of=multiple, overlong="drop").num_dropped == len(too_long)


@pytest.mark.parametrize(
    ("count", "sequences", "share"),
    [(1, 1, "100 %"), (1, 2, "50 %"), (108, 20_683, "0.5 %"), (1, 10**6, "0.0001 %"), (9999, 10_000, "99.9 %")],
)
def test_a_share_is_neither_none_nor_all_unless_it_is(count, sequences, share):
    found = OverlongSequences(count, sequences, 0, 9, 8, 1, 8)
    assert f"({share})" in found.describe(str)


def test_each_door_names_ways_that_it_has(tmp_path: Path) -> None:
    path = tmp_path / "tokens.parquet"
    pq.write_table(TOKENS, path)
    said = f"3 of 5 sequences (60 %) are longer than 8 tokens; the longest has 12 (`{path}` row 2): "
    for call in (
        lambda: packsort.pack(path, 8),
        lambda: packsort.write_shards(path, tmp_path / "out", 8),
        lambda: PackedLoader(path, 8),
        lambda: PackedDataset(path, 8),
    ):
        with pytest.raises(packsort.LengthError) as caught:
            call()
        assert text_of(caught) == said + IN_PYTHON
    with pytest.raises(packsort.LengthError) as caught:
        packsort.compare(path, 8, overlong="error")
    assert text_of(caught) == said + "pass overlong='drop' or 'truncate'"
    with pytest.raises(packsort.LengthError) as caught:
        list(PackedStream(TOKENS.to_pylist(), 8))
    assert text_of(caught).endswith("pass overlong='drop' or 'truncate'")


def test_what_may_be_cut_is_not_counted():
    with pytest.raises(packsort.LengthError, match=r"^1 of 3 sequences .* it has 9 \(sequence 1\)"):
        packsort.plan([20, 9, 3], 8, strategy="hybrid", splittable=[True, False, True])


def chats(path: Path, *, turns: int = 6) -> Path:
    messages = [
        [{"role": role, "content": f"Number {row} of {turns * row}"} for _ in range(1 + turns * row) for role in ROLES]
        for row in range(4)
    ]
    pq.write_table(pa.table({"messages": messages}), path)
    return path


ROLES = ("user", "assistant")


def test_conversations_may_be_split_between_turns(tmp_path: Path, run: Run, tokenizer_folder: Path) -> None:
    source, out = chats(tmp_path / "chats.parquet"), tmp_path / "packed"
    result = run("pack", source, "-o", out, "--tokenizer", tokenizer_folder, "--max-length", 400)
    assert result.returncode == 1
    error, *_, hint = result.stderr.splitlines()
    assert error.startswith("error: 2 of 4 conversations (50 %) are longer than 400 tokens; the longest has ")
    assert f"(`{source}` row 3): pass overlong='split_turns', 'drop', 'truncate' or 'split'" in error
    assert hint == (
        "hint: use `--overlong split_turns`, `--overlong drop`, `--overlong truncate` or `--overlong split`"
    )
    assert not out.exists()


@pytest.mark.parametrize("more", [(), ("--out", "packed")])
def test_a_dry_run_says_the_same_and_writes_nothing(tmp_path: Path, run: Run, tokenizer_folder: Path, more) -> None:
    source = chats(tmp_path / "chats.parquet")
    options = ("--tokenizer", tokenizer_folder, "--max-length", 400, "--overlong", "truncate")
    more = [tmp_path / one if one == "packed" else one for one in more]
    dry = run("pack", source, *more, *options, "--dry-run")
    as_json = run("pack", source, *more, *options, "--dry-run", "--json")
    assert [path.name for path in tmp_path.iterdir()] == ["chats.parquet"]
    wet = run("pack", source, "-o", tmp_path / "packed", *options)
    assert wet.returncode == dry.returncode == 0, dry.stderr
    facts = [dict(line.split("  ", 1) for line in one.stdout.splitlines()) for one in (dry, wet)]
    for one in facts:
        del one["time"]
    assert facts[0].pop("wrote").split(";")[1].split()[:2] == facts[1].pop("wrote").split(",")[0].split()
    assert facts[0] == facts[1]
    manifest = json.loads((tmp_path / "packed" / "manifest.json").read_text())
    planned = json.loads(as_json.stdout)
    assert planned["shards"] == []
    assert planned.items() >= manifest["counts"].items()
    for name in ("max_length", "options", "sources", "tokenizer", "columns", "left_out", "skipped", "dictionaries"):
        assert planned[name] == manifest[name]
    assert planned["fingerprint"] == manifest["plan"]


def test_only_a_dry_run_needs_no_folder(tmp_path: Path, run: Run) -> None:
    assert run("pack", tmp_path, "--max-length", 8).returncode == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[1, 2], [3]], "got a list at sequence 0; for tokens pass [len(ids) for ids in sequences]"),
        ([np.array([1, 2])], "got a ndarray at sequence 0; for tokens pass [len(ids) for ids in sequences]"),
        (np.ones((2, 3), int), "got int64 of shape (2, 3); for tokens pass [len(ids) for ids in sequences]"),
        ([{"input_ids": [1]}], "got a dict at sequence 0; for rows pass [len(row['input_ids']) for row in rows]"),
        (pa.array([[1, 2]]), "for a column of tokens pass pyarrow.compute.list_value_length(column)"),
        (pa.table({"input_ids": [[1]], "labels": [[1]]}), "; `packsort.pack` takes rows with tokens"),
        ("tokens.parquet", "got str; rows of a file are planned where they are packed"),
    ],
)
def test_tokens_in_place_of_lengths_are_told_apart(given, said):
    with pytest.raises(packsort.LengthTypeError, match=r"^lengths must be ") as caught:
        packsort.plan(given, 8)
    assert said in str(caught.value)

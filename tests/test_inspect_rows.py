"""`packsort inspect --rows` shows rows as packing would train on them, before anything is packed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from itertools import accumulate
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from commands import Run, command
from packsort.sources.sliced import SlicedSource
from packsort.sources.source import open_source

CHATS = [
    {
        "conversations": [{"from": "human", "value": f"count {n}"}, {"from": "gpt", "value": f"boat {n} 数えました"}],
        "id": n,
    }
    for n in range(8)
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files of chats, and a stray one."""
    for name, part in (("a", CHATS[:3]), ("b", CHATS[3:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in part))
    (tmp_path / "_SUCCESS").touch()
    return tmp_path


def test_rows_are_shown_as_they_would_be_trained_on(folder: Path, run: Run, tokenizer_folder, tokenizer) -> None:
    call = ("inspect", "--rows", folder, "--tokenizer", tokenizer_folder, "--row", 2, "--count", 2)
    shown = run(*call)
    assert shown.returncode == 0, shown.stderr
    assert "8 rows of " in shown.stdout
    assert "read as ShareGPT: conversations -> messages" in shown.stdout
    assert "⟦boat 2 数えました<|im_end|>⟧" in shown.stdout
    assert "`id`" in shown.stdout
    assert "_SUCCESS" in shown.stdout or "temporary" in shown.stdout
    facts = json.loads(run(*call, "--json").stdout)
    tokens = packsort.tokenize(folder, tokenizer).read().slice(2, 2).to_pylist()
    for one, expected, place in zip(facts["shown"], tokens, [("a.jsonl", 2), ("b.jsonl", 0)], strict=True):
        assert (Path(one["file"]).name, one["file_row"]) == place
        assert one["tokens"] == expected["length"]
        assert one["loss_tokens"] == sum(label >= 0 for label in expected["labels"])
        assert "".join(run["text"] for run in one["runs"]) == tokenizer.decode(expected["input_ids"])
        trained = [label for label in expected["labels"] if label >= 0]
        assert "".join(run["text"] for run in one["runs"] if run["loss"]) == tokenizer.decode(trained)
    assert [one["row"] for one in facts["shown"]] == [2, 3]


def test_options_of_rows_change_what_is_shown(folder: Path, run: Run, tokenizer_folder) -> None:
    call = ("inspect", "--rows", folder, "--tokenizer", tokenizer_folder, "--json")
    everything = json.loads(run(*call, "--loss", "all").stdout)
    assert everything["shown"][0]["loss_tokens"] == everything["shown"][0]["tokens"]
    assert len(everything["shown"]) == 3
    assert len(json.loads(run(*call, "--row", 7, "--count", 9).stdout)["shown"]) == 1


def test_tokens_are_shown_by_their_ids_or_decoded(tmp_path: Path, run: Run, tokenizer_folder, tokenizer) -> None:
    path, words = tmp_path / "tokens.parquet", tokenizer("on the mat")["input_ids"]
    labels = [-100, *words[1:]]
    pq.write_table(pa.table({"input_ids": [[1], words], "labels": [[1], labels], "id": [3, 4]}), path)
    ids = run("inspect", "--rows", path, "--row", 1)
    assert f" {words[0]}⟦ {words[1]}" in ids.stdout, ids.stderr
    text = run("inspect", "--rows", path, "--row", 1, "--tokenizer", tokenizer_folder)
    assert "on the mat" in text.stdout.replace("⟦", "").replace("⟧", "")
    pq.write_table(pa.table({"input_ids": [[1], [-3]]}), path)
    wrong = run("inspect", "--rows", path, "--row", 1)
    assert "from row 1 on` row 0: column `input_ids` must hold values from 0" in wrong.stderr


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    first=st.integers(0, 20),
    count=st.integers(1, 30),
    batch=st.integers(1, 4),
)
def test_a_slice_has_the_rows_of_its_source(tmp_path_factory, sizes, first, count, batch):
    folder = tmp_path_factory.mktemp("sliced")
    ends = list(accumulate(sizes))
    first = min(first, ends[-1] - 1)
    for index, (size, end) in enumerate(zip(sizes, ends, strict=True)):
        pq.write_table(pa.table({"n": range(end - size, end)}), folder / f"{index}.parquet")
    rows = SlicedSource(open_source(folder), first, count)
    found = [
        (Path(rows.files[index].path).stem, start + i, n)
        for index, start, part in rows.batches(["n"], batch)
        for i, n in enumerate(part["n"].to_pylist())
    ]
    assert [n for *_, n in found] == list(range(ends[-1]))[first : first + count]
    assert [(Path(path).stem, row) for path, row in rows.locate()] == [(stem, row) for stem, row, _ in found]


def test_wrong_calls_name_the_right_one(folder: Path, run: Run, tokenizer_folder) -> None:
    packsort.write_shards(pa.table({"input_ids": [[1, 2]]}), folder / "packed", 8)
    source = folder / "a.jsonl"
    for args, said, hint in (
        ((source,), "is no packed directory; to see rows, pass rows=True", "`--rows`"),
        ((folder,), "is no packed directory", "`--rows`"),
        ((folder / "packed", source), "is no packed directory", "`--rows`"),
        ((folder / "packed", "--row", 1), "row is for rows", "`--rows`"),
        ((folder / "packed", "--loss", "all"), "loss is for rows", "`--rows`"),
        (("--rows", folder / "packed"), "is a packed directory, which holds no rows", None),
        (("--rows", source), "pass `tokenizer`", "`--tokenizer DIR`"),
        (("--rows", source, "--pack", 0), "pack does not go with rows=True", None),
        (("--rows", source, "--tokenizer", tokenizer_folder, "--row", 9), "row must be between 0 and 2, got 9", None),
        (("--rows", source, "--tokenizer", tokenizer_folder, "--count", 0), "count must be at least 1, got 0", None),
    ):
        result = run("inspect", *args)
        assert result.returncode == 1, args
        assert said in result.stderr, args
        assert hint is None or f"hint: use {hint}" in result.stderr, args
        assert "Traceback" not in result.stderr


def test_what_rows_hold_does_not_command_the_terminal(tmp_path: Path, run: Run, tokenizer_folder) -> None:
    pq.write_table(pa.table({"text": ["\x1b[31mred\x9b0m\r\u202eback"]}), tmp_path / "text.parquet")
    shown = run("inspect", "--rows", tmp_path / "text.parquet", "--tokenizer", tokenizer_folder).stdout
    assert "␛[31mred\ufffd0m␍\ufffdback" in shown
    assert "\x1b" not in shown


def test_rows_without_tokens_are_shown_too(tmp_path: Path, run: Run, tokenizer_folder) -> None:
    (tmp_path / "a.jsonl").write_text('{"messages": []}\n')
    refused = run("inspect", "--rows", tmp_path / "a.jsonl", "--tokenizer", tokenizer_folder)
    assert "--empty drop" in refused.stderr
    shown = run("inspect", "--rows", tmp_path / "a.jsonl", "--tokenizer", tokenizer_folder, "--empty", "drop")
    assert "row 0: 0 tokens, none with loss" in shown.stdout


@pytest.mark.skipif(shutil.which("script") is None, reason="no `script` here to make a terminal with")
def test_rows_fit_a_terminal_of_80_columns(folder: Path, tokenizer_folder) -> None:
    text = "the harbour master counts the boats at dawn and writes their names down " * 9
    pq.write_table(pa.table({"text": [text]}), folder / "text.parquet")
    args = command("inspect", "--rows", folder / "text.parquet", "--tokenizer", tokenizer_folder)
    done = subprocess.run(
        ["script", "-qec", f"env COLUMNS=80 {' '.join(args)}", "/dev/null"], capture_output=True, text=True, timeout=120
    )
    assert "\x1b[1;32m" in done.stdout, "what carries loss has a colour"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout)
    shown = [line for line in plain.splitlines() if str(folder) not in line]
    assert max(map(len, shown)) <= 80

"""`packsort compare`: what it prints."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from packsort.cli import compare as compare_command
from token_rows import token_table

ASK, ANSWER = {"role": "user", "content": "where is the cat"}, {"role": "assistant", "content": "on the mat"}


def command(*args: object) -> int:
    parser = argparse.ArgumentParser()
    compare_command.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["compare", *map(str, args)])
    return int(parsed.run(parsed))


def test_the_command_answers_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(token_table(300), tmp_path / "tokens.parquet")
    given = (tmp_path / "tokens.parquet", "--max-length", 64, 128, "--batch-size", 2, "--model", "70B")
    assert command(*given) == 0
    shown = capsys.readouterr().out
    best = next(limit for limit in (128, 64) if f"max_length {limit}, pack, greedily" in shown)
    assert re.match(rf"at max_length {best}, pack, greedily: [\d.]+ times fewer rows, about [\d.]+ times less", shown)
    for text in ("max_length 64: ", "max_length 128: ", "cut at limit", "efficiency", "which max_length", "--details"):
        assert text in shown
    assert "samples per pack" not in shown
    assert command(*given, "--details") == 0
    assert "samples per pack" in capsys.readouterr().out
    assert command(*given, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["at"][1]["methods"]["ffd"]["packs"]
    assert re.search(rf"^packs +{rows:,} ", shown.split("max_length 128: ")[1], re.MULTILINE)


ALL = ("bfd", "optimal", "hybrid", "only_single", "in_order", "random", "padding_best", "padding_fixed")


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_line_is_longer_than_the_terminal(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    table = pa.table({"length": [5, 3, 7] * 20_000, "turns": [1, 2, 3] * 20_000})
    pq.write_table(table, tmp_path / "lengths.parquet")
    given = (tmp_path / "lengths.parquet", "--turns", "turns", "--max-length", 8, "--details")
    assert command(*given, "--methods", *ALL) == 0
    shown = capsys.readouterr().out
    lines = shown.partition("sequences  ")[0].splitlines()  # the pairs at the end are of a pipe, one a line
    assert max(map(len, lines)) <= width
    assert all(line == line.rstrip() for line in lines)
    assert shown.count("\nbusy, scheduled ") >= {40: 3, 80: 2, 140: 1}[width]
    found = packsort.compare(table, 8, turns="turns", methods=ALL)
    printed = str(found)
    assert max(map(len, printed.splitlines())) <= width
    assert "60,000" in printed
    assert "time" in printed


def test_the_command_tokenizes_conversations(
    tmp_path: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pa.table({"messages": [[ASK, ANSWER] * (1 + i % 4) for i in range(60)]})
    pq.write_table(table, tmp_path / "chats.parquet")
    options = ("--max-length", 256, "--tokenizer", tokenizer_folder, "--json")
    assert command(tmp_path / "chats.parquet", *options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sequences"], facts["multi_turn"]) == (60, 45)
    with pytest.raises(packsort.OptionError, match="batch_size must be at least 1, got 0"):
        command(tmp_path / "chats.parquet", *options, "--batch-size", 0)


def test_a_report_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"length": [5, 3, 7]}), tmp_path / "lengths.parquet")
    options = (tmp_path / "lengths.parquet", "--max-length", 8, "--html", tmp_path / "report.html")
    assert command(*options) == 0
    with pytest.raises(packsort.OutputExistsError, match="pass overwrite=True to replace it"):
        command(*options)
    assert command(*options, "--overwrite") == 0

"""Options of the command line are those of the library, and errors name them for the command that runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands import Run
from packsort import options
from packsort._options.keywords import names
from packsort.cli.frame import _parser
from packsort.cli.hints import hint
from packsort.cli.text import lines

COMMANDS = ("pack", "tokenize", "plan", "compare", "inspect", "verify", "export")


def parser_of(command: str) -> argparse.ArgumentParser:
    groups = [one for one in _parser()._actions if isinstance(one, argparse._SubParsersAction)]
    found: argparse.ArgumentParser = groups[0].choices[command]
    return found


def actions(command: str) -> dict[str, argparse.Action]:
    return {action.dest: action for action in parser_of(command)._actions}


@pytest.mark.parametrize(
    ("command", "declared"), [("pack", options.ShardOptions), ("plan", options.PlanOptions)], ids=["pack", "plan"]
)
def test_names_and_choices_are_those_of_the_library(command: str, declared: type) -> None:
    found = actions(command)
    # Commands take keys and endpoints from the environment: arguments are seen by other users of a machine.
    python_only = {"piece_starts", "on_progress", "separator"} if command == "plan" else {"storage_options"}
    assert names(declared) - python_only | {"seed", "epoch"} <= set(found)
    assert found["strategy"].choices == get_args(options.Strategy)
    overlong = options.OverlongInShards if command == "pack" else options.Overlong
    assert found["overlong"].choices == get_args(overlong)
    plan = options.PlanConfig(max_length=8)
    for name in ("strategy", "overlong", "truncation_side", "max_sequences", "pad_to_multiple_of", "gap", "epoch"):
        assert found[name].default == getattr(plan, name)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = parser_of(command).format_help()
    assert all(len(line) <= 80 for line in text.splitlines())
    for action in parser_of(command)._actions:
        assert action.help, f"{command} {action.dest}"


@pytest.mark.parametrize(
    ("message", "flags"),
    [
        ("folder `out` is not empty; pass overwrite=True to replace it", "`--overwrite`"),
        (
            "2 of 9 sequences (22.2 %) are longer than 40 tokens; the longest has 50 (`a.parquet` row 4): "
            "pass overlong='drop', 'truncate' or 'split'",
            "`--overlong drop`, `--overlong truncate` or `--overlong split`",
        ),
        (
            "truncation_side='left' does not go with overlong='error': only overlong='truncate' removes tokens",
            "`--overlong truncate`",
        ),
        ("separator='<e>' is text, and there is no tokenizer: pass `tokenizer`, or a token id", "`--tokenizer DIR`"),
        (
            "the tokenizer has no chat template, which `messages` need: set its `chat_template`",
            "`--chat-template FILE`",
        ),
        ("tokenizer `x` cannot be loaded: its code runs only with trust_remote_code=True", "`--trust-remote-code`"),
        ("no usable column: there are `a`; `text` is needed, or columns={'text': ...}", "`--columns text=COLUMN`"),
        (
            "there is a column `text` already: map that one, as in columns={'text': 'a', 'other': 'text'}",
            "`--columns text=a,other=text`",
        ),
        ("no column `x`; there are `input_ids`, `groups`", None),
        ("max_length must be at least 1, got 0", None),
        ("folder overwrite=True: packs were tokenized from `messages`", None),
        ("the rows: pass `packsort.torch.PackedStream` or balance=True", None),
    ],
)
def test_hints_are_the_options_that_the_way_out_names(message: str, flags: str | None) -> None:
    assert hint(message, parser_of("pack")) == flags


def test_hint_has_its_own_line(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "tokens.parquet"
    pq.write_table(pa.table({"input_ids": [[1, 2, 3], [4]]}), path)
    result = run("pack", path, "-o", tmp_path / "out", "--max-length", 2)
    error, said = result.stderr.splitlines()
    assert error.startswith(f"error: 1 of 2 sequences (50 %) is longer than 2 tokens; it has 3 (`{path}` row 0): ")
    assert said == "hint: use `--overlong drop`, `--overlong truncate` or `--overlong split`"


def test_options_are_checked_before_anything_is_opened(tmp_path: Path, run: Run) -> None:
    common = ("pack", tmp_path / "none", "-o", tmp_path / "out", "--max-length", 8, "--tokenizer", tmp_path / "none")
    for wrong, said in (
        (("--pad-to-multiple-of", 9), "pad_to_multiple_of must be between 1 and 8 (max_length), got 9"),
        (("--shard-size", "big"), "shard_size must be a number of bytes"),
        (("--separator", -1), "separator must be between 0 and 2**31 - 1, got -1"),
        (("--strategy", "random", "--overlong", "split_turns"), "overlong='split_turns' does not go with"),
    ):
        result = run(*common, *wrong)
        assert result.returncode == 1
        assert said in result.stderr


def test_summaries_wrap_on_a_terminal_and_keep_long_words_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/data/" + "long/" * 20
    pairs = [("wrote", path), ("packs", "one two three four five six seven eight nine ten"), ("", "")]
    assert lines(pairs).splitlines()[:2] == [f"wrote  {path}", f"packs  {pairs[1][1]}"]
    monkeypatch.setattr("packsort.cli.text.line_width", lambda: 30)
    assert lines(pairs[:2]).splitlines() == [
        f"wrote  {path}",
        "packs  one two three four five",
        "       six seven eight nine",
        "       ten",
    ]

"""Options of the command line are those of the library, and errors name them for the command that runs."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run, command
from packsort import options
from packsort._options.keywords import names
from packsort.cli.frame import _parse, _parser
from packsort.cli.hints import hint
from packsort.cli.parser import WrongCallError
from packsort.cli.text import lines


def parsers() -> dict[str, argparse.ArgumentParser]:
    (found,) = (one.choices for one in _parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(found)


COMMANDS = tuple(parsers())


def parsed(*argv: str) -> argparse.Namespace:
    args = argparse.Namespace()
    _parse(argv, args)
    return args


def parser_of(command: str) -> argparse.ArgumentParser:
    return parsers()[command]


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
@pytest.mark.parametrize("width", [60, 80])
def test_help_fits_and_has_groups_and_examples(command: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    parser = parser_of(command)
    text = parser.format_help()
    # The usage is one line, and argparse breaks no list of choices.
    assert all(len(line) <= width or line.endswith("}") for line in text.splitlines()[1:])
    for action in parser._actions:
        assert action.help, f"{command} {action.dest}"
    assert text.startswith(f"usage: packsort {command} ")
    assert len(parser.format_usage().splitlines()) == 1
    assert text.index("\nrequired:") < text.index("\ngeneral:") < text.index("\nexamples:\n")
    assert not {"options:", "positional arguments:"} & set(text.splitlines())
    calls = [line for line in text.partition("examples:\n")[2].splitlines() if line.startswith("  ") and line[2] != " "]
    assert len(calls) >= 2
    assert all(f"packsort {command}" in call for call in calls)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"completion"}))
def test_examples_can_be_parsed(command: str) -> None:
    text = (parser_of(command).epilog or "").partition("examples:\n")[2].replace("\\\n", "")
    for line in text.splitlines():
        assert parsed(*shlex.split(line)[1:]).run


def test_a_wrong_call_prints_one_line_of_usage_and_the_error(run: Run) -> None:
    usage = "usage: packsort pack SOURCE... -o DIR --max-length N [options]"
    for args, said in (
        (("x",), "the following arguments are required: --max-length"),
        (("x", "--max-length", 8), "the following arguments are required: -o/--out"),
        (("x", "-o", "y", "--max-length", "many"), "must be a number of tokens, such as 8192 or 8k, got 'many'"),
        (("x", "-o", "y", "--max-length", 8, "--stratgy", "bfd"), "--stratgy bfd: did you mean --strategy?"),
        (("x", "-o", "y", "--max-lenght", 8), "unrecognized arguments: --max-lenght: did you mean --max-length?"),
        (("x", "-o", "y", "--max-length", 8, "--strategy", "best"), "'optimal' ('greedy' is 'ffd'), got 'best'"),
    ):
        done = run("pack", *args)
        assert (done.returncode, done.stdout) == (2, "")
        lines_ = done.stderr.splitlines()
        assert lines_[0] == usage
        assert len(lines_) == 2
        assert lines_[1].startswith("error: ")
        assert said in lines_[1]


def test_sizes_are_written_alike() -> None:
    for text, number in (("4096", 4096), ("8k", 8192), ("8K", 8192), ("1.5k", 1536), ("1m", 1 << 20), ("-5", -5)):
        sizes = ("--max-length", text, "--pad-to-multiple-of", text, "--shard-size", "8k")
        args = parsed("pack", "x", "-o", "y", *sizes)
        assert (args.max_length, args.pad_to_multiple_of, args.shard_size) == (number, number, "8k")
    assert parsed("compare", "x", "--max-length", "4k", "8192").max_length == [4096, 8192]
    for wrong in ("8kB", "k", "1.0001k", ""):
        with pytest.raises(WrongCallError, match="must be a number of tokens"):
            parsed("plan", "x", "--max-length", wrong)


def test_greedy_is_ffd(tmp_path: Path, run: Run) -> None:
    pq.write_table(pa.table({"input_ids": [[1, 2, 3], [4]]}), tmp_path / "t.parquet")
    made = packsort.write_shards(tmp_path / "t.parquet", tmp_path / "out", 4, strategy="greedy")
    assert made.options.strategy == "ffd"
    assert packsort.plan([1, 2], 4, strategy="greedy").strategy == "ffd"
    found = run("plan", tmp_path / "t.parquet", "--max-length", 4, "--strategy", "greedy")
    assert made.plan in found.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_ARGCOMPLETE" in done.stdout
    assert "packsort" in done.stdout


def test_a_shell_is_told_what_comes_next() -> None:
    for line, expected in (
        ("packsort pl", {"plan "}),
        ("packsort pack --strat", {"--strategy "}),
        ("packsort export --format ", {"megatron", "megatron-bin", "trl"}),
        ("packsort pack x --max-length ", {""}),
    ):
        shell = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
        asked = ["sh", "-c", f"exec {' '.join(command())} 8>&1 9>&2 1>/dev/null"]
        done = subprocess.run(asked, env=os.environ | shell, capture_output=True, text=True, timeout=60)
        assert set(done.stdout.split("\n")) == expected, done.stderr


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

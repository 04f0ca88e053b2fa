"""`--config`: options in a file, which win over defaults and lose against the command line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run

ROWS = pa.table(
    {"input_ids": [[1, 2, 3], [4], [5, 6, 7, 8, 9]] * 20, "id": list(range(60)), "kind": ["a", "b\\\n"] * 30}
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pq.write_table(ROWS, "rows.parquet")
    return Path("rows.parquet")


def test_a_file_gives_every_kind_of_option(source: Path, run: Run) -> None:
    Path("run.toml").write_text(
        'source = ["rows.parquet"]\nout = "packed"\nmax-length = "1k"\nstrategy = "greedy"\nkeep = ["id"]\n'
        'shard_size = "10kB"\nseed = "none"\noverwrite = true\nmemory_map = false\npad_to_multiple_of = 2\n'
    )
    assert run("pack", "--config", "run.toml").returncode == 0
    options = packsort.open_shards("packed").manifest.options
    assert (options.strategy, options.keep, options.shard_size, options.seed) == ("ffd", ("id",), 10_000, None)
    assert (packsort.open_shards("packed").max_length, options.pad_to_multiple_of) == (1024, 2)
    assert run("pack", "--config", "run.toml", "--max-length", 64, "--seed", 3, "--keep", "kind").returncode == 0
    manifest = packsort.open_shards("packed").manifest
    assert (manifest.max_length, manifest.options.seed, manifest.options.keep) == (64, 3, ("kind",))
    refused = run("pack", "--config", "run.toml", "--no-overwrite")
    assert (refused.returncode, "is not empty" in refused.stderr) == (1, True)
    Path("verify.toml").write_text('packed = "packed"\nsource = "rows.parquet"\n')
    assert "every token" in run("verify", "--config", "verify.toml").stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('sourc = "x"', "`packsort pack` has no option `sourc`: did you mean `source`?"),
        ('max_lenght = 8\nstrategy = "ffd"', "has no option `max_lenght`: did you mean `max_length`"),
        ('xyz = "x"', "`packsort pack` has no option `xyz`"),
        ('config = "x"', "has no option `config`"),
        ("max_length = [1]", "max_length has a wrong value [1]: it must be one value"),
        ("max_length = true", "max_length has a wrong value True: it must be text or a number"),
        ('max_length = "many"', "such as 8192 or 8k, got 'many'"),
        ('strategy = "best"', "strategy must be one of 'ffd'"),
        ('overlong = "cut"', "it must be one of 'error', 'drop'"),
        ('overwrite = "yes"', "it must be true or false"),
        ("source = []", "it must name at least one"),
        ("[pack]\nmax_length = 8", "has no option `pack`"),
        ("max_length 8", "`run.toml` is not TOML: "),
    ],
)
def test_what_a_file_may_not_hold(source: Path, run: Run, text: str, said: str) -> None:
    Path("run.toml").write_text(text)
    done = run("pack", "--config", "run.toml")
    usage, error = done.stderr.splitlines()
    assert (done.returncode, usage[:20]) == (2, "usage: packsort pack")
    assert said in error


def test_a_file_that_is_not_there_is_named(source: Path, run: Run) -> None:
    assert "`no.toml` cannot be read: no such file" in run("pack", "--config", "no.toml").stderr
    assert "argument --config: expected one argument" in run("pack", "--config").stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--strategy", "bfd", "--seed", "none", "--groups", "kind", "--keep", "id", "kind", "--epoch", 2),
        ("--strategy", "in_order", "--window", 3, "--pad-to-multiple-of", 4, "--separator", 7),
        ("--columns", "length=id", "--overlong", "truncate", "--truncation-side", "left", "--format", "parquet"),
        ("--index-only", "--strategy", "optimal", "--gap", "0.1%", "--num-packs-multiple-of", 3),
    ],
)
def test_options_of_packs_make_the_same_packs_again(source: Path, run: Run, options: tuple[object, ...]) -> None:
    if options[0] == "--columns":
        pq.write_table(ROWS.drop_columns("id").append_column("id", pa.array([3, 1, 5] * 20)), source)
    max_length = 4 if "truncate" in options else 16
    made = run("pack", source, "-o", "packed", "--max-length", max_length, *options)
    assert made.returncode == 0, made.stderr
    text = run("inspect", "packed", "--as-config").stdout
    assert tomllib.loads(text)["source"] == ["rows.parquet"]
    Path("run.toml").write_text(text)
    again = run("pack", "--config", "run.toml", "-o", "again")
    assert again.returncode == 0, again.stderr
    first, second = (packsort.open_shards(name).manifest for name in ("packed", "again"))
    assert (second.plan, second.options) == (first.plan, first.options)
    assert [one.checksum for one in second.shards] == [one.checksum for one in first.shards]


def test_conversations_are_packed_again_with_their_tokenizer(source: Path, run: Run, tokenizer_folder: Path) -> None:
    chat = [{"role": "user", "content": "where is the cat"}, {"role": "assistant", "content": "on the mat"}]
    pq.write_table(pa.table({"messages": [chat] * 5}), source)
    options = ("--tokenizer", tokenizer_folder, "--loss", "all", "--separator", "<|im_end|>")
    assert run("pack", source, "-o", "packed", "--max-length", 64, *options).returncode == 0
    Path("run.toml").write_text(run("inspect", "packed", "--as-config").stdout)
    assert run("pack", "--config", "run.toml", "-o", "again").returncode == 0
    first, second = (packsort.open_shards(name).manifest for name in ("packed", "again"))
    assert (second.plan, second.options) == (first.plan, first.options)


@pytest.mark.filterwarnings("always::UserWarning")
def test_another_chat_template_is_asked_for(source: Path, run: Run, tokenizer_folder: Path) -> None:
    pq.write_table(pa.table({"messages": [[{"role": "user", "content": "where is the cat"}]] * 3}), source)
    Path("mine.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    options = ("--tokenizer", tokenizer_folder, "--chat-template", "mine.jinja", "--loss", "all")
    assert run("pack", source, "-o", "packed", "--max-length", 64, *options).returncode == 0
    asked = run("inspect", "packed", "--as-config")
    assert "warning: the packs were made with another chat template" in asked.stderr
    assert "hint: use `--chat-template FILE`" in asked.stderr
    given = run("inspect", "packed", "--as-config", "--chat-template", "mine.jinja")
    assert given.stderr == ""
    Path("run.toml").write_text(given.stdout)
    assert run("pack", "--config", "run.toml", "-o", "again").returncode == 0
    first, second = (packsort.open_shards(name).manifest for name in ("packed", "again"))
    assert (second.plan, second.options) == (first.plan, first.options)


def test_options_that_no_file_can_hold_are_named(source: Path, run: Run) -> None:
    packsort.write_shards(ROWS, "memory", 16)
    packsort.write_shards(source, "values", 16, groups=[0, 1] * 30)
    assert "holds rows that were in memory" in run("inspect", "memory", "--as-config").stderr
    assert "the values of groups were passed in Python" in run("inspect", "values", "--as-config").stderr


def test_a_dry_run_of_a_file_writes_nothing(source: Path, run: Run) -> None:
    Path("run.toml").write_text('source = "rows.parquet"\nmax_length = 16\ndry_run = true\n')
    done = run("pack", "--config", "run.toml", "--json")
    assert json.loads(done.stdout)["dry_run"]
    assert "nothing; 1 shard without --dry-run" in run("pack", "--config", "run.toml").stdout
    assert {path.name for path in Path().iterdir()} == {"rows.parquet", "run.toml"}

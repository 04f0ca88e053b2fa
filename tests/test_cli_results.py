"""`--json`: every command prints results and errors that the schema in the docs describes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from transformers import LlamaConfig

from commands import Run
from json_results import SCHEMA, valid
from packsort.cli.frame import COMMANDS

CHAT = [{"role": "user", "content": "where is the cat"}, {"role": "assistant", "content": "on the mat"}]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    tokens = pa.table({"input_ids": [[1, 2, 3], [4], [5, 6]] * 20, "id": list(range(60)), "length": [3, 1, 2] * 20})
    pq.write_table(tokens, folder / "tokens.parquet")
    pq.write_table(pa.table({"messages": [CHAT] * 9}), folder / "chats.parquet")
    return folder


def test_the_schema_is_one_and_knows_every_command() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    described = {one.get("properties", {}).get("command", {}).get("const") for one in SCHEMA["$defs"].values()}
    assert {command.__name__.rpartition(".")[2] for command in COMMANDS} <= described


@pytest.mark.filterwarnings("always::UserWarning")
def test_results_of_tokens(rows: Path, tmp_path: Path, run: Run) -> None:
    source, out = rows / "tokens.parquet", tmp_path / "packed"
    pack = ("pack", source, "-o", out, "--max-length", 8, "--keep", "id", "--json")
    packed = valid(run(*pack).stdout, "pack")
    again = valid(run(*pack, "--dry-run").stdout, "pack")
    assert (again["dry_run"], again["shards"], again["fingerprint"]) == (True, [], packed["fingerprint"])
    index = ("pack", source, "-o", tmp_path / "index", "--max-length", 8, "--index-only", "--strategy", "in_order")
    assert valid(run(*index, "--json").stdout, "pack")["index"]["files"]
    planned = valid(run("plan", source, "--max-length", 8, "--json").stdout, "plan")
    names = ("sequences", "tokens", "packs", "lower_bound", "efficiency", "fingerprint", "max_length")
    assert {name: packed[name] for name in names} == {name: planned[name] for name in names}
    valid(run("plan", source, "--max-length", 8, "--strategy", "in_order", "--json").stdout, "plan")
    verified = valid(run("verify", out, "--source", source, "--json").stdout, "verify")
    assert (verified["sequences"], verified["seconds"] > 0) == (packed["sequences"], True)
    for options in ((), ("--pack", -1, "--sequence", 0)):
        assert valid(run("inspect", out, *options, "--json").stdout, "inspect_pack")["packs"] == packed["packs"]
    valid(run("inspect", tmp_path / "index", "--json").stdout, "inspect_pack")
    valid(run("inspect", out, "--as-config", "--json").stdout, "inspect_config")
    valid(run("inspect", "--rows", source, "--json").stdout, "inspect_rows")
    valid(run("export", out, "-o", tmp_path / "exported", "--json").stdout, "export")
    compared = valid(run("compare", source, "--max-length", 8, 16, "--json").stdout, "compare")
    assert (compared["sequences"], compared["tokens"]) == (packed["sequences"], packed["tokens"])
    valid(run("completion", "fish", "--json").stdout, "completion")
    shard = next(out.glob("*.arrow"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    damaged = run("verify", out, "--json")
    found = valid(damaged.stdout, "verify")
    assert (damaged.returncode, found["ok"], found["exit_status"]) == (1, False, 1)
    assert found["problems"]


def test_results_of_conversations(rows: Path, tmp_path: Path, run: Run, tokenizer_folder: Path) -> None:
    source, options = rows / "chats.parquet", ("--tokenizer", tokenizer_folder, "--json")
    made = valid(run("tokenize", source, "-o", tmp_path / "tokens", *options).stdout, "tokenize")
    packed = valid(run("pack", source, "-o", tmp_path / "out", "--max-length", 64, *options).stdout, "pack")
    assert (made["sequences"], made["tokens"]) == (packed["sequences"], packed["tokens"])
    shown = valid(run("inspect", tmp_path / "out", "--json").stdout, "inspect_pack")
    assert shown["segments"][0]["runs"], "the manifest names the tokenizer"
    assert valid(run("inspect", "--rows", source, *options).stdout, "inspect_rows")["shown"][0]["runs"]
    LlamaConfig(hidden_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=512).save_pretrained(tmp_path)
    checked = run("check", tmp_path, tmp_path / "out", "--json", "--device", "cpu")
    assert valid(checked.stdout, "check")["ok"], checked.stderr


def test_errors_are_json_with_the_same_exit_status(rows: Path, tmp_path: Path, run: Run) -> None:
    source = rows / "tokens.parquet"
    for args, status, kind, hints in (
        (("pack", source, "-o", "x", "--max-length", 2), 1, "LengthError", ["--overlong drop", "--overlong truncate"]),
        (("plan", tmp_path / "none", "--max-length", 2), 1, "SourceNotFoundError", []),
        (("plan", source, "--max-length", 8, "--window", 3), 1, "OptionError", ["--strategy in_order"]),
        (("plan", source, "--max-length", "many"), 2, "WrongCall", []),
        (("plan", source, "--max-length", 8, "--wnidow", 3), 2, "WrongCall", []),
        (("fold",), 2, "WrongCall", []),
    ):
        done = run(*args, "--json")
        found = valid(done.stdout, "error")
        assert (done.returncode, found["exit_status"], found["error"]["type"]) == (status, status, kind)
        assert found["error"]["message"] in done.stderr
        assert found["error"]["hints"][: len(hints)] == hints
    found = valid(run("plan", source, "--max-length", 2, "--json").stdout, "error")
    assert (found["command"], found["error"]["row"], found["error"]["length"]) == ("plan", 0, 3)


def test_an_interrupt_is_an_error(rows: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: object, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("packsort.sources.tokens.lengths.source_lengths", interrupted)
    done = run("plan", rows / "tokens.parquet", "--max-length", 8, "--json")
    assert (done.returncode, valid(done.stdout, "error")["error"]["type"]) == (130, "Interrupted")


@pytest.mark.filterwarnings("always::UserWarning")
def test_warnings_are_in_the_result(rows: Path, tmp_path: Path, run: Run) -> None:
    run("pack", rows / "tokens.parquet", "-o", tmp_path / "out", "--max-length", 8, "--keep", "id")
    done = run("export", tmp_path / "out", "-o", tmp_path / "exported", "--json")
    assert done.stderr.startswith("warning: `id`")
    assert [f"warning: {one}" for one in valid(done.stdout, "export")["warnings"]] == done.stderr.splitlines()[:1]

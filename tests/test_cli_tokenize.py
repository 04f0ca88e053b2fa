from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from commands import command, run_process, start

CHAT = [{"role": "user", "content": "Add two and three."}, {"role": "assistant", "content": "five"}]
QUESTION = [{"role": "user", "content": "nobody answers"}]


@pytest.fixture
def chats(tmp_path) -> Path:
    path = tmp_path / "chats.parquet"
    pq.write_table(pa.table({"messages": [CHAT, CHAT, QUESTION], "source": ["a", "b", "c"]}), path)
    return path


def test_tokens_are_written_and_summed_up(tmp_path, chats, tokenizer_folder):
    done = run_process(
        "tokenize", chats, "-o", tmp_path / "tokens", "--tokenizer", tokenizer_folder, "--keep", "source"
    )
    assert done.returncode == 0
    assert done.stderr == ""
    table = pq.read_table(tmp_path / "tokens/chats.parquet")
    assert table.column_names == ["input_ids", "labels", "length", "source"]
    summary = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert summary["sequences"] == "3"
    assert summary["tokens"] == str(sum(table["length"].to_pylist()))
    assert summary["loss on"] == "assistant turns, as the chat template marks them"
    assert summary["without loss"].startswith("1 sequences")
    assert summary["wrote"] == str(tmp_path / "tokens/chats.parquet")


def test_json_is_one_object_on_stdout(tmp_path, chats, tokenizer_folder, run):
    done = run("tokenize", chats, "-o", tmp_path / "t.arrow", "--tokenizer", tokenizer_folder, "--json")
    report = json.loads(done.stdout)
    assert report["files"] == [str(tmp_path / "t.arrow")]
    assert (report["sequences"], report["without_loss"]) == (3, 1)
    assert report["seconds"] > 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_chat_template_is_read_from_a_file(tmp_path, chats, tokenizer_folder, tokenizer, run, encoding):
    (tmp_path / "mine.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}", encoding=encoding)
    options = ("--tokenizer", tokenizer_folder, "--chat-template", tmp_path / "mine.jinja", "--json")
    done = run("tokenize", chats, "-o", tmp_path / "t.parquet", *options)
    assert json.loads(done.stdout)["loss_rule"] == "assistant"
    first = pq.read_table(tmp_path / "t.parquet")["input_ids"][0].as_py()
    # Editors write a byte order mark, which would begin every conversation.
    assert not tokenizer.decode(first).startswith("\ufeff")


def test_existing_output_fails_until_it_may_be_overwritten(tmp_path, chats, tokenizer_folder, run):
    args = ("tokenize", chats, "-o", tmp_path / "tokens", "--tokenizer", tokenizer_folder)
    assert run(*args).returncode == 0
    again = run(*args)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith("error: folder `")
    assert "--overwrite" in again.stderr
    assert run(*args, "--overwrite").returncode == 0


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        ([], 2, "required: COMMAND"),
        (["tokenize"], 2, "required: SOURCE"),
        (["pack-it"], 2, "invalid choice: 'pack-it'"),
        (["tokenize", "x.parquet", "-o", "t", "--tokenizer", "."], 1, "error: no file or folder `x.parquet`"),
        (["tokenize", "{chats}", "-o", "{tmp}/t", "--tokenizer", "{tmp}"], 1, "holds no tokenizer"),
        (["tokenize", "{chats}", "-o", "{tmp}/t", "--tokenizer", "{tok}", "--keep", "length"], 1, "cannot be kept"),
        (["tokenize", "{chats}", "-o", "{tmp}", "--overwrite", "--tokenizer", "{tok}"], 1, "would replace a file"),
        (["tokenize", "{chats}", "-o", "t", "--tokenizer", "{tok}", "--chat-template", "no"], 1, "chat template `no`"),
    ],
)
def test_errors_are_short_and_have_a_status(tmp_path, chats, tokenizer_folder, args, status, said, run):
    done = run(*(arg.format(chats=chats, tmp=tmp_path, tok=tokenizer_folder) for arg in args))
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_hint_has_its_own_line(tmp_path, tokenizer_folder, run):
    (tmp_path / "chats.jsonl").write_text('{"messages": []}\n{"messages": [{"role": "user", "content": "hi"}]}\n')
    done = run("tokenize", tmp_path / "chats.jsonl", "-o", tmp_path / "t", "--tokenizer", tokenizer_folder)
    error, hint = done.stderr.splitlines()
    assert error.startswith("error: `")
    assert hint == "hint: use `--empty drop`"


def test_version_and_help_are_results(run):
    version = run("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert re.fullmatch(r"packsort \d+\.\d+.*\n", version.stdout)
    shown = run("tokenize", "--help")
    assert shown.returncode == 0
    assert "--chat-template" in shown.stdout


@pytest.fixture
def lengths(tmp_path) -> Path:
    """A source whose planning imports no tokenizer."""
    pq.write_table(pa.table({"length": [5, 3]}), tmp_path / "lengths.parquet")
    return tmp_path / "lengths.parquet"


def test_closed_stdout_is_silent(lengths):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        args = ("plan", lengths, "--max-length", 8)
        done = run_process(*args, capture_output=False, stdout=closed, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_stdout_is_an_error(lengths):
    with open("/dev/full", "wb") as full:
        args = ("plan", lengths, "--max-length", 8)
        done = run_process(*args, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "error: no space left on device\n"


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_interruption_leaves_nothing_behind(tmp_path, tokenizer_folder):
    path = tmp_path / "long.parquet"
    pq.write_table(pa.table({"text": ["five " * 200] * 20_000}), path)
    out = tmp_path / "new/tokens"
    with start("tokenize", path, "-o", out, "--tokenizer", tokenizer_folder) as process:
        until = time.monotonic() + 60
        while not (out.parent / ".tokens.packsort-unfinished").exists() and time.monotonic() < until:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)  # SIGINT is the same to every command: test_cli_pack.py sends both
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (128 + signal.SIGTERM, "")
    assert stderr == "error: interrupted, nothing was written\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.parquet"]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_progress_is_shown_on_a_terminal_only(tmp_path, chats, tokenizer_folder):
    import pty

    master, terminal = pty.openpty()
    args = command("tokenize", chats, "-o", tmp_path / "tokens", "--tokenizer", tokenizer_folder)
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(args, stdout=subprocess.PIPE, stderr=terminal, env=environment) as process:
        os.close(terminal)
        shown = b""
        while True:
            try:
                some = os.read(master, 4096)
            except OSError:
                break
            if not some:
                break
            shown += some
        assert process.wait(timeout=60) == 0
        assert process.stdout is not None
        results = process.stdout.read()
    os.close(master)
    assert b"tokenizing" in shown
    assert b"\x1b" not in results


def test_bugs_keep_their_traceback(tmp_path, chats, tokenizer_folder, run, monkeypatch):
    def broken(*args, **options):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("packsort.tokenization.files.write_tokens", broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run("tokenize", chats, "-o", tmp_path / "t", "--tokenizer", tokenizer_folder)

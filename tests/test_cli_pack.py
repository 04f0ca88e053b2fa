"""The commands as a person runs them: what they print, what goes wrong, what a kill leaves."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run, run_process, start
from real_data import REAL_DATA, needs_real_data
from token_rows import token_table, write_parts


def tokens(tmp_path: Path, rows: int = 300) -> Path:
    write_parts(token_table(rows), tmp_path / "tokens")
    return tmp_path / "tokens"


def many_tokens(tmp_path: Path) -> Path:
    """Rows that take tens of seconds to write in small shards: a run of them is surely stopped before its end."""
    write_parts(token_table(100_000), tmp_path / "tokens")
    return tmp_path / "tokens"


def files(folder: Path) -> dict[str, str]:
    """The digest of each file: a difference of megabytes would take pytest minutes to show."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def test_pack_verify_inspect_and_plan_say_what_a_person_needs(tmp_path: Path, run: Run) -> None:
    source = tokens(tmp_path)
    out = tmp_path / "packed"
    packed = run_process("pack", source, "-o", out, "--max-length", 128)
    assert packed.returncode == 0, packed.stderr
    assert packed.stderr == "", "no progress bar where stderr is no terminal"
    for word in (
        "sequences",
        "tokens",
        "packs",
        "efficiency",
        "lower bound",
        "padding",
        "one sequence per pack",
        "time",
    ):
        assert word in packed.stdout or (word == "lower bound" and "fewest possible" in packed.stdout)
    verified = run_process("verify", out, "--source", *sorted(source.iterdir()))
    assert verified.returncode == 0, verified.stderr
    assert "every token of every sequence is in exactly one pack, in order, with its labels" in verified.stdout
    inspected = run_process("inspect", out, "--pack", 2)
    assert inspected.returncode == 0, inspected.stderr
    pack = packsort.open_shards(out)[2]
    assert f"{len(pack['input_ids']):,} of 128" in inspected.stdout
    assert "sequence 0: tokens" in inspected.stdout
    assert " ".join(map(str, pack["input_ids"][:3])) in inspected.stdout
    planned = run_process("plan", source, "--max-length", 128, "-o", tmp_path / "plan.arrow")
    assert planned.returncode == 0, planned.stderr
    assert packsort.load_plan(tmp_path / "plan.arrow").fingerprint == packsort.open_shards(out).manifest.plan
    again = run("plan", source, "--max-length", 128, "-o", tmp_path / "plan.arrow")
    assert (again.returncode, "--overwrite" in again.stderr) == (1, True)


def test_a_summary_compares_no_cut_sequences_with_whole_ones(tmp_path: Path, run: Run) -> None:
    pq.write_table(pa.table({"input_ids": [[1] * 20, [2] * 3]}), tmp_path / "tokens.parquet")
    for overlong in ("truncate", "split"):
        summary = run("pack", tmp_path / "tokens.parquet", "--dry-run", "--max-length", 8, "--overlong", overlong)
        assert summary.returncode == 0, summary.stderr
        assert ("one sequence per pack" in summary.stdout) == (overlong == "truncate")


def test_json_is_json(tmp_path: Path, run: Run) -> None:
    source, out = tokens(tmp_path), tmp_path / "packed"
    packed = json.loads(run("pack", source, "-o", out, "--max-length", 128, "--json").stdout)
    assert packed["sequences"] == 300
    assert set(packed["stages"]) == {"reading", "planning", "packing"}
    assert json.loads(run("verify", out, "--source", source, "--json").stdout)["ok"] is True
    inspected = json.loads(run("inspect", out, "--pack", -1, "--json").stdout)
    assert inspected["segments"][-1]["end"] == inspected["tokens"]
    planned = json.loads(run("plan", source, "--max-length", 128, "--json").stdout)
    assert planned["fingerprint"] == packed["fingerprint"]


def test_chats_are_tokenized_packed_proven_and_shown(tmp_path: Path, run: Run, tokenizer_folder: Path) -> None:
    chat = [{"role": "user", "content": "where is the cat"}, {"role": "assistant", "content": "on the mat"}]
    pq.write_table(pa.table({"messages": [chat * (1 + i % 4) for i in range(60)]}), tmp_path / "chats.parquet")
    out = tmp_path / "packed"
    packed = run("pack", tmp_path / "chats.parquet", "-o", out, "--tokenizer", tokenizer_folder, "--max-length", 256)
    assert packed.returncode == 0, packed.stderr
    assert "assistant turns, as the chat template marks them" in packed.stdout
    verified = run("verify", out, "--source", tmp_path / "chats.parquet")
    assert verified.returncode == 0, verified.stderr
    assert "every token of every sequence" in verified.stdout
    shown = run("inspect", out, "--tokenizer", tokenizer_folder).stdout
    assert "where is the cat" in shown
    assert "⟦on the mat" in shown, "what carries loss is marked"
    long = run(
        "pack", tmp_path / "chats.parquet", "-o", out, "--tokenizer", tokenizer_folder, "--max-length", 5, "--overwrite"
    )
    assert long.returncode == 1
    assert "conversations (100 %) are longer than 5 tokens" in long.stderr
    assert (
        "hint: use `--overlong split_turns`, `--overlong drop`, `--overlong truncate` or `--overlong split`"
        in long.stderr
    )
    assert packsort.open_shards(out).verify().ok


def test_verify_says_what_is_wrong_and_exits_1(tmp_path: Path, run: Run) -> None:
    source, out = tokens(tmp_path), tmp_path / "packed"
    run("pack", source, "-o", out, "--max-length", 128)
    shard = next(out.glob("*.arrow"))
    damaged = bytearray(shard.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    shard.write_bytes(damaged)
    result = run("verify", out, "--source", source)
    assert result.returncode == 1
    assert shard.name in result.stderr
    assert "was changed (its checksum is" in result.stderr
    assert result.stdout == ""


INT32 = pa.list_(pa.int32())


def _write(path: Path, table: pa.Table) -> Path:
    pq.write_table(table, path)
    return path


def _truncated(path: Path) -> Path:
    _write(path, token_table(50))
    path.write_bytes(path.read_bytes()[:-20])
    return path


def _text(path: Path) -> Path:
    path.write_text('{"messages": []}\n')
    return path


def _broken(path: Path) -> Path:
    path.write_text('{"input_ids": [1]}\n{"input_ids": [2\n')
    return path


def _bytes(path: Path) -> Path:
    path.write_bytes(b"")
    return path


BAD_TOKENS: dict[str, tuple[Callable[[Path], Path], list[str]]] = {
    "missing file": (lambda p: p, ["no file or folder `{path}`"]),
    "conversations without a tokenizer": (_text, ["no usable column", "pass `tokenizer`"]),
    "broken JSON": (_broken, ["`{path}` line 2 (row 1)", "not valid JSON"]),
    "truncated Parquet": (_truncated, ["`{path}`", "truncated"]),
    "no bytes": (_bytes, ["`{path}`", "empty"]),
    "no rows": (lambda p: _write(p, token_table(5).slice(0, 0)), ["`{path}` holds no rows"]),
    "no usable column": (
        lambda p: _write(p, pa.table({"a": [1], "b": ["x"]})),
        ["no usable column", "`a`: int64", "`b`"],
    ),
    "null list": (
        lambda p: _write(p, pa.table({"input_ids": pa.array([[1], None], INT32)})),
        ["`{path}` row 1", "`input_ids`", "null"],
    ),
    "null token": (
        lambda p: _write(p, pa.table({"input_ids": pa.array([[1], [2, None]], INT32)})),
        ["`{path}` row 1", "`input_ids`", "null at position 1"],
    ),
    "empty sequence": (
        lambda p: _write(p, pa.table({"input_ids": pa.array([[1], []], INT32)})),
        ["`{path}` row 1: column `input_ids` is empty"],
    ),
    "long sequence": (
        lambda p: _write(p, pa.table({"input_ids": pa.array([[1], [2] * 99], INT32)})),
        ["1 of 2 sequences (50 %) is longer than 64 tokens; it has 99 (`{path}` row 1)"],
    ),
    "labels of another length": (
        lambda p: _write(p, pa.table({"input_ids": [[1], [2, 3]], "labels": [[1], [2]]})),
        ["`{path}` row 1: column `labels` has 1 values, but `input_ids` has 2"],
    ),
    "float tokens": (
        lambda p: _write(p, pa.table({"input_ids": [[1.5]]})),
        ["`input_ids` must hold a list of integers, got a list of double"],
    ),
    "token too large": (
        lambda p: _write(p, pa.table({"input_ids": [[1], [2, 2**31]]})),
        ["`{path}` row 1", "`input_ids`", "2147483648"],
    ),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_bad_tokens_are_named_and_leave_nothing(tmp_path: Path, name: str, run: Run) -> None:
    make, parts = BAD_TOKENS[name]
    path = make(tmp_path / "bad.parquet")
    result = run("pack", path, "-o", tmp_path / "new" / "packed", "--max-length", 64)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part.format(path=path) in result.stderr
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("column", "parts"),
    [
        (pa.array([5, 0]), ["`{path}` row 1: column `length` has length 0; lengths must be at least 1"]),
        (pa.array([5, 2, -3]), ["`{path}` row 2: column `length` has length -3; lengths must be at least 1"]),
        (pa.array([5, None]), ["`{path}` row 1: column `length` is null"]),
        (pa.array([5, 65]), ["longer than 64 tokens; it has 65 (`{path}` row 1)"]),
        (pa.array([5.0]), ["`{path}`: column `length` must hold integers, got double"]),
        (pa.array(["5"]), ["`{path}`: column `length` must hold integers, got string"]),
    ],
)
def test_bad_lengths_are_named_and_leave_nothing(tmp_path: Path, column: pa.Array, parts: list[str], run: Run) -> None:
    path = _write(tmp_path / "bad.parquet", pa.table({"length": column}))
    result = run("plan", path, "-o", tmp_path / "plan.arrow", "--max-length", 64)
    assert result.returncode == 1
    for part in parts:
        assert part.format(path=path) in result.stderr
    assert os.listdir(tmp_path) == ["bad.parquet"]


def test_an_empty_conversation_is_named(tmp_path: Path, run: Run, tokenizer_folder: Path) -> None:
    chats = [[{"role": "user", "content": "hi"}], []]
    path = _write(tmp_path / "chats.parquet", pa.table({"messages": chats}))
    result = run("pack", path, "-o", tmp_path / "packed", "--max-length", 64, "--tokenizer", tokenizer_folder)
    assert result.returncode == 1
    assert f"`{path}` row 1: column `messages` is an empty conversation" in result.stderr
    assert not (tmp_path / "packed").exists()


@pytest.mark.parametrize("value", ["0", "-5"])
def test_max_length_below_1_is_refused(tmp_path: Path, value: str, run: Run) -> None:
    for command in (["pack", "-o", tmp_path / "packed"], ["plan"]):
        result = run(*command, tokens(tmp_path), f"--max-length={value}")
        assert result.returncode == 1
        assert f"max_length must be between 1 and 2**31 - 1, got {value}" in result.stderr
    assert not (tmp_path / "packed").exists()


def test_a_wrong_call_exits_2(tmp_path: Path, run: Run) -> None:
    for args in (["pack"], ["pack", "x", "-o", "y"], ["pack", "x", "-o", "y", "--max-length", "many"], ["fold"]):
        assert run(*args).returncode == 2


def test_a_directory_that_is_not_empty_needs_overwrite(tmp_path: Path, run: Run) -> None:
    source, out = tokens(tmp_path), tmp_path / "packed"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    result = run("pack", source, "-o", out, "--max-length", 128)
    assert result.returncode == 1
    assert f"folder `{out}` holds `mine.txt`, which packsort did not write" in result.stderr
    assert list(files(out)) == ["mine.txt"]
    assert (out / "mine.txt").read_text() == "mine"
    assert run("pack", source, "-o", out, "--max-length", 128, "--overwrite").returncode == 1
    assert list(files(out)) == ["mine.txt"]
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").unlink()
    assert run("pack", source, "-o", out, "--max-length", 128).returncode == 0
    result = run("pack", source, "-o", out, "--max-length", 128)
    assert f"folder `{out}` is not empty" in result.stderr
    assert result.stderr.splitlines()[-1] == "hint: use `--overwrite`"
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert "it is a file" in run("pack", source, "-o", blocked, "--max-length", 128).stderr


@pytest.mark.parametrize("limit", [100, 5_000, 100_000])
def test_a_file_that_cannot_grow_leaves_nothing(tmp_path: Path, limit: int) -> None:
    """Every write over the limit fails, as on a full disk, wherever it comes."""
    source, out = tokens(tmp_path, 4000), tmp_path / "new" / "packed"
    result = run_process(
        *("pack", source, "-o", out, "--max-length", 128, "--shard-size", "300kB"),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.returncode == 1
    assert "error: cannot write `" in result.stderr
    assert "file too large" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    source, disk = tokens(tmp_path, 4000), tmp_path / "disk"
    disk.mkdir()
    pack = f"{sys.executable} -m packsort pack {source} -o {disk}/packed --max-length 128 --shard-size 100kB"
    script = f"mount -t tmpfs -o size=600k tmpfs {disk} || exit 77; {pack}; status=$?; ls -A {disk} >&2; exit $status"
    try:
        result = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        pytest.skip("no `unshare` here to mount a small disk with; the test above fills one by a limit")
    if result.returncode == 77 or "unshare failed" in result.stderr:
        pytest.skip("this machine does not let a test mount a small disk; the test above fills one by a limit")
    assert result.returncode == 1
    message, *left = result.stderr.splitlines()
    assert message.startswith("error: cannot write `")
    assert "no space left on device" in message
    assert left == []


def wait_for_shards(out: Path, process: subprocess.Popen[str], count: int = 3) -> None:
    work = out.with_name(f".{out.name}.packsort-unfinished")
    for _ in range(6000):
        ended = process.poll() is not None
        if ended or (work.is_dir() and len(list(work.glob("train-*"))) >= count):
            assert process.returncode in (None, 0), process.communicate(timeout=60)
            return
        time.sleep(0.005)
    raise AssertionError("no shard came")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(tmp_path: Path, sent: signal.Signals) -> None:
    source, out = many_tokens(tmp_path), tmp_path / "new" / "packed"
    process = start("pack", source, "-o", out, "--max-length", 128, "--shard-size", "10kB")
    wait_for_shards(out, process)
    process.send_signal(sent)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (128 + sent, "")
    assert stderr == "error: interrupted, nothing was written\n"
    assert not (tmp_path / "new").exists()


def test_an_interrupt_leaves_the_old_output_whole(tmp_path: Path, run: Run) -> None:
    source, out = many_tokens(tmp_path), tmp_path / "packed"
    assert run("pack", source, "-o", out, "--max-length", 256).returncode == 0
    before = files(out)
    process = start("pack", source, "-o", out, "--max-length", 128, "--shard-size", "10kB", "--overwrite")
    wait_for_shards(out, process)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout, stderr) == (130, "", "error: interrupted, nothing was written\n")
    assert files(out) == before


def kill_while_it_writes(command: tuple[object, ...], out: Path, shards: int) -> None:
    """Kill a command once it has written some shards; try again where the machine was so busy that it ended first."""
    for _ in range(20):
        process = start(*command)
        wait_for_shards(out, process, shards)
        process.kill()
        process.communicate(timeout=60)
        if not (out / "manifest.json").exists():
            return
        shutil.rmtree(out)
    raise AssertionError("it always ended before it was killed")


def test_after_a_kill_the_same_command_goes_on(tmp_path: Path, run: Run) -> None:
    source, out = tokens(tmp_path, 5_000), tmp_path / "packed"
    command = ("pack", source, "-o", out, "--max-length", 128, "--shard-size", "10kB")
    for shards in (3, 40):
        kill_while_it_writes(command, out, shards)
    with pytest.raises(packsort.SourceNotFoundError, match="was not finished; the same call again goes on"):
        packsort.open_shards(out)
    first = min((tmp_path / ".packed.packsort-unfinished").glob("train-*"))
    written = first.stat().st_mtime_ns
    other = run("pack", source, "-o", out, "--max-length", 64, "--overlong", "drop")
    assert other.returncode == 1
    assert f"a run of another source or other options for `{out}` was stopped and is unfinished" in other.stderr
    assert run(*command).returncode == 0
    assert (out / first.name).stat().st_mtime_ns == written, "it was not written again"
    assert run("pack", source, "-o", tmp_path / "undisturbed", *command[4:]).returncode == 0
    assert files(out) == files(tmp_path / "undisturbed")


def test_two_runs_do_not_write_to_one_directory(tmp_path: Path, run: Run) -> None:
    source, out = tokens(tmp_path, 5_000), tmp_path / "packed"
    command = ("pack", source, "-o", out, "--max-length", 128, "--shard-size", "10kB")
    process = start(*command)
    wait_for_shards(out, process)
    second = run(*command)
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGCONT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert second.returncode == 1
    assert f"another process is writing to `{out}`" in second.stderr or "is not empty" in second.stderr
    assert packsort.open_shards(out).verify(source).ok


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    source, out = tokens(tmp_path), tmp_path / "packed"
    command = f"{sys.executable} -m packsort pack {source} -o {out} --max-length 128"
    if shutil.which("script") is None:
        pytest.skip("no `script` here to make a terminal with")
    shown = subprocess.run(["script", "-qec", command, "/dev/null"], capture_output=True, text=True, timeout=60).stdout
    assert "packing" in shown
    assert "\x1b[" in shown


@needs_real_data
def test_real_conversations_go_all_the_way(tmp_path: Path, run: Run) -> None:
    sources = [tmp_path / name for name in ("multi_turn.parquet", "single_turn.parquet")]
    for path in sources:  # some of the rows, and the long ones at the end: the whole takes minutes
        table = pq.read_table(REAL_DATA / path.name)
        pq.write_table(pa.concat_tables([table.take(list(range(0, table.num_rows, 45))), table[-60:]]), path)
    out = tmp_path / "packed"
    options = ("--tokenizer", REAL_DATA / "tokenizer", "--max-length", 4096)
    refused = run("pack", *sources, "-o", out, *options)
    assert refused.returncode == 1
    assert "conversations (1.4 %) are longer than 4,096 tokens" in refused.stderr
    packed = json.loads(run("pack", *sources, "-o", out, *options, "--overlong", "drop", "--json").stdout)
    assert packed["dropped"] > 5
    assert packed["efficiency"] > 0.995
    assert packed["packs"] <= packed["lower_bound"] + 2
    verified = run("verify", out, "--source", *sources)
    assert verified.returncode == 0, verified.stderr
    assert "every token of every sequence is in exactly one pack" in verified.stdout

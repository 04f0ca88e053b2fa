"""Outputs that are whole or absent: who may write where, what stays, and what a killed run leaves to the next one."""

from __future__ import annotations

import errno
import os
import pickle
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run, start
from packsort._atomic import folders
from packsort._atomic.lock import FileLock
from packsort._atomic.steps import hidden
from packsort.errors import OutputError

ROWS = pa.table({"input_ids": pa.array([[1, 2, 3], [4, 5], [6]], pa.list_(pa.int32()))})


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    pq.write_table(ROWS, tmp_path / "tokens.parquet")
    return tmp_path / "tokens.parquet"


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    chat = [{"role": "user", "content": "where"}, {"role": "assistant", "content": "here"}]
    pq.write_table(pa.table({"messages": [chat]}), tmp_path / "chats.parquet")
    return tmp_path / "chats.parquet"


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_an_error_of_an_output_keeps_its_number_in_a_pickle(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError) as caught:
        packsort.write_shards(ROWS, tmp_path / "file" / "packed", 8)
    assert caught.value.errno == errno.EEXIST
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), copy.errno, str(copy)) == (OutputError, errno.EEXIST, str(caught.value))


# One writer


def commands(tmp_path: Path, tokens: Path, chats: Path, tokenizer: Path) -> dict[Path, tuple[object, ...]]:
    packsort.write_shards(ROWS, tmp_path / "packed", 8)
    out = tmp_path / "out"
    text = ("--tokenizer", tokenizer)
    return {
        out / "pack": ("pack", tokens, "--max-length", 8, "-o", out / "pack"),
        out / "export": ("export", tmp_path / "packed", "-o", out / "export"),
        out / "tokenize": ("tokenize", chats, *text, "-o", out / "tokenize"),
        out / "tokens.parquet": ("tokenize", chats, *text, "-o", out / "tokens.parquet"),
        out / "plan.arrow": ("plan", tokens, "--max-length", 8, "-o", out / "plan.arrow"),
        out / "page.html": ("compare", tokens, "--max-length", 8, "--html", out / "page.html"),
    }


def test_two_commands_on_one_output_are_one_and_a_refusal(tmp_path, tokens, chats, tokenizer_folder, run: Run):
    found = commands(tmp_path, tokens, chats, tokenizer_folder)
    (tmp_path / "out").mkdir()
    for out, command in found.items():
        kind = "unfinished" if out.suffix else "lock"
        with FileLock(hidden(out, kind), out):
            refused = run(*command)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert f"error: another process is writing to `{out}`: wait until it ends" in refused.stderr
        assert not out.exists()
        assert run(*command).returncode == 0, "the file alone is no lock"
        assert out.exists()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(out.name for out in found)


def test_a_lock_ends_with_its_process(tmp_path):
    out = tmp_path / "out"
    script = f"""
import os, sys
from pathlib import Path
from packsort._atomic.lock import FileLock
lock = FileLock(Path({str(tmp_path / "lock")!r}), Path("out"))
if os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
print("locked", flush=True)
os.kill(os.getpid(), 9)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "locked\n"
        assert child.wait(60) == -signal.SIGKILL
        with FileLock(tmp_path / "lock", out, wait=5), pytest.raises(packsort.OutputError, match="another process"):
            FileLock(tmp_path / "lock", out)  # not that of a forked child, which still lives
        child.stdin.close()


def test_ranks_that_save_one_plan_take_turns(tmp_path):
    path = tmp_path / "plan.arrow"
    script = "import packsort; plan = packsort.plan(list(range(1, 99)), 99)"
    script += f"\nfor _ in range(50): plan.save({str(path)!r})"
    ranks = [subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE) for _ in range(3)]
    assert [rank.communicate(timeout=120)[1].decode() for rank in ranks] == [""] * 3
    assert packsort.load_plan(path).num_sequences == 98
    assert [path] == list(tmp_path.iterdir())


# Places


def test_a_linked_output_stays_a_link(tmp_path, tokens, run: Run):
    (tmp_path / "disk").mkdir()
    os.symlink("disk/there", tmp_path / "linked")
    os.symlink("disk/plan.arrow", tmp_path / "plan.arrow")
    for more in ((), ("--overwrite",)):
        assert run("pack", tokens, "--max-length", 8, "-o", tmp_path / "linked", *more).returncode == 0
        assert run("plan", tokens, "--max-length", 8, "-o", tmp_path / "plan.arrow", *more).returncode == 0
    assert (tmp_path / "linked").is_symlink()
    assert (tmp_path / "plan.arrow").is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["plan.arrow", "there"]


def test_places_that_cannot_be_replaced_in_one_step_are_refused_with_the_way_out(tmp_path, tokens, monkeypatch):
    (tmp_path / "here" / "deep").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "deep")
    for out in (".", "..", tmp_path / "here"):
        with pytest.raises(
            packsort.OutputError, match=r"the working folder is in it; choose a folder inside it, such as"
        ):
            packsort.write_shards(tokens, out, 8)
    with pytest.raises(packsort.OutputError, match=r"`/proc`: it is a mount point; choose .*, such as `/proc/packed`"):
        packsort.write_shards(tokens, "/proc", 8)
    packsort.write_shards(tokens, "packed", 8)
    for device in ("/dev/null", "pipe"):
        if device == "pipe":
            os.mkfifo(device)
        with pytest.raises(packsort.OutputError, match="it is no regular file"):
            packsort.plan([1, 2], 3).save(device)


@pytest.mark.skipif(sys.platform != "linux", reason="bind mounts are Linux's")
def test_a_mounted_folder_is_refused_before_any_work(tmp_path, tokens):
    (tmp_path / "out").mkdir()
    pack = f"{sys.executable} -m packsort pack {tokens} -o {tmp_path}/out --max-length 8"
    script = f"mount --bind {tmp_path}/out {tmp_path}/out || exit 77; {pack}"
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script], capture_output=True, text=True, timeout=120)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("this machine does not let a test mount a folder")
    assert done.returncode == 1
    assert f"cannot replace `{tmp_path}/out`: it is a mount point; choose a folder inside it" in done.stderr


def test_the_new_output_has_the_permissions_of_the_old(tmp_path, tokens, run: Run):
    (tmp_path / "out").mkdir(mode=0o700)
    (tmp_path / "plan.arrow").touch(mode=0o600)
    for more in ((), ("--overwrite",)):
        assert run("pack", tokens, "--max-length", 8, "-o", tmp_path / "out", *more).returncode == 0
        assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700
    assert run("plan", tokens, "--max-length", 8, "-o", tmp_path / "plan.arrow", "--overwrite").returncode == 0
    assert stat.S_IMODE((tmp_path / "plan.arrow").stat().st_mode) == 0o600


def test_a_folder_with_rows_of_others_is_never_replaced(tmp_path, tokens):
    """Files of a split have the names of shards: only what is in them tells whose they are."""
    for name in ("train-00000-of-00001.parquet", "train-00000-of-00001.arrow", "manifest.json"):
        (tmp_path / "out").mkdir()
        if name.endswith("parquet"):
            pq.write_table(ROWS, tmp_path / "out" / name)
        else:
            (tmp_path / "out" / name).write_bytes(b"{}")
        before = content(tmp_path / "out")
        with pytest.raises(packsort.OutputError, match=f"holds `{name}`, which packsort did not write"):
            packsort.write_shards(tokens, tmp_path / "out", 8, overwrite=True)
        assert content(tmp_path / "out") == before
        shutil.rmtree(tmp_path / "out")


# Without exchange, as on NFS


def test_without_exchange_the_old_output_is_moved_aside(tmp_path, tokens, monkeypatch):
    """The call is taken away: there is no file system without it on every machine."""
    out = tmp_path / "out"
    packsort.write_shards(ROWS, out, 8)
    monkeypatch.setattr(folders, "exchange", lambda one, other: False)
    old = content(out)
    packsort.write_shards(tokens, out, 6, overwrite=True)
    new = content(out)
    assert new != old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tokens.parquet"]
    # As a kill between the two renames leaves it: the new one is unfinished, the old one aside.
    packsort.write_shards(ROWS, tmp_path / ".out.packsort-replaced", 8)
    out.rename(tmp_path / ".out.packsort-unfinished")
    with pytest.raises(packsort.SourceNotFoundError) as caught:
        packsort.open_shards(out)
    assert str(caught.value) == (
        f"no packed directory `{out}`: a run that replaced it was stopped, and what was there is in "
        f"`{tmp_path}/.out.packsort-replaced`; the same call again finishes it"
    )
    with pytest.raises(packsort.OutputExistsError):
        packsort.write_shards(tokens, out, 6)
    assert content(out) == old, "any call on the output moves the old one back"
    packsort.write_shards(tokens, out, 6, overwrite=True)
    assert content(out) == new
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tokens.parquet"]


# What a killed run leaves


def test_files_that_others_put_into_the_old_output_are_kept(tmp_path, tokens):
    """As a kill right after the exchange leaves it, with a file that came in the moment before."""
    out = tmp_path / "out"
    for path in (out, tmp_path / ".out.packsort-unfinished"):
        packsort.write_shards(ROWS, path, 8)
    (tmp_path / ".out.packsort-unfinished" / "notes.txt").write_text("mine")
    with pytest.raises(packsort.OutputError, match=r"`notes.txt`, which packsort did not write"):
        packsort.write_shards(tokens, out, 8, overwrite=True)
    assert (out / "notes.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tokens.parquet"]


def test_rows_in_memory_go_on_after_a_kill_too(tmp_path):
    """As a kill leaves it after the rename: the run is known by its rows, which have no date."""
    out = tmp_path / "out"
    packsort.write_shards(ROWS, out, 8)
    before = content(out)
    script = f"""
import os, pyarrow as pa, packsort
from packsort._atomic.folders import OutputFolder
OutputFolder._clear = lambda self: os.kill(os.getpid(), 9)
rows = pa.table({{"input_ids": pa.array([[1, 2, 3], [4, 5], [6]], pa.list_(pa.int32()))}})
packsort.write_shards(rows, {str(out)!r}, 8)
"""
    shutil.rmtree(out)
    assert subprocess.run([sys.executable, "-c", script], timeout=120).returncode == -signal.SIGKILL
    assert content(out).keys() == {*before, ".packsort-run"}
    with pytest.raises(packsort.OutputExistsError, match="is not empty"):
        packsort.write_shards(ROWS.slice(1), out, 8)
    packsort.write_shards(ROWS, out, 8)
    assert content(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


# Signals from the first moment on


def test_signals_while_packsort_is_imported_print_no_traceback(tmp_path, tokens):
    draw = random.Random(0)
    for number in (signal.SIGINT, signal.SIGTERM) * 3:
        process = start("pack", tokens, "--max-length", 8, "-o", tmp_path / "out")
        caught = 1 << (signal.SIGTERM - 1)
        status = Path(f"/proc/{process.pid}/status")
        while status.exists() and not int(status.read_text().partition("SigCgt:")[2].split()[0], 16) & caught:
            time.sleep(0.001)
        time.sleep(draw.random() * 0.2)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:  # it was quicker
            shutil.rmtree(tmp_path / "out")
            continue
        assert (process.returncode, out, err) == (128 + number, "", "error: interrupted, nothing was written\n")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.parquet"]

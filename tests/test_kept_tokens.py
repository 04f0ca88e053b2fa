"""Tokens that were made are not made again: a call that fails keeps them, and the next one takes them, if they fit."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
import tiny_tokenizer
from commands import Run, start

CONTENTS = ["where is the cat", "on the mat", "the harbour master counts the boats at dawn " * 9]


def conversation(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two short conversations, and two that are longer than 64 tokens; the last has two turns."""
    short, long = conversation(*CONTENTS[:2]), conversation(*CONTENTS[1:])
    pq.write_table(pa.table({"messages": [short, long, short, long + short]}), tmp_path / "chats.parquet")
    return tmp_path / "chats.parquet"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "packed"


@pytest.fixture
def pack(run: Run, source: Path, out: Path, tokenizer_folder: Path):
    def call(*more: object, out: Path = out, status: int = 0, tokenizer: Path = tokenizer_folder):
        result = run("pack", source, "-o", out, "--tokenizer", tokenizer, "--max-length", 64, *more)
        assert result.returncode == status, result.stderr
        return result

    return call


def stages(result) -> list[str]:
    """Return the stages of a call that printed JSON."""
    return list(json.loads(result.stdout)["stages"])


READ = ["reading kept tokens", "planning", "packing"]
MADE = ["loading the tokenizer", "tokenizing", "planning", "packing"]


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_second_try_takes_the_tokens_of_the_first(pack, out: Path, tmp_path: Path) -> None:
    failed = pack(status=1)
    kept = tmp_path / ".packed.tokens"
    assert f"note: the tokens of 4 rows are kept in `{kept}`, and the next call" in failed.stderr
    assert not out.exists()
    assert len(list(kept.iterdir())) == 1
    assert stages(pack("--overlong", "truncate", "--json")) == READ
    assert not kept.exists(), "a call that succeeds removes them"
    other = tmp_path / "other"
    assert stages(pack("--overlong", "truncate", "--json", out=other)) == MADE
    assert content(out) == content(other)


def test_kept_tokens_serve_other_limits_and_dry_runs(pack, out: Path, tmp_path: Path) -> None:
    pack(status=1)
    before = content(tmp_path / ".packed.tokens")
    pack("--max-length", 65, status=1)
    assert stages(pack("--overlong", "drop", "--json", "--dry-run")) == [*READ[:2], "counting"]
    assert content(tmp_path / ".packed.tokens") == before
    assert stages(pack("--max-length", 1000, "--separator", "<|im_end|>", "--json")) == [
        READ[0],
        "loading the tokenizer",
        *READ[1:],
    ]


def test_a_dry_run_keeps_nothing(pack, out: Path, tmp_path: Path) -> None:
    failed = pack("--dry-run", status=1)
    assert "note" not in failed.stderr
    pack("--dry-run", "--overlong", "drop", "--tokens", tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["chats.parquet"]


def test_other_rows_another_tokenizer_and_other_options_are_tokenized_anew(
    pack, source: Path, out: Path, tmp_path: Path
) -> None:
    other = tiny_tokenizer.build(tmp_path / "tokenizer", template=tiny_tokenizer.TEMPLATE.replace("\\n", " "))
    template = tmp_path / "template.jinja"
    template.write_text(tiny_tokenizer.TEMPLATE.replace("system", "rules"))
    dated = tmp_path / "dated.jinja"
    dated.write_text("{{ strftime_now('%Y') }}" + tiny_tokenizer.TEMPLATE)
    pack(status=1)
    changes: list[tuple[object, ...]] = [
        ("--chat-template", template),
        ("--loss", "all"),
        ("--chat-template", dated, "--template-date", "2020-02-02"),
    ]
    for more in changes:
        assert "tokenizing" in stages(pack("--dry-run", "--overlong", "drop", "--json", *more)), more
    assert "tokenizing" in stages(pack("--dry-run", "--overlong", "drop", "--json", tokenizer=other))
    assert "tokenizing" not in stages(pack("--dry-run", "--overlong", "drop", "--json"))
    os.utime(source, ns=(0, 1))
    assert "tokenizing" in stages(pack("--dry-run", "--overlong", "drop", "--json"))
    pack(status=1)
    old = source.stat()
    time.sleep(0.01)
    source.write_bytes(source.read_bytes().replace(b"where", b"there"))
    os.utime(source, ns=(old.st_atime_ns, old.st_mtime_ns))  # as `cp -p` does
    assert source.stat().st_size == old.st_size
    assert "tokenizing" in stages(pack("--dry-run", "--overlong", "drop", "--json"))
    pack(status=1)
    assert len(list((tmp_path / ".packed.tokens").iterdir())) == 1, "only the newest are kept beside an output"


def test_a_folder_of_tokens_serves_all_outputs_and_stays(pack, out: Path, tmp_path: Path) -> None:
    kept, other = tmp_path / "kept", tmp_path / "other"
    options = ("--overlong", "truncate", "--json", "--tokens", kept)
    assert stages(pack(*options)) == MADE
    assert stages(pack(*options, out=other)) == READ
    assert content(out) == content(other)
    (file,) = kept.iterdir()
    assert pq.read_table(tmp_path / "chats.parquet").num_rows == 4
    assert packsort.pack(file, 64, overlong="truncate").num_rows == len(packsort.open_shards(out)), "a token file"
    failed = pack("--tokens", kept, status=1, out=tmp_path / "third")
    assert f"4 rows are kept in `{kept}`, and the next call with the same folder uses them" in failed.stderr
    assert not (tmp_path / ".third.tokens").exists()


@pytest.mark.parametrize("kept", [".packed.tokens", "kept"])
def test_kept_conversations_are_cut_like_new_ones(pack, out: Path, tmp_path: Path, kept: str) -> None:
    """What is kept is uncut, whatever the call that made it did."""
    cut = ("--overlong", "split_turns", "--max-length", 100, "--json")
    chosen = () if kept.startswith(".") else ("--tokens", tmp_path / kept)
    new, other = tmp_path / "new", tmp_path / "other"
    made = pack(*cut, out=new)
    assert json.loads(made.stdout)["split"] == 1
    if chosen:
        assert stages(pack(*cut, *chosen, out=other)) == [*MADE[:2], "cutting", *MADE[2:]]
        assert content(other) == content(new)
    else:
        pack("--max-length", 100, status=1)
    assert stages(pack(*cut, *chosen)) == [READ[0], "loading the tokenizer", "cutting", *READ[1:]]
    assert content(out) == content(new)


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "replaced"])
def test_damaged_tokens_count_as_absent(pack, out: Path, tmp_path: Path, damage: str) -> None:
    pack(status=1)
    (file,) = (tmp_path / ".packed.tokens").iterdir()
    whole = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(whole[: len(whole) // 2])
    elif damage == "flipped":
        table = pa.ipc.open_file(file).read_all()
        at = whole.index(table["input_ids"].chunk(0).values.to_numpy().tobytes())
        whole[at] ^= 1
        file.write_bytes(whole)
    elif damage == "emptied":
        file.write_bytes(b"")
    else:
        with pa.ipc.new_file(file, pa.schema([("input_ids", pa.list_(pa.int32()))])):
            pass
    assert stages(pack("--overlong", "truncate", "--json")) == READ[:1] + MADE
    clean = tmp_path / "clean"
    pack("--overlong", "truncate", out=clean)
    assert content(out) == content(clean)
    assert not (tmp_path / ".packed.tokens").exists()


def test_a_call_that_is_killed_while_it_keeps_its_tokens_breaks_nothing(
    pack, source: Path, out: Path, tmp_path: Path, tokenizer_folder: Path
) -> None:
    pq.write_table(pa.concat_tables([pq.read_table(source)] * 500), source)
    kept = tmp_path / ".packed.tokens"
    arguments = ("pack", source, "-o", out, "--tokenizer", tokenizer_folder, "--max-length", 64)
    with start(*arguments) as process:
        while not kept.exists() and process.poll() is None:
            time.sleep(0.0005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    pack("--overlong", "drop")
    assert packsort.verify(out, source, tokenizer=tokenizer_folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chats.parquet", "packed"]


def test_where_tokens_cannot_be_kept_the_note_says_so(pack, tmp_path: Path) -> None:
    (tmp_path / ".packed.tokens").write_text("in the way")
    assert "note: the tokens of 4 rows are lost: cannot write `" in pack(status=1).stderr
    pack("--overlong", "drop")
    assert (tmp_path / ".packed.tokens").read_text() == "in the way"


def test_what_cannot_be_kept_is_refused(source: Path, out: Path, tmp_path: Path, tokenizer: object) -> None:
    table = pq.read_table(source)
    with pytest.raises(
        packsort.OptionError, match=r"tokens='kept' does not go with rows in memory: .*, so pass a file"
    ):
        packsort.write_shards(table, out, 64, tokenizer=tokenizer, tokens="kept")
    with pytest.raises(packsort.OptionError, match="tokens='kept' does not go with tokenizer=None"):
        packsort.write_shards(pa.table({"input_ids": [[1]]}), out, 64, tokens="kept")
    with pytest.raises(packsort.LengthError) as caught:
        packsort.write_shards(table, out, 64, tokenizer=tokenizer)
    assert not hasattr(caught.value, "__notes__")
    assert [path.name for path in tmp_path.iterdir()] == ["chats.parquet"]


def test_a_tokenizer_in_memory_is_told_by_what_it_saves(source: Path, out: Path, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer.built(tmp_path / "tokenizer")
    with pytest.raises(packsort.LengthError) as caught:
        packsort.write_shards(source, out, 64, tokenizer=tokenizer)
    assert "are kept in" in caught.value.__notes__[0]
    before = content(tmp_path / ".packed.tokens")
    again = tiny_tokenizer.built(tmp_path / "tokenizer")
    again.chat_template = tiny_tokenizer.UNMARKED_TEMPLATE
    for one, same in ((tokenizer, True), (again, False)):
        with pytest.raises(packsort.LengthError):
            packsort.write_shards(source, out, 64, tokenizer=one, loss="all")
        assert (content(tmp_path / ".packed.tokens") == before) == same or one is tokenizer


def test_kept_tokens_are_not_taken_for_rows(pack, source: Path, out: Path, tmp_path: Path) -> None:
    """Their folder may lie in a folder of rows."""
    rows = tmp_path / "rows"
    rows.mkdir()
    source.rename(rows / source.name)
    source.symlink_to(rows, target_is_directory=True)
    options = ("--overlong", "truncate", "--json", "--tokens", rows / "tokens")
    assert stages(pack(*options)) == MADE
    assert stages(pack(*options, "--overwrite")) == READ

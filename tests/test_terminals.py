"""What commands print where names are hostile, the locale is ASCII, or stdout cannot be written."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run, command, run_process
from packsort.cli.output import shown
from packsort.cli.text import lines

# Escape sequences of 7 and 8 bits, a line of its own, a turn of the direction, markup of rich.
HOSTILE = "a\x1b[2Jb\x9b31mc\nok: forged\u202ed[red]e\x07"
COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}


def clean(result: subprocess.CompletedProcess[str]) -> str:
    text = result.stdout + result.stderr
    assert not COMMANDS.search(text), ascii(text)
    assert not any(line.startswith("ok: forged") for line in text.splitlines()), text
    return text


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file whose name and column are hostile, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    table = pa.table({"input_ids": [[1, 2], [3]], HOSTILE: ["x", HOSTILE], "length": [2, 1]})
    pq.write_table(table, tmp_path / f"{HOSTILE}.parquet")
    return tmp_path


@pytest.mark.filterwarnings("always::UserWarning")
@pytest.mark.usefixtures("hostile")
def test_names_do_not_command_the_terminal(run: Run) -> None:
    source, out = f"{HOSTILE}.parquet", f"{HOSTILE}-packed"
    packed = run("pack", source, "-o", out, "--max-length", 8, "--keep", HOSTILE, "--seed", "none")
    assert "[red]e" in clean(packed), packed.stderr
    assert "[red]e" in clean(run("inspect", out))
    assert "[red]e" in clean(run("inspect", "--rows", source))
    assert "[red]e" in clean(run("plan", source, "--max-length", 8, "-o", f"{HOSTILE}-plan"))
    assert "[red]e" in clean(run("compare", source, "--max-length", 8, "--model", HOSTILE))
    clean(run("verify", out, "--source", source))
    assert "[red]e\\x07` is left out" in clean(run("export", out, "-o", f"{HOSTILE}-exported"))
    for wrong in (
        ("pack", source, "-o", out, "--max-length", 1),
        ("pack", f"no-{HOSTILE}", "-o", "new", "--max-length", 8),
        ("pack", source, "-o", "new", "--max-length", 8, "--keep", f"no-{HOSTILE}"),
        ("pack", source, "-o", "new", "--max-length", 8, "--split", HOSTILE),
        ("pack", source, "-o", "new", "--max-length", 8, "--tokenizer", HOSTILE),
        ("inspect", f"no-{HOSTILE}"),
        ("verify", source),
        ("pack", f"--{HOSTILE}"),
        (HOSTILE,),
    ):
        failed = run(*wrong)
        assert failed.returncode != 0
        assert "Traceback" not in clean(failed)


@pytest.mark.usefixtures("hostile")
def test_json_holds_the_same_names_escaped(run: Run) -> None:
    out = "packed"
    run("pack", f"{HOSTILE}.parquet", "-o", out, "--max-length", 8, "--keep", HOSTILE)
    result = run("inspect", out, "--json")
    clean(result)
    kept = [one["kept"][HOSTILE] for one in json.loads(result.stdout)["segments"]]
    assert sorted(kept) == sorted(["x", HOSTILE])


def test_warnings_and_tables_are_clean() -> None:
    assert lines([(HOSTILE, HOSTILE)]).count("\n") == 0
    assert shown("plain ümlaut 日本 🙂") == "plain ümlaut 日本 🙂"
    assert shown("\udcff") == "\\udcff"


def test_text_of_tokens_does_not_command_the_terminal(tmp_path: Path, run: Run, tokenizer_folder: Path) -> None:
    chats = tmp_path / "chats.jsonl"
    chats.write_text(json.dumps({"messages": [{"role": "user", "content": HOSTILE}]}) + "\n")
    seen = run("inspect", "--rows", chats, "--tokenizer", tokenizer_folder, "--loss", "all")
    assert seen.returncode == 0, seen.stderr
    assert not COMMANDS.search(seen.stdout), ascii(seen.stdout)
    assert "[red]e" in seen.stdout


def test_a_name_that_is_no_utf8_is_refused_by_name(tmp_path: Path, run: Run) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/tokens-\xff.parquet")
    pq.write_table(pa.table({"input_ids": [[1]]}), tmp_path / "tokens")
    os.rename(tmp_path / "tokens", path)
    for call in (("pack", path, "-o", tmp_path / "out", "--max-length", 8), ("plan", path, "--max-length", 8)):
        failed = run(*call)
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "tokens-\\xff.parquet` is not UTF-8: rename it, or pass a link to it" in clean(failed)
    outputs = [os.fsdecode(os.fsencode(tmp_path) + b"/out-\xff")] * 2
    pq.write_table(pa.table({"input_ids": [[1]]}), tmp_path / "tokens.parquet")
    made = run("pack", tmp_path / "tokens.parquet", "-o", outputs[0], "--max-length", 8)
    assert "UnicodeEncodeError" not in clean(made)
    assert made.returncode in (0, 1)


def test_every_command_works_in_an_ascii_locale(tmp_path: Path) -> None:
    table = pa.table({"input_ids": [[1, 2], [3]], "Spalte-ü": ["日本", "y"], "length": [2, 1]})
    pq.write_table(table, tmp_path / "Zahlen-é.parquet")
    environment = os.environ | ASCII

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return run_process(*args, cwd=tmp_path, env=environment, encoding="ascii")

    source, out = "Zahlen-é.parquet", "gepackt-日"
    made = call("pack", source, "-o", out, "--max-length", "8", "--keep", "Spalte-ü")
    assert (made.returncode, made.stderr) == (0, "")
    assert "in gepackt-\\u65e5" in made.stdout
    assert packsort.open_shards(tmp_path / out).manifest.sources[0].path.endswith(source)
    seen = call("inspect", out)
    assert (seen.returncode, seen.stderr) == (0, "")
    assert "source   Zahlen-\\xe9.parquet" in seen.stdout
    failed = call("verify", "fehlt-ü")
    assert failed.returncode == 1
    assert "fehlt-\\xfc" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert call("compare", source, "--max-length", "8").returncode == 0


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    call = " ".join(command())
    return subprocess.run(["sh", "-c", f"{call} {line}"], cwd=folder, capture_output=True, text=True, timeout=120)


def test_output_that_cannot_be_written_is_an_error(tmp_path: Path, run: Run) -> None:
    pq.write_table(pa.table({"input_ids": [[1, 2], [3]]}), tmp_path / "tokens.parquet")
    assert run("pack", tmp_path / "tokens.parquet", "-o", tmp_path / "packed", "--max-length", 8).returncode == 0
    closed = shell("pack tokens.parquet -o new --max-length 8 >&-", tmp_path)
    assert (closed.returncode, closed.stderr) == (1, "error: stdout is closed: open it, or send it to /dev/null\n")
    assert not (tmp_path / "new").exists()
    full = shell("pack tokens.parquet -o new --max-length 8 >/dev/full", tmp_path)
    assert (full.returncode, full.stderr) == (
        1,
        "error: `new` is written, but not its summary: no space left on device\n",
    )
    silent = shell("verify packed 2>&-", tmp_path)
    assert (silent.returncode, silent.stdout[:3]) == (0, "ok:")
    failed = shell("verify no-packs 2>/dev/full", tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")

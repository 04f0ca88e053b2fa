"""Progress of long calls: lines off a terminal, bars on one, the logger `packsort`, and tables that fit."""

from __future__ import annotations

import gzip
import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import Run
from packsort._progress import STAGE
from packsort.cli import progress
from packsort.cli.logs import show_logs
from packsort.sources.source import open_source


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    pq.write_table(pa.table({"input_ids": [[1, 2]] * 3000}), tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def test_off_a_terminal_a_line_comes_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("packsort.cli.progress.SECONDS_BETWEEN_LINES", 0.05)
    for quiet in (False, True):
        with show_logs(quiet=quiet, verbose=False):
            with progress.stage("tokenizing", total=300_000, unit="sequences") as advance:
                advance(120_000)
                time.sleep(0.2)
            with progress.stage("planning"):
                time.sleep(0.2)
        lines = capsys.readouterr().err.splitlines()
        if quiet:
            assert lines == []
        else:
            assert re.fullmatch(r"tokenizing 120,000/300,000, [\d,]+/s, \d+ s left", lines[0])
            assert re.fullmatch(r"planning \d s", lines[-1])


def test_quiet_and_verbose(rows: Path, run: Run) -> None:
    calm = run("plan", rows, "--max-length", 8)
    assert calm.stderr == ""
    loud = run("plan", rows, "--max-length", 8, "-v").stderr
    assert "opened 1 file with 3,000 rows" in loud
    assert re.search(r"^reading took [\d.]+ s: 3,000 rows", loud, re.MULTILINE)
    assert run("plan", rows, "--max-length", 8, "-q").stdout.splitlines()[:-1] == calm.stdout.splitlines()[:-1]
    assert run("plan", rows, "--max-length", 8, "-q", "-v").returncode == 2
    assert not logging.getLogger("packsort").handlers


def test_the_library_logs_its_stages(
    rows: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    packsort.write_shards(rows, tmp_path / "silent", 8)
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, "packsort")
    monkeypatch.setattr("packsort._progress.SECONDS_BETWEEN_LINES", 0)
    packsort.write_shards(rows, tmp_path / "packed", 8)
    packsort.verify(tmp_path / "packed", rows)
    packsort.export(tmp_path / "packed", tmp_path / "exported")
    said = [record.getMessage() for record in caplog.records]
    assert {record.name for record in caplog.records} == {"packsort"}
    for stage in ("reading", "planning", "packing", "verifying", "exporting"):
        assert any(text.startswith(f"{stage} took ") for text in said), stage
    assert any(re.fullmatch(r"packing [\d,]+/750, .* left", text) for text in said)


def test_no_stage_of_known_size_hides_it(rows: Path, tmp_path: Path) -> None:
    """Only stages of one call of the core, or of another library, have no total."""
    found: dict[str, int | None] = {}
    inner = progress.stage

    def stage(name: str, *, total: int | None = None, unit: str = "") -> object:
        found[name] = total
        return inner(name, total=total, unit=unit)

    packsort.write_shards(rows, tmp_path / "packed", 8, stage=stage)
    packsort.verify(tmp_path / "packed", rows, stage=stage)
    packsort.export(tmp_path / "packed", tmp_path / "exported", stage=stage)
    assert {name for name, total in found.items() if total is None} == {"planning"}


@pytest.mark.parametrize("width", [60, 80, 120])
def test_tables_fit_the_columns_there_are(
    width: int, rows: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", str(width))
    shown: Callable[..., str] = lambda *args: run(*args).stdout  # noqa: E731
    assert shown("pack", "rows.parquet", "-o", "packed", "--max-length", "8k")
    for args in (
        ("pack", "rows.parquet", "--dry-run", "--max-length", 8),
        ("plan", "rows.parquet", "--max-length", "8k"),
        ("inspect", "packed"),
        ("inspect", "packed", "--sequence", 7, "--full"),
        ("inspect", "--rows", "rows.parquet"),
        ("compare", "rows.parquet", "--max-length", "8k", "16k"),
    ):
        lines = shown(*args).splitlines()
        assert lines
        assert max(map(len, lines)) <= width, args
        assert len(lines) < 150, "a pack of 3,000 sequences is no flood"
        assert all(line == line.rstrip() for line in lines)


def test_inspect_shows_one_sequence(rows: Path, tmp_path: Path, run: Run) -> None:
    run("pack", rows, "-o", tmp_path / "packed", "--max-length", 8192)
    shown = run("inspect", tmp_path / "packed", "--sequence", -1).stdout
    assert "sequence 2999: tokens 5,998 to 6,000" in shown
    assert shown.count("sequence ") == 1 + 1, "one title, and the head of the table"
    assert "and 2,980 more: --sequence N shows one" in run("inspect", tmp_path / "packed").stdout
    wrong = run("inspect", tmp_path / "packed", "--sequence", 3000)
    assert "sequence must be between 0 and 2,999 in this pack, got 3,000" in wrong.stderr
    assert "sequence does not go with rows=True" in run("inspect", "--rows", rows, "--sequence", 1).stderr


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.csv"])
def test_files_that_are_read_whole_to_open_them_tell_how_far(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("packsort.sources.files.opening._WORTH_SHOWING", 0)
    text = b"text\n" + b"abc\n" * 9 if name.endswith("csv") else b'{"text": "abc"}\n' * 9
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    (tmp_path / "other.parquet").write_bytes(pq_bytes(pa.table({"text": ["x"]})))
    done: list[int] = []
    totals: dict[str, int | None] = {}

    @contextmanager
    def stage(stage: str, *, total: int | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
        totals[stage] = total
        yield lambda count, note="": done.append(count)

    token = STAGE.set(stage)
    try:
        open_source([tmp_path / name, tmp_path / "other.parquet"])
    finally:
        STAGE.reset(token)
    assert totals == {"opening": sum(done)}
    assert sum(done) == sum(path.stat().st_size for path in tmp_path.iterdir())


def pq_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return bytes(sink.getvalue())

"""`packsort compare`: what it prints, and its report in a browser."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from packsort.cli import compare as compare_command
from packsort.comparison.compare import compare
from token_rows import token_table

COSTS = packsort.CostModel(linear=3.0, quadratic=0.25)
ASK, ANSWER = {"role": "user", "content": "where is the cat"}, {"role": "assistant", "content": "on the mat"}


def command(*args: object) -> int:
    parser = argparse.ArgumentParser()
    compare_command.add_parser(parser.add_subparsers())
    parsed = parser.parse_args(["compare", *map(str, args)])
    return int(parsed.run(parsed))


def test_the_command_prints_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pq.write_table(token_table(300), tmp_path / "tokens.parquet")
    assert command(tmp_path / "tokens.parquet", "--max-length", 64, 128, "--batch-size", 2) == 0
    shown = capsys.readouterr().out
    for text in ("max_length 64: choose", "max_length 128: choose", "cut at limit", "efficiency", "which max_length"):
        assert text in shown
    assert all(len(line) <= 120 and line == line.rstrip() for line in shown.splitlines() if not line.startswith(" "))
    assert command(tmp_path / "tokens.parquet", "--max-length", 64, 128, "--batch-size", 2, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    rows = facts["at"][1]["ffd"]["rows"]
    assert re.search(rf"^packs .* {rows:,}$", shown.split("max_length 128")[1], re.MULTILINE)


@pytest.mark.parametrize("width", [40, 80, 140])
def test_no_figure_is_cut_at_any_width(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    pq.write_table(token_table(300), tmp_path / "tokens.parquet")
    assert command(tmp_path / "tokens.parquet", "--max-length", 128) == 0
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in shown
    busy = re.search(r"^ranks busy, scheduled +- +- +[\d.]+% +[\d.]+%", shown, re.MULTILINE)
    assert busy is not None


def test_the_command_tokenizes_conversations(
    tmp_path: Path, tokenizer_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pa.table({"messages": [[ASK, ANSWER] * (1 + i % 4) for i in range(60)]})
    pq.write_table(table, tmp_path / "chats.parquet")
    options = ("--max-length", 256, "--tokenizer", tokenizer_folder, "--json")
    assert command(tmp_path / "chats.parquet", *options) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["sequences"], facts["multi_turn"]) == (60, 45)
    with pytest.raises(packsort.OptionError, match="batch_size must be at least 1, got 0"):
        command(tmp_path / "chats.parquet", *options, "--batch-size", 0)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lengths = np.clip(np.random.default_rng(7).lognormal(5.5, 0.9, 3_000), 1, 4096).astype(np.int32)
    found = compare(lengths, [1024, 4096], model=COSTS, turns=np.arange(3_000) % 3)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(found.to_html(), encoding="utf-8")
    assert found.to_html() == path.read_text(encoding="utf-8"), "the same comparison gives the same page"
    return path


def test_the_report_refers_to_nothing_outside_itself(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for reference in ("http", "//", "src=", "@import", "<script", "<link"):
        assert reference not in text
    assert set(re.findall(r"url\((.)", text)) | set(re.findall(r'href="(.)', text)) <= {"#"}
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:url\(|href=")#([^")]+)', text)) <= set(ids)
    assert text.count("<svg") == 2 + 2 * (3 + 2 + 4)
    assert not re.search(r"#0[1-6]0[1-6]0[1-6]", text), "colours are the page's"


def test_the_report_opens_in_a_browser_without_a_network(page: Path, tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("no Chromium is installed")
    options = [
        "--headless",
        "--no-sandbox",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path}/user",
    ]
    shot = tmp_path / "shot.png"
    done = subprocess.run(
        [browser, *options, "--enable-logging=stderr", f"--screenshot={shot}", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert "CONSOLE" not in done.stderr, "the page's own errors and refused references go there"
    dumped = subprocess.run(
        [browser, *options, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert "Pad or pack, and how?" in dumped.stdout
    assert dumped.stdout.count("</svg>") == 20


def test_a_report_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"length": [5, 3, 7]}), tmp_path / "lengths.parquet")
    options = (tmp_path / "lengths.parquet", "--max-length", 8, "--html", tmp_path / "report.html")
    assert command(*options) == 0
    with pytest.raises(packsort.OutputExistsError, match="pass overwrite=True to replace it"):
        command(*options)
    assert command(*options, "--overwrite") == 0

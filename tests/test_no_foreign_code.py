"""Nothing that data names is downloaded, and no code in data runs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from tiny_tokenizer import build, built

CHAT = [{"role": "user", "content": "where is the cat"}, {"role": "assistant", "content": "on the mat"}]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[dict[str, str], list[str]]]:
    """The environment of a process for which this machine is the Hub, and the requests that reach it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_response(200 if self.path == "/" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield (
        os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HOME": str(tmp_path / "hf")},
        asked,
    )
    server.shutdown()
    server.server_close()


class Trap:
    """Object whose pickle writes a file where it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.mark),)


def set_traps(folder: Path, mark: Path) -> None:
    """Put code into a tokenizer's folder in each of the ways that transformers knows."""
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "TrapTokenizer"
    settings["auto_map"] = {"AutoTokenizer": ["owner/name--trap.TrapTokenizer", "trap.TrapTokenizer"]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "config.json").write_text(json.dumps({"model_type": "trap", "auto_map": settings["auto_map"]}))
    for name in ("trap.py", "tokenization_trap.py", "__init__.py", "setup.py", "sitecustomize.py"):
        (folder / name).write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    for name in ("vocab.pkl", "tokenizer.pkl", "pytorch_model.bin", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Trap(mark)))


def test_a_manifest_reaches_no_network_and_folders_run_no_code(
    tmp_path: Path, hub: tuple[dict[str, str], list[str]]
) -> None:
    environment, asked = hub
    chats, out, mark = tmp_path / "chats.parquet", tmp_path / "packed", tmp_path / "ran"
    pq.write_table(pa.table({"messages": [CHAT] * 3}), chats)
    tokenizer = built(tmp_path / "tokenizer")
    tokenizer.name_or_path = "owner/name"
    packsort.write_shards(chats, out, 64, tokenizer=tokenizer)
    assert packsort.open_shards(out).manifest.tokenizer["name"] == "owner/name"
    trapped = build(tmp_path / "trapped")
    set_traps(trapped, mark)
    code = f"""
import sys
from packsort.cli import main
def call(*args):
    print("status", main(list(args)), flush=True)
    print("---", file=sys.stderr, flush=True)
call("verify", {str(out)!r}, "--source", {str(chats)!r})
call("verify", {str(out)!r}, "--source", {str(chats)!r}, "--trust-remote-code")
call("inspect", {str(out)!r})
call("inspect", "--rows", {str(chats)!r}, "--tokenizer", {str(trapped)!r})
print("before", flush=True)
import time; time.sleep(0.2)
input()
call("verify", {str(out)!r}, "--source", {str(chats)!r}, "--tokenizer", "owner/name")
call("verify", {str(out)!r}, "--source", {str(chats)!r}, "--tokenizer", {str(tmp_path / "tokenizer")!r})
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line.strip())
        if line == "before\n":
            break
    before = [one for one in asked if "agent-harnesses" not in one]  # asked by huggingface_hub, whatever it loads
    stdout, stderr = process.communicate("\n", timeout=120)
    first, trusting, _, trap, named, local, *_ = stderr.split("---\n")
    assert before == [], (before, stderr)
    assert not mark.exists(), "code out of a folder ran"
    statuses = [line for line in [*seen, *stdout.splitlines()] if line.startswith("status")]
    assert statuses == ["status 1", "status 1", "status 0", "status 1", "status 1", "status 0"], stderr
    for refused in (first, trusting):
        assert "nothing was compared with the source: the packs were made with tokenizer `owner/name`" in refused
        assert "hint: use `--tokenizer DIR`" in refused
    assert "cannot be loaded: it comes with Python code; pass trust_remote_code=True to run it" in trap
    assert any("owner/name" in one for one in asked), "a name that the user gives is looked for"
    assert "tokenizer `owner/name` cannot be loaded" in named
    assert "error" not in local

"""Fixtures of many test files, and the threads that each test process may use."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from commands import Run
from real_data import REAL_DATA

# Several test processes share the processors. Torch gains nothing from threads on models as small as these; the core
# keeps two, so that its parallel code runs on every machine. Subprocesses inherit both.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("RAYON_NUM_THREADS", "2")
# Where SIGINT is ignored, as in the background jobs of some shells, child processes ignore it too.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _wide_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what commands print on one line, unless a test asks for a width."""
    monkeypatch.setenv("COLUMNS", "1000")


def pytest_collection_finish() -> None:
    """Leave imported modules out of garbage collections: each trainer makes some, of most of a second with them."""
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Let libraries find their own objects at the end."""
    gc.unfreeze()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `packsort` with these arguments in this process; give exit status and output as `subprocess.run` does."""
    from packsort.cli import main

    def call(*args: object) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        argv = [str(arg) for arg in args]
        status = main(argv)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(argv, status, out, err)

    return call


@pytest.fixture(scope="session", autouse=True)
def batches_on_the_cpu() -> None:
    """Tests look into batches with NumPy: also where there is a GPU, batches stay on the CPU unless a test asks."""
    module = sys.modules.get("packsort.torch")
    if module is not None and sys.modules["torch"].accelerator.is_available():
        for loader in (module.PackedLoader, module.PackedStream):
            loader.__init__.__kwdefaults__["device"] = None


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of `tiny_tokenizer.build` with its defaults, built once."""
    import tiny_tokenizer

    return tiny_tokenizer.build(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> object:
    from packsort.tokenization.tokenizer import load_tokenizer

    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="session")
def real_tokenizer() -> object:
    """The tokenizer beside the real conversations: it takes seconds to load."""
    from packsort.tokenization.tokenizer import load_tokenizer

    return load_tokenizer(REAL_DATA / "tokenizer")

"""Runs commands of packsort in forked children, with a fault at their n-th system call.

A child costs milliseconds, because this process has imported everything. It is started with the library of
`interpose.c` preloaded, reads one JSON object a line from stdin, and answers each with one line.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import time
import traceback
from functools import cache
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

ACTIONS = {"none": 0, "kill": 1, "signal": 2, "error": 3, "full": 4}
SECONDS = 60


@cache
def library() -> ctypes.CDLL:
    """Return the library that is preloaded."""
    found = ctypes.CDLL(None)
    found.faults_count.restype = ctypes.c_long
    found.faults_last.restype = ctypes.c_char_p
    found.faults_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    return found


def import_everything() -> None:
    import jinja2
    import matplotlib.pyplot
    import pyarrow.dataset
    import sentencepiece
    import torch

    import packsort.comparison.page
    import packsort.gathering.planned
    import packsort.shards.export
    import packsort.shards.writer
    import packsort.sources.tokens.lengths
    import packsort.tokenization.files
    import tiny_tokenizer
    from packsort.cli.frame import COMMANDS
    from packsort.tokenization.tokenizer import load_tokenizer

    del jinja2, matplotlib, pyarrow, sentencepiece, torch, packsort, COMMANDS
    with tempfile.TemporaryDirectory() as folder:
        load_tokenizer(tiny_tokenizer.build(Path(folder)))


def spool_everything() -> None:
    """Let no tokens fit into memory, and make runs of the spool small, so that there are several."""
    from packsort.shards import prepare, token_input
    from packsort.shards.memory import MemoryUse

    token_input.fits_in_memory = lambda *_: False
    prepare.memory_use = lambda *_: MemoryUse(run_bytes=3_000, shards_in_memory=2)


def child(call: dict[str, object], out: int, err: int) -> int:
    os.dup2(out, 1)
    os.dup2(err, 2)
    if call["spools"]:
        spool_everything()
    sys.argv = ["packsort", *call["argv"]]  # type: ignore[misc]
    try:
        from packsort.cli import main

        status = main()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stderr.flush()
    return status


def run(call: dict[str, object]) -> dict[str, object]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        root = os.fsencode(str(call["root"]))
        library().faults_arm(root, call["at"], ACTIONS[str(call["action"])], call["number"])
        process = os.fork()
        if process == 0:
            os._exit(child(call, out.fileno(), err.fileno()))
        until = time.monotonic() + SECONDS
        while not (ended := os.waitpid(process, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(process, 9)
                ended = os.waitpid(process, 0)
                break
            time.sleep(0.001)
        status = os.waitstatus_to_exitcode(ended[1])
        out.seek(0)
        err.seek(0)
        return {
            "status": status,
            "out": out.read().decode(),
            "err": err.read().decode(),
            "calls": library().faults_count(),
            "last": library().faults_last().decode(errors="replace"),
        }


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    import_everything()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""Open changed files through every door, in processes whose crash, endless loop or hunger for memory is seen.

`main` is the long run of `make faults`, and prints one line for each door. The trials of a seed are always the same.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

SECONDS = 10
"""The most seconds of the processor that a trial may take; one takes some milliseconds."""
_WAITS = 120  # seconds of the clock after which a trial waits for ever
_ROOM = 1 << 30  # bytes that a trial may take beyond those of the process that starts it
_MOST_KILOBYTES = 200_000
_TRIALS_A_PROCESS = 200


@dataclass(frozen=True)
class Outcome:
    """Outcome of a trial.

    Attributes:
        seed: Seed of the trial: it makes the same change of the same file.
        file: The file that was changed.
        change: How.
        door: The door.
        found: `taken`, `refused`, or what is wrong.
    """

    seed: int
    file: str
    change: str
    door: str
    found: str

    @property
    def is_wrong(self) -> bool:
        return self.found not in ("taken", "refused")


def run(seeds: Sequence[int], folder: Path) -> Iterator[Outcome]:
    """Run trials in a process of its own, and go on after each crash.

    Args:
        seeds: Seed of each trial.
        folder: Empty folder for the files, in memory if there is one.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            print(json.dumps(list(seeds)), file=process.stdin, flush=True)
            for line in process.stdout:
                yield Outcome(**json.loads(line))
        except KeyboardInterrupt:
            process.kill()
            raise
    if process.returncode:
        raise RuntimeError(f"the process of the trials ended with {process.returncode}")


def remove(folder: Path) -> None:
    """Remove the folder of trials, and what is in it."""
    shutil.rmtree(folder, ignore_errors=True)


def _serve(folder: Path) -> None:
    """Read seeds from stdin, and answer each with a line; children do the trials, some hundred each."""
    answers = os.dup(1)
    os.dup2(2, 1)
    trials = _Trials(folder)
    seeds = json.loads(sys.stdin.readline())
    done = 0
    while done < len(seeds):
        done += _child(trials, seeds[done : done + _TRIALS_A_PROCESS], answers, folder)


def _child(trials: _Trials, seeds: Sequence[int], answers: int, folder: Path) -> int:
    """Run some trials in a forked child until one ends it; return how many were run."""
    begun, begin = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(begun)
            with (folder / "said").open("wb") as said:
                os.dup2(said.fileno(), 2)
                faulthandler.enable()
                _limit()
                for seed in seeds:
                    trial = trials.draw(seed)
                    os.write(begin, (json.dumps(trial) + "\n").encode())
                    signal.setitimer(signal.ITIMER_PROF, SECONDS)
                    signal.alarm(_WAITS)
                    found = trials.enter(trial)
                    signal.alarm(0)
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    os.write(answers, (json.dumps({**trial, "found": found}) + "\n").encode())
                    os.write(begin, b"\n")
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(begin)
    with os.fdopen(begun) as reports:
        lines = reports.read().split("\n")
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    finished = sum(not line for line in lines[:-1])
    if status == 0:
        return len(seeds)
    last = json.loads([line for line in lines if line][-1])
    said = (folder / "said").read_text(errors="replace")
    ended = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    places = [line.strip() for line in said.splitlines() if "File " in line or "Error" in line or "panic" in line]
    os.write(answers, (json.dumps({**last, "found": f"{ended}: {' '.join(places[:6])}"}) + "\n").encode())
    return finished + 1


def _limit() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + _ROOM, size + _ROOM))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Trials:
    """What trials share: the files, the doors and the tokenizer, imported and loaded once."""

    def __init__(self, folder: Path) -> None:
        import warnings

        import pyarrow.dataset  # noqa: F401

        import tiny_tokenizer
        from faults import corpus, doors
        from packsort.tokenization.tokenizer import load_tokenizer

        warnings.simplefilter("ignore")
        self._folder = folder
        self.files = corpus.files()
        self._doors = doors
        self._pack_whole()
        doors.TOKENIZER[0] = load_tokenizer(tiny_tokenizer.build(folder / "tokenizer"))

    def _pack_whole(self) -> None:
        """Pack every file of tokens as it is before it is changed, for the door that verifies packs."""
        import packsort

        for file in self.files:
            if file.holds == "tokens":
                (path := self._folder / file.name).write_bytes(file.content)
                packsort.write_shards(path, self._folder / "whole" / file.name, self._doors.MAX_LENGTH)

    def draw(self, seed: int) -> dict[str, Any]:
        """Change a file, write it, and choose a door."""
        from faults.mutate import mutated

        draw = random.Random(seed)
        file = draw.choice(self.files)
        content, change = mutated(file.content, draw)
        doors = self._doors.TOKENS if file.holds == "tokens" else self._doors.CHATS
        self._path = self._folder / file.name
        self._path.write_bytes(content)
        return {"seed": seed, "file": file.name, "change": change, "door": draw.choice(list(doors))}

    def enter(self, trial: dict[str, Any]) -> str:
        """Open the file through the door."""
        name = trial["door"]
        door = {**self._doors.TOKENS, **self._doors.CHATS}[name]
        found: str = self._doors.enter(door, self._path, self._folder / "out", named=name not in self._doors.OF_TABLES)
        self._path.unlink()
        return found


def main() -> int:
    """Run as many trials as are asked for, or until SIGINT or SIGTERM, and print what was found."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    found: dict[str, Counter[str]] = {}
    wrong = 0
    memory = Path("/dev/shm")
    parent = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=parent) as folder, contextlib.suppress(KeyboardInterrupt):
        for outcome in run(range(first, first + count), Path(folder)):
            counts = found.setdefault(outcome.door, Counter())
            counts["wrong" if outcome.is_wrong else outcome.found] += 1
            if outcome.is_wrong:
                wrong += 1
                print(f"WRONG {outcome}", file=sys.stderr, flush=True)
    for door, counts in sorted(found.items()):
        print(f"{door}: {counts['taken']} taken, {counts['refused']} refused, {counts['wrong']} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        _serve(Path(sys.argv[2]))
    else:
        sys.exit(main())

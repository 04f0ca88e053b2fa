"""What a fault may leave of a command's output, and the commands that are tried.

After a fault at any system call, a reader that knows nothing of packsort sees the old output whole, the new output
whole, or nothing where there was nothing. The same command again gives the bytes of an undisturbed run, and leaves no
hidden file.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.dataset as dataset
import pyarrow.parquet as pq

import tiny_tokenizer

HERE = Path(__file__).parent

# What happens at the n-th call: action of interpose.c, and its signal or error.
FAULTS = {
    "SIGKILL": ("kill", 0),
    "SIGINT": ("signal", signal.SIGINT),
    "SIGTERM": ("signal", signal.SIGTERM),
    "EIO": ("error", errno.EIO),
    "ENOSPC": ("error", errno.ENOSPC),
    "full disk": ("full", errno.ENOSPC),
}

# Exit statuses of a command that ends without its output: an error, SIGINT, SIGTERM.
FAILURES = (1, 130, 143)

Content = dict[str, bytes] | bytes | None
"""Files that a reader sees in a folder, a file, or nothing."""


@dataclass(frozen=True)
class Command:
    """A command that writes `out` in the working folder.

    Attributes:
        name: What is tried.
        argv: Its arguments; `{}` stands for the folder that holds inputs and output.
        before: Arguments of the command that writes the old output, or None if there is none.
        out: Name of the output.
        spools: Whether it takes the tokens for more than the memory holds.
    """

    name: str
    argv: tuple[str, ...]
    before: tuple[str, ...] | None = None
    out: str = "out"
    spools: bool = False


def _commands() -> Iterator[Command]:
    pack = ("pack", "{}/tokens", "-o", "{}/here/out", "--max-length")
    old = (*pack, "64", "--shard-size", "3kB")
    yield Command("pack", (*pack, "48", "--shard-size", "2kB"))
    yield Command("pack --overwrite", (*pack, "48", "--shard-size", "2kB", "--overwrite"), old)
    parquet = (*pack, "48", "--shard-size", "2kB", "--format", "parquet", "--overwrite")
    yield Command("pack --format parquet --overwrite", parquet, (*old, "--format", "parquet"))
    yield Command("pack beyond memory", (*pack, "48", "--shard-size", "2kB", "--overwrite"), old, spools=True)
    index = (*pack, "48", "--shard-size", "2kB", "--index-only", "--overwrite")
    yield Command("pack --index-only --overwrite", index, old)
    yield Command("pack over an index", (*pack, "48", "--shard-size", "2kB", "--overwrite"), (*index[:-1],))
    tokenizer = ("--tokenizer", "{}/tokenizer")
    tokenize = ("tokenize", "{}/chats", "-o", "{}/here/out", *tokenizer)
    yield Command("tokenize", tokenize)
    yield Command("tokenize --overwrite", (*tokenize, "--loss", "all", "--overwrite"), tokenize)
    one = ("tokenize", "{}/chats", "-o", "{}/here/out.parquet", *tokenizer)
    yield Command("tokenize to a file", (*one, "--overwrite", "--loss", "all"), one, "out.parquet")
    export = ("export", "{}/packed", "-o", "{}/here/out")
    yield Command("export", export)
    yield Command("export --overwrite", (*export, "--overwrite"), (*export, "--format", "trl"))
    plan = ("plan", "{}/tokens", "-o", "{}/here/out.arrow", "--max-length")
    yield Command("plan", (*plan, "64"), None, "out.arrow")
    yield Command("plan --overwrite", (*plan, "64", "--overwrite"), (*plan, "48"), "out.arrow")


COMMANDS = {command.name: command for command in _commands()}


class Server:
    """The process that runs commands with faults; see `server.py`.

    Args:
        folder: Folder for the library.
        exchange: Whether the file system can exchange two names.
    """

    def __init__(self, folder: Path, *, exchange: bool = True) -> None:
        self.exchange = exchange
        library = folder / "interpose.so"
        compiler = shutil.which("cc") or "gcc"
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, HERE / "interpose.c", "-ldl"], check=True)
        environment = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "OMP_NUM_THREADS": "1",
            "RAYON_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONWARNINGS": "ignore::DeprecationWarning",
        }
        if not exchange:
            environment["FAULTS_NO_EXCHANGE"] = "1"
        self._process = subprocess.Popen(
            [sys.executable, HERE / "server.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def run(
        self,
        argv: tuple[str, ...],
        root: Path,
        at: int = 0,
        action: str = "none",
        number: int = 0,
        spools: bool = False,
    ) -> Any:
        """Run a command, with a fault at the `at`-th call below `root`."""
        call = {"argv": argv, "root": str(root), "at": at, "action": action, "number": number, "spools": spools}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(call), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._process.communicate(timeout=60)
        finally:
            self._process.kill()


def make_inputs(folder: Path) -> None:
    """Write what the commands read: tokens, conversations, a tokenizer, and a packed directory."""
    import packsort

    for name in ("tokens", "chats"):
        (folder / name).mkdir()
    for part in range(2):
        rows = [[(row * 7 + at + part) % 1000 + 1 for at in range(3 + row * 5 % 40)] for row in range(60)]
        pq.write_table(pa.table({"input_ids": pa.array(rows, pa.list_(pa.int32()))}), folder / f"tokens/{part}.parquet")
        chats = [
            [{"role": "user", "content": "where is the boat " * row}, {"role": "assistant", "content": "here"}]
            for row in range(1, 9 + part)
        ]
        pq.write_table(pa.table({"messages": chats}), folder / f"chats/{part}.parquet")
    tiny_tokenizer.build(folder / "tokenizer")
    packsort.write_shards(folder / "tokens", folder / "packed", 64, shard_size="3kB")


def memory() -> Path | None:
    """Return a folder in memory, if there is one: a sync to the disk takes longer than all else."""
    return next((path for path in [Path("/dev/shm")] if os.access(path, os.W_OK)), None)


def visible(path: Path) -> Content:
    """Return what a reader sees: a file, the files of a folder without hidden ones, or None."""
    if path.is_file():
        return path.read_bytes()
    if not path.is_dir():
        return None
    return {one.name: one.read_bytes() for one in sorted(path.iterdir()) if not one.name.startswith(".")}


def leftovers(folder: Path, out: Path) -> list[str]:
    """Return the files that a command has left beside its output, and hidden ones in it."""
    beside = [path.name for path in folder.iterdir() if path != out]
    inside = [path.name for path in out.iterdir() if path.name.startswith(".")] if out.is_dir() else []
    return sorted(beside + inside)


def rows(path: Path) -> int:
    """Count the rows of an output, as a program without packsort reads it."""
    if path.is_file() and path.suffix == ".arrow":
        return int(pa.ipc.open_file(pa.memory_map(str(path))).read_all().num_rows)
    kind = "ipc" if path.is_dir() and list(path.glob("*.arrow")) else "parquet"
    found = path.glob(f"*.{'arrow' if kind == 'ipc' else kind}")  # an index has lengths of rows, too
    files = sorted(str(one) for one in found if one.stem != "sequences") if path.is_dir() else path
    return int(dataset.dataset(files, format=kind).to_table().num_rows)


@dataclass
class Trial:
    """A command in a working folder that is made anew for each fault.

    Args:
        server: Runs the commands.
        command: The command.
        folder: Empty folder.
    """

    server: Server
    command: Command
    folder: Path

    def __post_init__(self) -> None:
        make_inputs(self.folder)
        self.work, self.kept = self.folder / "here", self.folder / "kept"
        self.out = self.work / self.command.out
        self.work.mkdir()
        if self.command.before is not None:
            self._must(self.run(self.command.before))
        self.old = visible(self.out)
        shutil.copytree(self.work, self.kept)
        done = self._must(self.run())
        self.calls: int = done["calls"]
        self.new = visible(self.out)
        assert self.old != self.new
        assert rows(self.out) > 0
        assert not leftovers(self.work, self.out)

    def run(self, argv: tuple[str, ...] | None = None, **fault: Any) -> Any:
        """Run the command, or another one, with a fault or without."""
        call = tuple(arg.format(self.folder) for arg in argv or self.command.argv)
        return self.server.run(call, self.work, spools=self.command.spools, **fault)

    def restore(self) -> None:
        """Make the working folder as it was before the command."""
        shutil.rmtree(self.work)
        shutil.copytree(self.kept, self.work)

    @staticmethod
    def _must(done: Any) -> Any:
        assert done["status"] == 0, done["err"]
        return done

    def broken(self, fault: str, at: int) -> str | None:
        """Return what is wrong after a fault at the `at`-th call, or None."""
        self.restore()
        action, number = FAULTS[fault]
        done = self.run(at=at, action=action, number=int(number))
        found = self._wrong_after_fault(fault, done) or self._wrong_after_next_run()
        return found and f"{self.command.name}: {fault} at call {at} ({done['last']}): {found}\n{done['err']}"

    def _wrong_after_fault(self, fault: str, done: Any) -> str | None:
        state = visible(self.out)
        self.reached = bool(done["last"])
        if not self.server.exchange and state is None and fault in ("SIGKILL", "full disk"):
            return None
        if state not in (self.old, self.new) and not (self.old is None and state == {}):
            return f"the output is neither old nor new: {_names(state)}, old {_names(self.old)}, new {_names(self.new)}"
        if "Traceback" in done["err"]:
            return "a traceback"
        if fault == "SIGKILL":
            return None
        if done["status"] == 0 and state != self.new:
            return "success without the output"
        if done["status"] in FAILURES and state != self.old:
            return "an error, though the output is new"
        if done["status"] not in (0, *FAILURES):
            return f"exit status {done['status']}"
        if done["status"] == 0 and leftovers(self.work, self.out) and "left over" not in done["err"]:
            return f"success in silence with {leftovers(self.work, self.out)}"
        return None

    def _wrong_after_next_run(self) -> str | None:
        if visible(self.out) == self.new and not leftovers(self.work, self.out):
            return None
        done = self.run()
        if done["status"] != 0:
            return f"the same command again fails: {done['err']}"
        if visible(self.out) != self.new:
            return "the same command again gives other bytes"
        if left := leftovers(self.work, self.out):
            return f"the same command again leaves {left}"
        return None


def _names(content: Content) -> str:
    return str(sorted(content)) if isinstance(content, dict) else "a file" if content else "nothing"

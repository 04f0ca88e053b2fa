"""A packed directory in the making.

Shards are written into a hidden folder inside the output directory and come out of it at the very end, before the
manifest. So a reader never sees half of a directory, what was there stays whole until the new is complete, and after a
kill the same command finds the shards that were finished.
"""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from packsort._atomic import output_error, replace_file
from packsort.errors import OutputError, OutputExistsError
from packsort.shards.manifest import NAME, Manifest, ShardInfo, checksum

WORK = ".packsort-unfinished"
_SHARD = re.compile(r"train-\d{5,}-of-\d{5,}\.(arrow|parquet)")


class Folder:
    """The output directory while it is written; a context that leaves it as it was when the block fails.

    Args:
        out: the directory; made where it is not there.
        overwrite: whether what packsort wrote there before may be replaced. Other files are never touched.

    Raises:
        OutputExistsError: it is not empty, `overwrite` is False, and it is not an unfinished run.
        OutputError: it cannot be made, or another process is writing to it.
    """

    def __init__(self, out: Path, *, overwrite: bool) -> None:
        self.out = out
        self._work = out / WORK
        self._overwrite = overwrite
        self._made: list[Path] = []
        self._lock = FileLock(self._work / "lock")
        self._finished: dict[str, ShardInfo] = {}
        self._run = ""
        self._ours = False  # whether what is in the work folder is this run's to remove
        self._committing = False

    def __enter__(self) -> Self:
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"cannot write folder `{self.out}`: it is a file")
        others = [p.name for p in self.out.iterdir() if p.name != WORK] if self.out.is_dir() else []
        unfinished = self._work.is_dir() and all(map(_SHARD.fullmatch, others))
        if others and not self._overwrite and not unfinished:
            raise OutputExistsError(
                f"folder `{self.out}` is not empty; `--overwrite` replaces what packsort wrote there"
            )
        try:
            self._made = [p for p in (self.out, *self.out.parents) if not p.exists()]
            self._ours = not self._work.exists()
            self._work.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(f"another process is writing to `{self.out}`") from None
        except OSError as error:
            self._remove_made()
            raise output_error(self.out, error) from error
        return self

    def begin(self, run: str) -> dict[str, ShardInfo]:
        """Starts or goes on.

        Args:
            run: says what is packed and how; only a run that says the same is gone on with.

        Returns:
            The shards that such a run finished, whole by their checksums, by name.

        Raises:
            OutputExistsError: another run is unfinished here and `overwrite` is False.
        """
        self._run = run
        try:
            state = json.loads((self._work / "run.json").read_text("utf-8"))
            finished = [ShardInfo(**shard) for shard in state["shards"]]
            same = state["run"] == run
        except (OSError, ValueError, KeyError, TypeError):
            finished, same = [], True  # killed before the first shard was finished
        if not same and not self._overwrite:
            raise OutputExistsError(
                f"folder `{self.out}` holds an unfinished run of another source or other options; "
                "`--overwrite` starts anew"
            )
        self._ours = True
        for shard in finished if same else []:
            for folder in (self._work, self.out):
                path = folder / shard.name
                if path.is_file() and path.stat().st_size == shard.bytes and checksum(path) == shard.checksum:
                    self._finished[shard.name] = shard
                    break
        self._note()
        return dict(self._finished)

    def path_of(self, name: str) -> Path:
        """Where to write a shard."""
        return self._work / name

    def finish(self, shard: ShardInfo) -> None:
        """Notes that a shard is complete."""
        self._finished[shard.name] = shard
        self._note()

    def commit(self, manifest: Manifest) -> None:
        """Puts all shards in place, then the manifest."""
        names = {shard.name for shard in manifest.shards}
        self._committing = True  # from here on, going on is the way to a whole directory
        try:
            (self.out / NAME).unlink(missing_ok=True)
            for path in sorted(self.out.iterdir()):
                if _SHARD.fullmatch(path.name) and ((self._work / path.name).exists() or path.name not in names):
                    path.unlink()
            for name in sorted(names):
                with suppress(FileNotFoundError):  # in place since before a kill
                    (self._work / name).rename(self.out / name)
            manifest.write(self.out)
        except OSError as error:
            raise output_error(self.out, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (self._ours and not self._committing):
            shutil.rmtree(self._work, ignore_errors=True)
        self._lock.release()
        with suppress(FileNotFoundError):
            (self._work / "lock").unlink()
        if error is not None and not self._committing:
            self._remove_made()

    def _note(self) -> None:
        shards = [asdict(shard) for shard in self._finished.values()]
        with replace_file(self._work / "run.json") as file:
            file.write(json.dumps({"run": self._run, "shards": shards}).encode())

    def _remove_made(self) -> None:
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()


def shard_names(count: int, suffix: str) -> list[str]:
    """`train-00000-of-00012.arrow` and so on."""
    return [f"train-{i:05}-of-{count:05}.{suffix}" for i in range(count)]

"""The output directory while it is written.

Shards are written into a hidden folder inside the output directory. At the end they move out of it, and the manifest
follows. A reader therefore never sees half of a directory, the old content stays whole until the new content is
complete, and after a kill the same call finds the shards that were finished.
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
from packsort._paths import refuse_undecodable
from packsort.errors import OutputError, OutputExistsError
from packsort.shards.manifest import NAME, Manifest, ShardInfo, checksum

_WORK_FOLDER = ".packsort-unfinished"
_PROGRESS_FILE = "run.json"
_SHARD_NAME = re.compile(r"train-\d{5,}-of-\d{5,}\.(arrow|parquet)")


class OutputDirectory:
    """Context that writes a packed directory, and leaves what was there untouched if the block fails.

    Args:
        out: The directory; created if it does not exist.
        overwrite: Whether to replace what packsort wrote there before. Other files are never touched.

    Raises:
        OutputExistsError: The directory is not empty, `overwrite` is False, and it is no unfinished run.
        OutputError: The directory cannot be created, or another process is writing to it.
    """

    def __init__(self, out: Path, *, overwrite: bool) -> None:
        refuse_undecodable(out, OutputError)
        self.out = out
        self._work = out / _WORK_FOLDER
        self._overwrite = overwrite
        self._created: list[Path] = []
        self._lock = FileLock(self._work / "lock")
        self._finished: dict[str, ShardInfo] = {}
        self._run_id = ""
        self._owns_work = False  # whether this run may remove the work folder
        self._committing = False

    def __enter__(self) -> Self:
        if self.out.exists() and not self.out.is_dir():
            raise OutputError(f"cannot write folder `{self.out}`: it is a file")
        others = [path.name for path in self.out.iterdir() if path.name != _WORK_FOLDER] if self.out.is_dir() else []
        unfinished = self._work.is_dir() and all(map(_SHARD_NAME.fullmatch, others))
        if others and not self._overwrite and not unfinished:
            raise OutputExistsError(
                f"folder `{self.out}` is not empty; pass overwrite=True to replace what packsort wrote there"
            )
        try:
            self._created = [path for path in (self.out, *self.out.parents) if not path.exists()]
            self._owns_work = not self._work.exists()
            self._work.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(f"another process is writing to `{self.out}`") from None
        except OSError as error:
            self._remove_created()
            raise output_error(self.out, error) from error
        return self

    def begin(self, run_id: str) -> dict[str, ShardInfo]:
        """Start a run, or resume an unfinished one.

        Args:
            run_id: Identifies the source and the options. Only a run of the same id is resumed.

        Returns:
            Shards that the unfinished run completed and whose checksums hold, by name.

        Raises:
            OutputExistsError: Another run is unfinished here, and `overwrite` is False.
        """
        self._run_id = run_id
        try:
            state = json.loads((self._work / _PROGRESS_FILE).read_text("utf-8"))
            finished = [ShardInfo(**shard) for shard in state["shards"]]
            same = state["run"] == run_id
        except (OSError, ValueError, KeyError, TypeError):
            finished, same = [], True  # killed before it completed a shard
        if not same and not self._overwrite:
            raise OutputExistsError(
                f"folder `{self.out}` holds an unfinished run of another source or other options; "
                "pass overwrite=True to start anew"
            )
        self._owns_work = True
        for shard in finished if same else []:
            if any(_is_whole(folder / shard.name, shard) for folder in (self._work, self.out)):
                self._finished[shard.name] = shard
        self._save_progress()
        return dict(self._finished)

    def path_of(self, name: str) -> Path:
        """Return where to write a shard."""
        return self._work / name

    def finish(self, shard: ShardInfo) -> None:
        """Record that a shard is complete."""
        self._finished[shard.name] = shard
        self._save_progress()

    def commit(self, manifest: Manifest) -> None:
        """Move all shards into place, then write the manifest."""
        names = {shard.name for shard in manifest.shards}
        self._committing = True  # from here on, only resuming leads to a whole directory
        try:
            (self.out / NAME).unlink(missing_ok=True)
            for path in sorted(self.out.iterdir()):
                replaced = (self._work / path.name).exists() or path.name not in names
                if _SHARD_NAME.fullmatch(path.name) and replaced:
                    path.unlink()
            for name in sorted(names):
                with suppress(FileNotFoundError):  # moved by a run that was killed later
                    (self._work / name).rename(self.out / name)
            manifest.write(self.out)
        except OSError as error:
            raise output_error(self.out, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (self._owns_work and not self._committing):
            shutil.rmtree(self._work, ignore_errors=True)
        self._lock.release()
        with suppress(FileNotFoundError):
            (self._work / "lock").unlink()
        if error is not None and not self._committing:
            self._remove_created()

    def _save_progress(self) -> None:
        shards = [asdict(shard) for shard in self._finished.values()]
        with replace_file(self._work / _PROGRESS_FILE) as file:
            file.write(json.dumps({"run": self._run_id, "shards": shards}).encode())

    def _remove_created(self) -> None:
        for folder in self._created:
            with suppress(OSError):
                folder.rmdir()


def shard_names(count: int, suffix: str) -> list[str]:
    """Return the names of shards: `train-00000-of-00012.arrow` and so on."""
    return [f"train-{i:05}-of-{count:05}.{suffix}" for i in range(count)]


def _is_whole(path: Path, shard: ShardInfo) -> bool:
    return path.is_file() and path.stat().st_size == shard.bytes and checksum(path) == shard.checksum

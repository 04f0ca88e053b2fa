"""The packed directory while it is written: shards are finished one by one, and all of them appear at once."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from packsort._atomic import StoreFolder, output_folder, write_bytes
from packsort._checksum import checksum
from packsort._paths import not_a_uri
from packsort._stores import ObjectInfo, StorePath
from packsort.errors import OutputError
from packsort.shards.index_record import SEQUENCES
from packsort.shards.manifest import NAME, Manifest, ShardInfo
from packsort.sources.files.strays import is_packed

_OLD_WORK_FOLDER = ".packsort-unfinished"  # of version 0.1.0, inside the directory
_SHARD_NAME = re.compile(r"train-\d{5,}-of-\d{5,}\.(arrow|parquet)")


class OutputDirectory:
    """Context that writes a packed directory, and leaves what was there untouched if the block fails.

    Args:
        out: The directory; created if it does not exist.
        overwrite: Whether to replace a packed directory. One with other files in it is refused.

    Raises:
        OutputExistsError: The directory is not empty, and `overwrite` is False.
        OutputError: The directory cannot be replaced, or another process is writing to it.
    """

    def __init__(self, out: Path | StorePath, *, overwrite: bool) -> None:
        self.out = out
        self._folder = output_folder(
            out, overwrite=overwrite, own=_own_files, names=_SHARD_NAME, last=NAME, own_objects=_own_objects
        )

    def __enter__(self) -> Self:
        self._folder.__enter__()
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
        records = self._folder.begin(run_id, resume=True)
        try:
            finished = {shard.name: shard for shard in (ShardInfo(**record) for record in records)}
        except TypeError:
            finished = {}
        if isinstance(self.out, StorePath):  # whose folder has compared what it recorded
            return finished
        whole = {name: shard for name, shard in finished.items() if _is_whole(self.path_of(name), shard)}
        if self._folder.finished and not (whole and len(whole) == len(finished) and is_packed(self.out)):
            self._folder.restart(run_id)
            return {}
        return whole

    @property
    def is_finished(self) -> bool:
        """Whether an earlier run of the same id has put the directory into its place."""
        return self._folder.finished

    def path_of(self, name: str) -> Path:
        """Return where to write a shard."""
        return self._folder.path_of(name)

    def finish(self, shard: ShardInfo) -> None:
        """Record that a shard is complete."""
        self._folder.finish(shard.name, asdict(shard))

    def place_of(self, name: str) -> Path | StorePath:
        """Return where another machine is to write a shard: a file, or the object itself."""
        return self._folder.object_of(name) if isinstance(self._folder, StoreFolder) else self.path_of(name).absolute()

    def finish_elsewhere(self, shard: ShardInfo, uploaded: ObjectInfo | None) -> None:
        """Record that another machine has completed a shard.

        Args:
            shard: The shard.
            uploaded: Facts of its object; None for a file.

        Raises:
            OutputError: The file is not there.
        """
        if uploaded is not None and isinstance(self._folder, StoreFolder):
            self._folder.finish_uploaded(shard.name, asdict(shard), uploaded)
            return
        path = self.path_of(shard.name)
        if not path.is_file() or path.stat().st_size != shard.bytes:
            raise OutputError(
                f"`{self.out}` is not the same folder on all machines: one wrote `{shard.name}`, and it is not there; "
                "pass a folder that all share"
            )
        self.finish(shard)

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest, and put the directory into its place."""
        if not self._folder.finished:
            write_bytes(self.path_of(NAME), self.out / NAME, manifest.to_json().encode())
        index = set() if manifest.index is None else {SEQUENCES}
        self._folder.commit({NAME, *index, *(shard.name for shard in manifest.shards)})

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.__exit__(kind, error, trace)


def _own_files(folder: Path) -> set[str]:
    """Return the names of the files that packsort wrote into a folder.

    Shards have the names that `datasets` gives to the files of a split, so a name alone does not make a shard.
    """
    names = {path.name for path in folder.iterdir()}
    shards = {name for name in names if _SHARD_NAME.fullmatch(name) or name == SEQUENCES}
    if not is_packed(folder):
        shards = {name for name in shards if _is_shard(folder / name)}
    manifest = {NAME} if shards or is_packed(folder) else set()
    return names & (shards | manifest | {_OLD_WORK_FOLDER})


def _own_objects(manifest: bytes) -> set[str]:
    """Return the names of the objects that belong to a manifest in a store, its own among them."""
    try:
        facts = json.loads(manifest)
        if facts["format"] != "packsort":
            return set()
        return {NAME, *(shard["name"] for shard in facts["shards"] if _SHARD_NAME.fullmatch(shard["name"]))}
    except (ValueError, LookupError, TypeError):
        return set()


def _is_shard(path: Path) -> bool:
    """Return whether packsort wrote a file that has the name of a shard."""
    if not path.is_file():  # opening a named pipe would wait for ever
        return False
    try:
        if path.suffix == ".arrow":
            with pa.memory_map(not_a_uri(path)) as file:
                schema = pa.ipc.open_file(file).schema
        else:
            schema = pq.read_schema(not_a_uri(path))
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return False
    return b"packsort" in (schema.metadata or {})


def _is_whole(path: Path, shard: ShardInfo) -> bool:
    return path.is_file() and path.stat().st_size == shard.bytes and checksum(path) == shard.checksum

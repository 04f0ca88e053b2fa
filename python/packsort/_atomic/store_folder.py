"""Write a folder of objects to a store, which has no rename and no locks.

```
train-00000-of-00012.arrow                      each object appears whole
.packsort-run/run.json                          identity of the run, while it is unfinished
.packsort-run/train-00000-of-00012.arrow.json   what the run recorded of an object, with its size and ETag
.packsort-run/new/train-00000-of-00012.arrow    an object of a run that replaces another packed directory
manifest.json                                   last, and only if there is none
```

Files are made in a temporary folder on a disk, and each is uploaded while the next is made. A packed directory is whole
when its manifest is there; other folders are whole when `.packsort-run` is gone. Whatever stops a run, the same call
goes on with the objects that are recorded and unchanged.

A folder of several objects cannot be replaced in one step. So a packed directory that is replaced stays whole until all
new objects are in the store, beside it. Then its manifest is deleted, the store copies the new objects to their names,
and the new manifest comes last: for this time there is no packed directory, and never one of two packings.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from operator import itemgetter
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from packsort._atomic.steps import output_errors
from packsort._interrupts import note_begin, note_commit, note_unfinished, uninterrupted
from packsort._stores import ObjectInfo, StorePath, abort_uploads
from packsort._warn import warn
from packsort.errors import OutputError, OutputExistsError

RUN_FOLDER = ".packsort-run"
_RUN = f"{RUN_FOLDER}/run.json"
_RUN_PATH = PurePosixPath(RUN_FOLDER)
_NEW = f"{RUN_FOLDER}/new/"
_COPIED_AT_ONCE = 8  # by the store
_AT_ONCE = 2  # objects that are uploaded; each has several parts on their way


class StoreFolder:
    """Context that writes a folder of objects, as `OutputFolder` writes a folder of files.

    Args:
        out: The folder.
        overwrite: Whether to replace what another run of packsort has left unfinished, or has finished if `own` tells
            its objects.
        names: Names that the objects may have.
        last: Name of the object that makes the output whole, or None.
        own: Returns the names of all objects of a whole output, told by the content of `last`. None where nothing tells
            them.

    Attributes:
        finished: Whether an earlier run of the same identity has completed the output.

    Raises:
        OutputExistsError: On entering, if there are objects in the folder that no unfinished run has left.
        OutputError: The store refuses, or does not answer.
    """

    def __init__(
        self,
        out: StorePath,
        *,
        overwrite: bool,
        names: re.Pattern[str],
        last: str | None = None,
        own: Callable[[bytes], set[str]] | None = None,
    ) -> None:
        self.name = out
        self.finished = False
        self._store, self._url = out.store, str(out)
        self._overwrite, self._names, self._last, self._own = overwrite, names, last, own
        self._replaced: list[Any] | None = None  # size and tag of the object that makes another output whole
        self._identity = ""
        self._uploads: list[tuple[str, Future[None]]] = []
        self._uploaded: set[str] = set()
        self._begun = 0  # objects, in the order in which they were finished
        self._committed = self._owns = False

    def __enter__(self) -> Self:
        note_begin()
        with output_errors(self.name):
            self._there = self._find()
            if _RUN not in self._there and self._there:
                self._check_replaceable()
            self._staging = Path(tempfile.mkdtemp(prefix="packsort-"))
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="packsort-upload")
        return self

    def _find(self) -> dict[str, ObjectInfo]:
        found = self._store.find(self._url)
        if self._url in found:
            raise OutputError(f"cannot write folder `{self.name}`: it is an object")
        return {url[len(self._url) + 1 :]: facts for url, facts in found.items()}

    def _check_replaceable(self) -> None:
        """Refuse to replace an output unless it is whole, the user wants it, and all objects are its own.

        Raises:
            OutputExistsError: It is not to be replaced.
        """
        if self._own is None or self._last is None or self._last not in self._there:
            raise self._not_empty()
        last = self._there[self._last]
        own = self._own(self._store.read(f"{self._url}/{self._last}", 0, last.size))
        others = [name for name in self._there if name not in own and not name.startswith(f"{RUN_FOLDER}/")]
        if others:
            raise self._not_empty(others)
        if not self._overwrite:
            raise OutputExistsError(f"folder `{self.name}` is not empty; pass overwrite=True to replace it")
        self._replaced = [last.size, last.tag]

    def _not_empty(self, others: Sequence[str] = ()) -> OutputExistsError:
        others = others or [name for name in self._there if not self._is_own(name)]
        what = f"holds `{others[0]}`, which packsort did not write" if others else "is not empty"
        return OutputExistsError(
            f"folder `{self.name}` {what}, and an object store replaces no folder in one step: choose another place, "
            "or delete it first"
        )

    def _is_own(self, name: str) -> bool:
        return name.startswith(f"{RUN_FOLDER}/") or name == self._last or self._names.fullmatch(name) is not None

    def begin(self, identity: str, *, resume: bool = False) -> list[Any]:
        """Start a run, or go on with one that was stopped.

        Args:
            identity: Identifies input and options. Only a run of the same identity goes on.
            resume: Whether objects that an earlier run wrote are of use. If not, all are written anew.

        Returns:
            What the earlier run has recorded of objects that are unchanged.

        Raises:
            OutputExistsError: A run of another identity has finished the output, or is unfinished and `overwrite` is
                False.
            OutputError: Another process has just begun to write there, or the store refuses.
        """
        self._identity = identity
        with output_errors(self.name):
            if _RUN in self._there:
                run = self._read(_RUN)
                self._replaced = run["replaces"]
                last = None if self._last is None else self._there.get(self._last)
                is_whole = last is not None and [last.size, last.tag] != self._replaced
                if run["identity"] == identity:
                    self._owns = True
                    self._clear_uploads()
                    self.finished = resume and is_whole
                    return self._records() if resume else []
                if is_whole:
                    raise self._not_empty()
                if not self._overwrite:
                    raise OutputExistsError(
                        f"a run of another source or other options for `{self.name}` was stopped, or is running, and "
                        "is unfinished; pass overwrite=True to start anew"
                    )
                self._clear_uploads()
                if last is None:
                    self._replaced = None
                    self._delete([name for name in self._there if self._is_own(name)])
                else:  # what that run was to replace
                    self._check_replaceable()
                    self._delete([name for name in self._there if name.startswith(f"{RUN_FOLDER}/")])
            try:
                self._put(_RUN, {"identity": identity, "replaces": self._replaced}, create=True)
            except FileExistsError:
                raise OutputError(
                    f"another process is writing to `{self.name}`: wait until it ends, or choose another output"
                ) from None
            self._owns = True
        return []

    def _records(self) -> list[Any]:
        names = [name for name in self._there if PurePosixPath(name).parent == _RUN_PATH and name != _RUN]
        found: list[Any] = []
        for known in sorted(self._pool.map(self._read, names), key=itemgetter("number")):
            there = self._there.get(self._place + known["name"])
            if there is not None and [there.size, there.tag] == known["object"]:
                self._uploaded.add(known["name"])
                found.append(known["fact"])
            self._begun = known["number"] + 1
        return found

    def restart(self, identity: str) -> None:
        """Refuse to write an output anew that an earlier run of the same identity has finished.

        Raises:
            OutputExistsError: Always.
        """
        raise self._not_empty()

    @property
    def _place(self) -> str:
        """Beginning of the names under which objects wait that replace others; empty where they replace none."""
        return _NEW if self._replaced is not None and not self.finished else ""

    def object_of(self, name: str) -> StorePath:
        """Return where another machine is to upload an object."""
        return self.name / f"{self._place}{name}"

    def path_of(self, name: str) -> Path:
        """Return where to make a file, on a disk."""
        return self._staging / name

    def finish(self, name: str, fact: Any = None) -> None:
        """Upload a file that is finished, beside what the caller does next.

        Args:
            name: The file.
            fact: What `begin` of the same call returns after a stop, or None for nothing.

        Raises:
            OutputError: An upload before it has failed.
        """
        self._wait(_AT_ONCE - 1)
        self._uploads.append((name, self._pool.submit(self._upload, name, fact, self._begun)))
        self._begun += 1

    def finish_uploaded(self, name: str, fact: Any, uploaded: ObjectInfo) -> None:
        """Record an object that another machine has uploaded.

        Args:
            name: The object.
            fact: As for `finish`.
            uploaded: Facts of the object.
        """
        with output_errors(self.name / name):
            self._record(name, self._begun, fact, uploaded)
        self._begun += 1

    def _record(self, name: str, number: int, fact: Any, uploaded: ObjectInfo) -> None:
        record = {"name": name, "number": number, "fact": fact, "object": [uploaded.size, uploaded.tag]}
        self._put(f"{RUN_FOLDER}/{name}.json", record)
        self._uploaded.add(name)

    def _wait(self, most: int) -> None:
        """Wait until at most some uploads are on their way."""
        while len(self._uploads) > most:
            name, upload = self._uploads.pop(0)
            with output_errors(self.name / name):
                upload.result()

    def _upload(self, name: str, fact: Any, number: int) -> None:
        file = self._staging / name
        facts = self._store.put_file(file, f"{self._url}/{self._place}{name}")
        file.unlink()
        if fact is not None:
            self._record(name, number, fact, facts)
        self._uploaded.add(name)

    def commit(self, names: set[str]) -> None:
        """Upload what is not yet, last the object that makes the output whole, and remove the record of the run.

        Args:
            names: The files that the output is to hold.

        Raises:
            OutputExistsError: Another run has completed the output meanwhile.
            OutputError: The store refuses, or does not answer.
        """
        if not self.finished:
            waiting = {name for name, _ in self._uploads}
            for name in sorted(names - self._uploaded - waiting - {self._last}):
                self.finish(name)
            self._wait(0)
            if self._replaced is not None:
                self._put_into_place(names)
        with uninterrupted():
            if not self.finished and self._last is not None:
                self._complete(self._last)
            self._committed = True
            try:
                there = {name for name in self._find() if self._is_own(name)}
                self._delete(sorted(there - names - {_RUN}))
                self._delete([_RUN])
            except OSError as error:
                warn([f"`{self.name}` is written, but `{self.name / RUN_FOLDER}` is left over ({error})"])
            note_commit(self.name)

    def _put_into_place(self, names: set[str]) -> None:
        """Delete what makes the replaced output whole, and copy the new objects to their names."""
        assert self._last is not None
        with output_errors(self.name / self._last):
            self._delete([self._last])

        def copy(name: str) -> None:
            with output_errors(self.name / name):
                self._store.copy(f"{self._url}/{_NEW}{name}", f"{self._url}/{name}")

        with ThreadPoolExecutor(_COPIED_AT_ONCE) as pool:
            list(pool.map(copy, sorted(names - {self._last})))

    def _complete(self, name: str) -> None:
        content = (self._staging / name).read_bytes()
        with output_errors(self.name / name):
            try:
                self._store.put(f"{self._url}/{name}", content, create=True)
            except FileExistsError:
                # The store may have written it although its answer was lost.
                if (self.name / name).read_bytes() != content:
                    raise self._not_empty() from None

    def _read(self, name: str) -> Any:
        return json.loads((self.name / name).read_bytes())

    def _put(self, name: str, fact: Any, *, create: bool = False) -> None:
        self._store.put(f"{self._url}/{name}", json.dumps(fact).encode(), create=create)

    def _delete(self, names: list[str]) -> None:
        self._store.delete(f"{self._url}/{name}" for name in names)

    def _clear_uploads(self) -> None:
        try:
            abort_uploads(self._store, self._url)
        except OSError as error:
            warn([f"uploads to `{self.name}` that were not completed cannot be removed ({error}): they may cost room"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        shutil.rmtree(self._staging, ignore_errors=True)
        if self._committed or not self._owns:
            return
        with uninterrupted(), suppress(OSError):
            self._clear_uploads()
            if not self._uploaded:
                self._delete([_RUN])
                return
        note_unfinished(str(self.name))
        if isinstance(error, Exception):
            count = len(self._uploaded)
            error.add_note(f"note: `{self.name}` is unfinished; the same call goes on with the {count:,} files there")

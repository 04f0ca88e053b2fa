"""Compare the checksum of each shard once, when it is first used.

A check reads the whole shard, so it is done once for all packs. Processes that are forked share the marks of what was
checked, and pickles carry them: eight workers of a `DataLoader` do not read every shard eight times.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from packsort._options.choices import Verify
from packsort.shards.files import ShardFiles

_MOST_THREADS = 4
_PASSED = 1

Passed = tuple[tuple[int, Any], ...]
"""Indices of shards whose checksums hold, each with the stamp of the file that was checked."""


class ShardChecks:
    """Checks of the shards of one directory.

    Args:
        files: The directory.
        when: Time at which shards are checked.
        passed: Result of `passed` in another process.

    Raises:
        DamagedError: With `when="open"`, a shard was changed or cannot be read.
    """

    def __init__(self, files: ShardFiles, when: Verify, passed: Iterable[tuple[int, Any]] = ()) -> None:
        self.when = when
        self._files = files
        self._seen: set[int] = set()  # of those that are marked: a look at it takes no Python for each shard
        self._marks = mmap.mmap(-1, max(1, len(files.manifest.shards)))  # shared with processes that are forked
        for index, stamp in passed:
            if stamp == files.stamp(index):
                self._marks[index] = _PASSED
        if when == "open":
            self._check_all(range(len(files.manifest.shards)))

    def check(self, indices: Collection[int]) -> None:
        """Check those of some shards that were not checked yet, several at a time.

        Raises:
            DamagedError: A shard was changed or cannot be read.
        """
        if self.when != "never" and not self._seen.issuperset(indices):
            self._check_all(indices)
            self._seen.update(indices)

    def passed(self) -> Passed:
        """Return what was checked, for a process that opens the same directory."""
        return tuple((index, self._files.stamp(index)) for index, mark in enumerate(self._marks[:]) if mark == _PASSED)

    def _check_all(self, indices: Collection[int]) -> None:
        missing = sorted(index for index in indices if self._marks[index] != _PASSED)
        if len(missing) > 1:
            try:
                with ThreadPoolExecutor(min(len(missing), _MOST_THREADS)) as pool:
                    for _ in pool.map(self._check_one, missing):
                        pass
                return
            except RuntimeError:  # no thread can be started; what was checked is marked
                pass
        for index in missing:
            self._check_one(index)

    def _check_one(self, index: int) -> None:
        if self._marks[index] != _PASSED:
            self._files.check_opened(index)
            self._files.check_checksum(index)
            self._marks[index] = _PASSED

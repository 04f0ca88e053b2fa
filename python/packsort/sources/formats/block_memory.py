"""Memory of blocks that are decoded one after another.

A system gives out memory after it has cleared it, which can cost more than what is decoded into it. So the memory of a
block that is gone is used for one that comes.
"""

from __future__ import annotations

import mmap
import weakref
from collections import deque
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_HUGE_PAGE, _HUGE_FROM = 2 << 20, 4 << 20
_SURPLUS = 8  # a block may be in memory that is larger by this part of it


class _Mapping(NamedTuple):
    """Memory from the system, and the first bytes of it that were written to."""

    memory: mmap.mmap
    touched: int


class BlockMemory:
    """Memory for the blocks of some files.

    What blocks have left and what blocks take are never more together than there was of both before, or than blocks
    take, but for an eighth. So whoever bounds the blocks bounds the memory.

    Example:
        >>> memory = BlockMemory()
        >>> block = memory.take(5 << 20)
        >>> start = block.ctypes.data
        >>> del block
        >>> memory.take(4 << 20).ctypes.data == start or not hasattr(mmap, "MADV_HUGEPAGE")
        True
    """

    def __init__(self) -> None:
        # Blocks come and go on any thread, and a child may be forked meanwhile: a deque needs no lock.
        self._left: deque[_Mapping] = deque()

    def take(self, size: int) -> NDArray[np.uint8]:
        """Return memory for a block, whose bytes are any. It is used again when nothing refers to the array.

        A block of several megabytes takes whole huge pages, which the system clears with fewer faults.

        Args:
            size: Bytes of the block.

        Raises:
            OSError, ValueError, OverflowError, MemoryError: There is not as much.
        """
        if size < _HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
            return np.empty(size, np.uint8)
        whole = -(-size // _HUGE_PAGE) * _HUGE_PAGE  # a mapping of whole huge pages begins with one
        left = self._left_for(whole)
        if left is None:
            left = _Mapping(_mapping(whole), whole)
        elif left.touched - whole > whole // _SURPLUS:
            left.memory.madvise(mmap.MADV_DONTNEED, whole, left.touched - whole)
            left = _Mapping(left.memory, whole)
        block = np.frombuffer(left.memory, np.uint8, size)
        used = _Mapping(left.memory, max(whole, left.touched))
        weakref.finalize(block, self._left.append, used).atexit = False
        return block

    def _left_for(self, size: int) -> _Mapping | None:
        """Return a mapping of at least this size. The system gets as much back as the block takes more than is left."""
        found, missing = None, size
        while missing > 0:
            try:
                left = self._left.popleft()
            except IndexError:
                break
            missing -= left.touched
            if found is None and len(left.memory) >= size:
                found = left
        return found


def _mapping(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # of a system without huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory

"""Memory of decoded blocks is used again, by one block at a time, and never exceeds what blocks may take."""

from __future__ import annotations

import mmap
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from packsort.sources.formats.block_memory import BlockMemory

MB = 1 << 20
HUGE_PAGE = 2 * MB
SIZES = st.sampled_from([1, 5 * MB - 1, 5 * MB, 8 * MB, 9 * MB, 24 * MB, 25 * MB])

needs_huge_pages = pytest.mark.skipif(
    not hasattr(mmap, "MADV_HUGEPAGE"), reason="only Linux gives a process large mappings to use again"
)


def whole(size: int) -> int:
    return -(-size // HUGE_PAGE) * HUGE_PAGE if size >= 4 * MB else 0


@given(st.lists(st.tuples(SIZES, st.integers(0, 3)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_blocks_that_live_share_nothing_and_what_is_left_is_bounded(steps: list[tuple[int, int]]) -> None:
    memory = BlockMemory()
    alive: list[NDArray[np.uint8]] = []
    most = 0
    for number, (size, gone) in enumerate(steps):
        del alive[:gone]
        block = memory.take(size)
        assert len(block) == size
        block[:1], block[-1:] = number, number
        alive.append(block)
        del block
        assert not any(np.shares_memory(one, other) for one, other in pairwise(alive))
        most = max(most, sum(whole(len(one)) for one in alive))
        touched = sum(one.touched for one in memory._left) + sum(whole(len(one)) for one in alive)
        assert touched <= most + most // 8
    assert [block[-1] for block in alive] == list(range(len(steps)))[len(steps) - len(alive) :]


@needs_huge_pages
def test_views_of_a_block_keep_its_memory() -> None:
    memory = BlockMemory()
    view = memory.take(5 * MB)[MB : 2 * MB].view(np.int32)
    view[:] = 7
    memory.take(5 * MB)[:] = 1
    assert (view == 7).all()
    start = view.ctypes.data - MB
    del view
    assert start in {memory.take(5 * MB).ctypes.data, memory.take(5 * MB).ctypes.data}


@needs_huge_pages
def test_what_is_left_goes_with_its_owner() -> None:
    memory = BlockMemory()
    block = memory.take(5 * MB)
    left = memory._left
    del memory
    block[:] = 3  # lives on
    assert not left
    del block
    assert len(left) == 1  # which nobody but this test holds


@needs_huge_pages
def test_blocks_come_and_go_on_several_threads() -> None:
    memory = BlockMemory()
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(60):
            block = memory.take((5 + number) * MB)
            block[::4096] = number
            wrong.extend(block[::4096][block[::4096] != number].tolist())
            del block

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(memory._left) <= 4


def test_no_memory_is_an_error() -> None:
    with pytest.raises((OSError, ValueError, OverflowError, MemoryError)):
        BlockMemory().take(1 << 62)

"""Blocks of files that are known, and those of them that are in memory or mapped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort.sources.formats.reader import Blocks
from packsort.sources.tokens.block_rows import BlockColumns


class BlockFile(Protocol):
    """A file that token columns are gathered from.

    Attributes:
        path: The file.
        rows: Number of its rows.
    """

    path: str
    rows: int

    def open(self) -> Blocks:
        """Return the blocks of the file.

        Raises:
            DamagedError: It is not the file that was meant.
        """

    def check(self) -> None:
        """Raise a `DamagedError` if the file is not the one that was opened."""


class BlockKey(NamedTuple):
    """A block of a file; a file that is not open yet is one block of number -1."""

    file: int
    block: int


@dataclass(frozen=True, eq=False)
class BlockView:
    """Blocks that are known, those of them that are in memory or mapped, and columns made of these.

    Attributes:
        keys: All blocks, in order of their rows.
        starts: First row of each block: int64 (blocks,).
        base: First row of each block in `columns`, or -1: int64 (blocks,).
        bytes: Memory that each block takes once it is read; 0 for those that are mapped: int64 (blocks,).
        used: Time of the last call that used each block: int64 (blocks,), changed in place.
        tables: Tables of the blocks in `columns`.
        columns: Columns of these blocks.
        whole: Whether `columns` have all rows, so that rows keep their numbers.
    """

    keys: tuple[BlockKey, ...]
    starts: NDArray[np.int64]
    base: NDArray[np.int64]
    bytes: NDArray[np.int64]
    used: NDArray[np.int64]
    tables: dict[BlockKey, pa.Table]
    columns: BlockColumns
    whole: bool

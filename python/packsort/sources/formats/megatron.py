"""Reader of Megatron's indexed data: tokens in a `.bin` file, and their documents in an `.idx` file beside it.

The index is little-endian. `IndexedDatasetBuilder` of Megatron-Core (`megatron/core/datasets/indexed_dataset.py`)
writes it as:

    9 bytes        MMIDIDX and two bytes of 0
    uint64         version, 1
    uint8          code of the type of tokens
    uint64         number of sequences, S
    uint64         number of documents and one more, D
    int32 (S,)     tokens of each sequence
    int64 (S,)     first byte of each sequence in the `.bin` file
    int64 (D,)     first sequence of each document, and S at the end
    int8 (S,)      mode of each sequence, only where there are images among them

A document is a row: its sequences, which `preprocess_data.py --split-sentences` makes of sentences, are joined. The
index is read block by block and never mapped. Only reading a column takes memory for each document, its offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LENGTH
from packsort.sources.formats.megatron_names import refuse_no_tokens, tokens_of
from packsort.sources.formats.reader import naming
from packsort.sources.formats.stamp import refuse_changed, stamp_of
from packsort.sources.formats.suffixes import INDEX_SUFFIX

_HEADER = struct.Struct("<9sQBQQ")
_VERSION = 1
_INTEGERS = {1: np.uint8, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 8: np.uint16}
_FLOATS = {6: "float64", 7: "float32"}
_BLOCK = 1 << 20  # values of the index that are read at a time


class MegatronReader:
    """Pair of an `.idx` and a `.bin` file, whose tokens are mapped into memory.

    Its columns are `input_ids`, lists of the integers that the `.bin` file holds, and `length`.

    Args:
        path: The index.
        memory_map: Whether to map the tokens into memory, so that reading copies nothing.

    Raises:
        SourceNotFoundError: There is no `.bin` file.
        SourceError: The two files do not fit each other, or hold something other than tokens in the order in which
            Megatron writes them.
    """

    def __init__(self, path: str, *, memory_map: bool = True) -> None:
        if not path.endswith(INDEX_SUFFIX):
            raise SourceError(f"`{path}` is Megatron's index of a .bin file: its name must end in .idx")
        self.path = path
        self._tokens = tokens_of(path)
        self._memory_map = memory_map
        refuse_no_tokens(self._tokens, path)
        self._stamp, self._tokens_stamp = stamp_of(path), stamp_of(self._tokens)
        size, tokens_size = self._stamp[1], self._tokens_stamp[1]
        self._tokens_bytes: int = tokens_size
        self.bytes = size + tokens_size
        with naming(path), open(path, "rb") as file:
            header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise _damaged(path, f"it has {size:,} bytes, and its header alone has {_HEADER.size}")
        _, version, code, self._sequences, indices = _HEADER.unpack(header)
        if version != _VERSION:
            raise SourceError(f"`{path}` must have version {_VERSION} of Megatron's index, got {version}")
        self._dtype = _dtype(path, code)
        self._check_size(size, indices)
        self.rows: int = indices - 1
        self._check_sequences(tokens_size)
        self._check_documents()
        kind = pa.from_numpy_dtype(self._dtype)
        self.schema = pa.schema({INPUT_IDS: pa.large_list(kind), LENGTH: pa.int64()})

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Read all rows of some columns, as `Reader.read`."""
        return pa.Table.from_batches([self._batch(columns, 0, self.rows)])

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Read some columns in record batches, as `Reader.batches`."""
        for first in range(0, self.rows, rows):
            yield self._batch(columns, first, min(first + rows, self.rows))

    def list_lengths(self, columns: Sequence[str]) -> dict[str, NDArray[np.int64]]:
        """Count the tokens of each document from the index."""
        return {name: np.diff(self._offsets(0, self.rows)) for name in columns}

    def decoded_bytes(self, columns: Sequence[str]) -> int:
        """Return the bytes that some columns take in memory."""
        tokens = self._tokens_bytes if INPUT_IDS in columns else 0
        return tokens + 8 * self.rows * len(columns)

    def _batch(self, columns: Sequence[str], first: int, end: int) -> pa.RecordBatch:
        """Read some columns of the documents `first` to `end`."""
        offsets = self._offsets(first, end)
        found: dict[str, pa.Array] = {}
        if LENGTH in columns:
            found[LENGTH] = from_numpy(np.diff(offsets))
        if INPUT_IDS in columns:
            start = int(offsets[0])
            values = self._values(start, int(offsets[-1]))
            found[INPUT_IDS] = pa.LargeListArray.from_arrays(from_numpy(offsets - start), values)
        schema = pa.schema([self.schema.field(name) for name in columns])
        return pa.RecordBatch.from_arrays([found[name] for name in columns], schema=schema)

    def _offsets(self, first: int, end: int) -> NDArray[np.int64]:
        """Return the first token of each of some documents and of the one after them: int64 (documents + 1,)."""
        offsets = np.empty(end - first + 1, np.int64)
        for start in range(0, len(offsets), _BLOCK):
            sequences = self._read_documents(first + start, min(_BLOCK, len(offsets) - start))
            offsets[start : start + len(sequences)] = self._pointers(sequences)
        return offsets

    def _pointers(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the first token of each sequence, given in ascending order: int64 (sequences,)."""
        found = np.full(len(sequences), self._num_tokens, np.int64)  # what no sequence begins at
        low, past = int(sequences[0]), min(int(sequences[-1]) + 1, self._sequences)
        for start in range(low, past, _BLOCK):
            pointers = self._read_pointers(start, min(_BLOCK, past - start))
            here = slice(*np.searchsorted(sequences, [start, start + len(pointers)]))
            found[here] = pointers[sequences[here] - start] // self._dtype.itemsize
        return found

    def _values(self, first: int, end: int) -> pa.Array:
        """Return the tokens `first` to `end`."""
        with naming(self._tokens):
            opened = pa.memory_map(self._tokens) if self._memory_map and end > first else pa.OSFile(self._tokens)
            with opened as file:
                refuse_changed(self._tokens, self._tokens_stamp)
                file.seek(first * self._dtype.itemsize)
                data = file.read_buffer((end - first) * self._dtype.itemsize)
        if data.size != (end - first) * self._dtype.itemsize:
            raise SourceError(f"`{self._tokens}` was changed since it was opened: open the source anew")
        return pa.Array.from_buffers(pa.from_numpy_dtype(self._dtype), end - first, [None, data])

    def _check_size(self, size: int, indices: int) -> None:
        """Compare the numbers of the header with the size of the file, before anything is read by them."""
        if not indices:
            raise _damaged(self.path, "it counts no document index, and the first is always 0")
        expected = _HEADER.size + 12 * self._sequences + 8 * indices
        self._has_modes = self._sequences > 0 and size == expected + self._sequences
        if size != expected and not self._has_modes:
            raise _damaged(
                self.path,
                f"it has {size:,} bytes, and {self._sequences:,} sequences and {indices - 1:,} documents need "
                f"{expected:,}",
            )

    def _check_sequences(self, tokens_size: int) -> None:
        end = 0
        for start in range(0, self._sequences, _BLOCK):
            count = min(_BLOCK, self._sequences - start)
            lengths = self._read("<i4", _HEADER.size + 4 * start, count).astype(np.int64)
            if (at := _first(lengths < 0)) is not None:
                raise _damaged(self.path, f"sequence {start + at} has {lengths[at]} tokens")
            ends = np.cumsum(lengths) * self._dtype.itemsize + end
            begins = np.concatenate([[end], ends[:-1]])
            pointers = self._read_pointers(start, count)
            if (at := _first(pointers != begins)) is not None:
                raise SourceError(
                    f"`{self.path}`: sequence {start + at} must begin at byte {begins[at]} of the .bin file, where the "
                    f"one before it ends, got {pointers[at]}: write both files anew with Megatron's "
                    "`IndexedDatasetBuilder`"
                )
            self._check_modes(start, count)
            end = int(ends[-1])
        if end != tokens_size:
            raise SourceError(
                f"`{self._tokens}` must have the {end:,} bytes that `{self.path}` counts, got {tokens_size:,}: one of "
                "them is unfinished or belongs to another"
            )
        self._num_tokens = end // self._dtype.itemsize

    def _check_modes(self, start: int, count: int) -> None:
        if not self._has_modes:
            return
        modes = self._read("<i1", _HEADER.size + 12 * self._sequences + 8 * (self.rows + 1) + start, count)
        if (at := _first(modes != 0)) is not None:
            raise SourceError(
                f"`{self.path}`: sequence {start + at} has mode {modes[at]}, so it is no text: packsort packs text only"
            )

    def _check_documents(self) -> None:
        before = 0
        for start in range(0, self.rows + 1, _BLOCK):
            sequences = self._read_documents(start, min(_BLOCK, self.rows + 1 - start))
            if not start and sequences[0]:
                raise _damaged(self.path, f"the first document begins at sequence {sequences[0]}")
            steps = np.diff(sequences, prepend=before)
            if (at := _first(steps < 0)) is not None:
                raise _damaged(self.path, f"document {start + at} begins before the one before it")
            before = int(sequences[-1])
        if before != self._sequences:
            raise SourceError(
                f"`{self.path}`: its {self.rows:,} documents end at sequence {before:,} of {self._sequences:,}, so the "
                "rest belongs to no document: end each with `end_document` of Megatron's `IndexedDatasetBuilder`"
            )

    def _read_pointers(self, start: int, count: int) -> NDArray[np.int64]:
        return self._read("<i8", _HEADER.size + 4 * self._sequences + 8 * start, count)

    def _read_documents(self, start: int, count: int) -> NDArray[np.int64]:
        return self._read("<i8", _HEADER.size + 12 * self._sequences + 8 * start, count)

    def _read(self, dtype: str, offset: int, count: int) -> NDArray[Any]:
        """Read numbers of the index: (count,)."""
        with naming(self.path), open(self.path, "rb") as file:
            refuse_changed(self.path, self._stamp)
            file.seek(offset)
            found = np.fromfile(file, dtype, count)
        if len(found) != count:
            raise SourceError(f"`{self.path}` was changed since it was opened: open the source anew")
        return found


def _dtype(path: str, code: int) -> np.dtype[Any]:
    if code in _FLOATS:
        raise SourceError(f"`{path}` must hold integers as tokens, got {_FLOATS[code]}")
    if code not in _INTEGERS:
        raise _damaged(path, f"no type of tokens has the code {code}")
    return np.dtype(_INTEGERS[code])


def _damaged(path: str, reason: str) -> SourceError:
    return SourceError(f"`{path}` is a damaged index of Megatron: {reason}")


def _first(wrong: NDArray[np.bool_]) -> int | None:
    """Return the index of the first True, or None."""
    return int(np.argmax(wrong)) if wrong.any() else None

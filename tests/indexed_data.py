"""Megatron's `.bin` and `.idx` files, written and read from the published layout, and by Megatron-Core if it is there.

The layout is that of `megatron/core/datasets/indexed_dataset.py`, read in Megatron-Core 0.16.1. Nothing here uses
packsort.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CODES = {"uint8": 1, "int8": 2, "int16": 3, "int32": 4, "int64": 5, "float64": 6, "float32": 7, "uint16": 8}

Document = Sequence[Sequence[int]]
"""Sequences of a document."""


def index_bytes(
    lengths: Sequence[int],
    documents: Sequence[int],
    dtype: str = "int32",
    *,
    pointers: Sequence[int] | None = None,
    modes: Sequence[int] | None = None,
    magic: bytes = b"MMIDIDX\x00\x00",
    version: int = 1,
    code: int | None = None,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """Return an index; `documents` are the numbers of first sequences, with that of all at the end."""
    size = np.dtype(dtype).itemsize
    begins = np.concatenate([[0], np.cumsum(lengths)[:-1]]) * size if len(lengths) else np.empty(0)
    sequences, indices = (len(lengths), len(documents)) if counts is None else counts
    parts = [
        magic,
        struct.pack("<Q", version),
        struct.pack("<B", CODES[dtype] if code is None else code),
        struct.pack("<Q", sequences),
        struct.pack("<Q", indices),
        np.array(lengths, "<i4").tobytes(),
        np.array(begins if pointers is None else pointers).astype("<i8").tobytes(),
        np.array(documents, "<i8").tobytes(),
        b"" if modes is None else np.array(modes, "<i1").tobytes(),
    ]
    return b"".join(parts)


def write_pair(prefix: Path, documents: Sequence[Document], dtype: str = "int32") -> Path:
    """Write documents, and return the index."""
    sequences = [sequence for document in documents for sequence in document]
    tokens = [token for sequence in sequences for token in sequence]
    ends = np.cumsum([0, *map(len, documents)]).tolist()
    Path(f"{prefix}.bin").write_bytes(np.array(tokens, dtype).tobytes())
    index = Path(f"{prefix}.idx")
    index.write_bytes(index_bytes(list(map(len, sequences)), ends, dtype))
    return index


def build_pair(prefix: Path, documents: Sequence[Document], dtype: str = "int32") -> Path:
    """Write documents as `write_pair` does, by Megatron-Core."""
    builder = _indexed_dataset().IndexedDatasetBuilder(f"{prefix}.bin", dtype=getattr(np, dtype))
    for document in documents:
        tokens = [token for sequence in document for token in sequence]
        builder.add_document(np.array(tokens), list(map(len, document)))
    builder.finalize(f"{prefix}.idx")
    return Path(f"{prefix}.idx")


def read_pair(prefix: Path) -> list[NDArray[Any]]:
    """Read the sequences of a pair with one sequence a document."""
    index = Path(f"{prefix}.idx").read_bytes()
    magic, version, code, sequences, indices = struct.unpack_from("<9sQBQQ", index)
    assert (magic, version) == (b"MMIDIDX\x00\x00", 1)
    (dtype,) = (name for name, number in CODES.items() if number == code)
    lengths = np.frombuffer(index, "<i4", sequences, 34)
    pointers = np.frombuffer(index, "<i8", sequences, 34 + 4 * sequences)
    documents = np.frombuffer(index, "<i8", indices, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * indices
    assert documents.tolist() == list(range(sequences + 1))
    data = Path(f"{prefix}.bin").read_bytes()
    return [np.frombuffer(data, dtype, length, pointer) for length, pointer in zip(lengths, pointers, strict=True)]


def read_with_core(prefix: Path) -> list[NDArray[Any]]:
    """Read the sequences of a pair by Megatron-Core."""
    dataset = _indexed_dataset().IndexedDataset(str(prefix))
    return [dataset[number].copy() for number in range(len(dataset))]  # it unmaps them when it is deleted


def _indexed_dataset() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says which GPU libraries are missing
        from megatron.core.datasets import indexed_dataset

    return indexed_dataset


_HAS_CORE = find_spec("megatron") is not None and find_spec("megatron.core") is not None

WRITERS: list[Callable[..., Path]] = [write_pair, *([build_pair] if _HAS_CORE else [])]
READERS: list[Callable[[Path], list[NDArray[Any]]]] = [read_pair, *([read_with_core] if _HAS_CORE else [])]

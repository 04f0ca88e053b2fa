"""Packs as Megatron's indexed data: each pack one document, so that GPT training reads packs as its samples.

`GPTDataset` of Megatron-Core joins documents and cuts the result every `sequence_length` tokens. Where every document
has exactly that many, it cuts between them: a sample is a pack. Packs are therefore filled up to `max_length`.

The files have no place for labels and none for sequences. Megatron finds where a sequence ends by its end-of-document
token, and the padding by the tokenizer's padding token.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import list_offsets, to_numpy
from packsort.errors import OptionError, SourceError
from packsort.schema import INPUT_IDS, LABELS, NO_LOSS, PADDING, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.megatron import combined
from packsort.sources.formats.megatron_names import MAGIC

COLUMNS = (INPUT_IDS, LABELS, SEQ_LENGTHS, SEQUENCE_IDS)
"""Columns of packs that the documents are made of."""

_VERSION = 1
_INT32 = 4  # the code of the type of tokens, which is that of `IndexedDatasetBuilder` unless it is told another one
_BLOCK = 1 << 20  # numbers of the index that are written at a time


class Documents:
    """Converter of packs to documents of one size, which notes what Megatron must know of them.

    Args:
        max_length: Tokens of a document.
        pad_token_id: Token of padding; None where no pack may need it.

    Attributes:
        count: Documents so far.
        ends: Last tokens of sequences that others follow in their pack; no more than three are kept.
    """

    def __init__(self, max_length: int, pad_token_id: int | None) -> None:
        self.count = 0
        self.ends: set[int] = set()
        self._max_length = max_length
        self._pad_token_id = pad_token_id

    def of(self, table: pa.Table, where: str, first_pack: int = 0) -> NDArray[np.int32]:
        """Convert packs.

        Args:
            table: Packs, as a shard holds them.
            where: Names the shard in messages.
            first_pack: Number of the first pack in its shard, for messages.

        Returns:
            Tokens of the documents, (packs, max_length).

        Raises:
            SourceError: A label is not the token in its place, so loss is not on every token of a sequence but its
                first.
            OptionError: A pack has padding or is not full, and there is no token for padding.
        """
        columns = {name: combined(table[name]) for name in COLUMNS if name in table.column_names}
        tokens = to_numpy(columns[INPUT_IDS].flatten())
        offsets = list_offsets(columns[INPUT_IDS])  # (packs + 1,)
        lengths = to_numpy(columns[SEQ_LENGTHS].flatten())  # (segments,)
        segments = list_offsets(columns[SEQ_LENGTHS])  # (packs + 1,)
        ids = to_numpy(columns[SEQUENCE_IDS].flatten()) if SEQUENCE_IDS in columns else np.zeros(len(lengths), np.int64)
        if LABELS in columns:
            _check_loss(tokens, to_numpy(columns[LABELS].flatten()), lengths, ids, offsets, where, first_pack)
        self._note_ends(tokens, lengths, ids, segments)
        padding = np.repeat(ids == PADDING, lengths)
        sizes = np.diff(offsets)
        pad = self._pad_token_id
        if pad is None:
            if padding.any() or (sizes < self._max_length).any():
                raise OptionError(
                    "packs are filled up to max_length with format='megatron-bin': pass `pad_token_id`, the padding "
                    "token of Megatron's tokenizer, or -1 where it has none or one that is also another special token"
                )
            pad = 0
        found = np.full((len(sizes), self._max_length), pad, np.int32)
        found[np.arange(self._max_length) < sizes[:, None]] = np.where(padding, np.int32(pad), tokens)
        self.count += len(sizes)
        return found

    def _note_ends(
        self, tokens: NDArray[np.int32], lengths: NDArray[np.int32], ids: NDArray[np.int64], segments: NDArray[np.int64]
    ) -> None:
        if len(self.ends) > 1:
            return
        packs = np.repeat(np.arange(len(segments) - 1), np.diff(segments))
        real = ids != PADDING
        ends, packs, ids = np.cumsum(lengths, dtype=np.int64)[real] - 1, packs[real], ids[real]
        followed = (packs[1:] == packs[:-1]) & (ids[1:] >= 0)
        self.ends.update(np.unique(tokens[ends[:-1][followed]])[:2].tolist())


def write_index(file: BinaryIO, documents: int, max_length: int) -> None:
    """Write the index of documents of one size, as `IndexedDatasetBuilder` does with one sequence a document.

    `sources.formats.megatron`, which reads it, describes the layout.

    Args:
        file: The file.
        documents: Number of documents.
        max_length: Tokens of each.
    """
    file.write(MAGIC + struct.pack("<QBQQ", _VERSION, _INT32, documents, documents + 1))
    for numbers in _blocks(documents):
        file.write(np.full(len(numbers), max_length, "<i4").tobytes())
    for numbers in _blocks(documents):
        file.write((numbers * (4 * max_length)).astype("<i8").tobytes())
    for numbers in _blocks(documents + 1):
        file.write(numbers.astype("<i8").tobytes())


def _blocks(count: int) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers from 0 to `count`, some at a time."""
    for start in range(0, count, _BLOCK):
        yield np.arange(start, min(start + _BLOCK, count), dtype=np.int64)


def _check_loss(
    tokens: NDArray[np.int32],
    labels: NDArray[np.int32],
    lengths: NDArray[np.int32],
    ids: NDArray[np.int64],
    offsets: NDArray[np.int64],
    where: str,
    first_pack: int,
) -> None:
    """Refuse labels that differ from the tokens; the first token of a sequence is never predicted."""
    wrong = (labels != tokens) & np.repeat(ids >= 0, lengths)
    wrong[(np.cumsum(lengths, dtype=np.int64) - lengths)[lengths > 0]] = False
    if not wrong.any():
        return
    at = int(np.argmax(wrong))
    pack = int(np.searchsorted(offsets, at, "right")) - 1
    fault = "carries no loss" if labels[at] == NO_LOSS else f"has the label {labels[at]}"
    raise SourceError(
        f"{where}: pack {first_pack + pack}: token {at - offsets[pack]} {fault}, and Megatron's .bin files have no "
        "place for labels: export with format='megatron', which Megatron-Bridge reads"
    )

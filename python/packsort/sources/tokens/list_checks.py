"""Lengths of the lists of a file, without the tokens where its format allows it, checked against each other."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from packsort._options.choices import EmptySequences
from packsort.schema import ATTENTION_MASK, INPUT_IDS, LABELS, LENGTH
from packsort.sources.source import Source
from packsort.sources.tokens import rules
from packsort.sources.tokens.checked import checked_column
from packsort.sources.tokens.padding import Padding, find_padding
from packsort.sources.tokens.roles import MASKS

_MASK_ROWS = 512  # of `attention_mask`, which is read to its end


class ListLengths:
    """Lengths of the lists of one file, checked against each other.

    Args:
        source: The rows.
        index: Index of the file in `source.files`.
        first: Row of the source that is the file's first.
        lists: List columns of numbers, with `input_ids`.
        empty: Treatment of sequences without tokens.

    Attributes:
        found: Values of each column in each row, -1 where it is null: int64 (rows,) each.
        kept: Tokens of each row without padding: int64 (rows,).
        left_out: Tokens of padding of each row: int64 (rows,).
    """

    def __init__(self, source: Source, index: int, first: int, lists: list[str], empty: EmptySequences) -> None:
        where = _where(source, first)
        self.found = source.list_lengths(index, lists)
        lengths = self.found[INPUT_IDS]
        for name in lists:
            if name not in (INPUT_IDS, LABELS, *MASKS):
                continue
            null = np.flatnonzero(self.found[name] < 0)
            if len(null):
                raise rules.null_list(name, where(int(null[0])))
            rules.check_same_lengths(name, self.found[name], lengths, where)
        self.kept, self.left_out = lengths, np.zeros(len(lengths), np.int64)
        if ATTENTION_MASK in lists:
            parts = []
            for _, start, batch in _of_file(source, index, [ATTENTION_MASK]):
                padding = _padding_of(batch, _where(source, first + start))
                rows = len(batch)
                parts.append(np.zeros(rows, np.int64) if padding is None else padding.left_out)
            self.left_out = np.concatenate([np.empty(0, np.int64), *parts])
            self.kept = lengths - self.left_out
        if empty == "error":
            rules.check_not_empty(self.kept, where, self.left_out)
        if LENGTH in source.schema.names and pa.types.is_integer(source.schema.field(LENGTH).type):
            rules.check_stored_lengths(source.read_file(index, [LENGTH])[LENGTH], lengths, self.kept, where)


def _of_file(source: Source, index: int, columns: list[str]) -> Iterator[tuple[int, int, pa.RecordBatch]]:
    for found in source.batches(columns, _MASK_ROWS, from_file=index):
        if found[0] != index:
            return
        yield found


def _padding_of(batch: pa.RecordBatch, where: rules.Where) -> Padding | None:
    mask, _ = checked_column(pa.chunked_array([batch.column(0)]), ATTENTION_MASK, where)
    return find_padding(mask, where)


def _where(source: Source, first: int) -> rules.Where:
    return lambda row: source.where(first + row)

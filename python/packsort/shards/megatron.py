"""Packs as the rows of Megatron-Bridge's packed Parquet, and the metadata that describes them.

Its reader (`GPTSFTPackedParquetDataset`) makes inputs and labels of each sequence by removing the last token from the
one and the first token from the other. A sequence of n tokens is thus read as n - 1:

- With `pad_to_multiple_of`, each sequence gets one token of padding more, so that it is read with its multiple. Without
  this, context parallelism could not cut it. A pack is still read with at most `max_length` tokens.
- Without it, a sequence of one token gets one of padding, because the reader does not expect to read no tokens.
- Separators and padding belong to the sequence before them. On its own, a separator would be read as no tokens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import from_numpy, to_numpy
from packsort.errors import SourceError
from packsort.schema import INPUT_IDS, LABELS, NO_LOSS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.shards.manifest import Manifest

COLUMNS = (INPUT_IDS, LABELS, SEQ_LENGTHS, SEQUENCE_IDS)
"""Columns of packs that the rows are made of."""

SCHEMA = pa.schema(
    {"input_ids": pa.list_(pa.int32()), "seq_start_id": pa.list_(pa.int32()), "loss_mask": pa.list_(pa.int8())}
)
"""Columns of the rows."""


@dataclass(frozen=True)
class RowFormat:
    """Format that the rows of all shards share.

    Attributes:
        multiple: Every sequence is read with a multiple of this many tokens.
        padding: Token id of padding.
        pack_size: Most tokens of a row as it is read.
    """

    multiple: int
    padding: int
    pack_size: int

    @classmethod
    def of(cls, manifest: Manifest) -> RowFormat:
        """Return the format of the rows of a packed directory."""
        multiple = manifest.options.pad_to_multiple_of
        pack_size = manifest.max_length // multiple * multiple
        return cls(multiple, manifest.options.pad_token_id or 0, pack_size)

    @property
    def metadata_name(self) -> str:
        """Name of the metadata file: the one that Megatron-Bridge chooses, after an underscore.

        Readers of a whole folder (pyarrow, Spark, packsort) take a file for no data if its name starts so.
        """
        return f"_{self.pack_size}_metadata.jsonl"

    def rows(self, table: pa.Table, where: str, first_pack: int = 0) -> pa.Table:
        """Convert packs to rows.

        Args:
            table: Packs, as a shard holds them.
            where: Names the shard in messages.
            first_pack: Number of the first pack in its shard, for messages.

        Returns:
            One row for each pack: `input_ids` list<int32>, `seq_start_id` list<int32>, `loss_mask` list<int8>.

        Raises:
            SourceError: A label is neither the token in its place nor -100.
        """
        columns = {name: combined(table[name]) for name in COLUMNS if name in table.column_names}
        tokens = to_numpy(columns[INPUT_IDS].flatten())
        token_offsets = _offsets(columns[INPUT_IDS])  # (packs + 1,)
        trained = _trained(columns, token_offsets, where, first_pack)
        lengths, sequence_offsets = _sequences(columns)
        ends = np.cumsum(lengths)
        mask = np.zeros(len(tokens), np.int8)
        mask[:-1] = trained[1:]
        mask[ends - 1] = 0
        added = np.ones_like(lengths) if self.multiple > 1 else (lengths == 1).astype(np.int64)
        added_before = np.concatenate([[0], np.cumsum(added)])  # (sequences + 1,)
        if added_before[-1]:
            places = np.arange(len(tokens)) + np.repeat(added_before[:-1], lengths)
            size = len(tokens) + int(added_before[-1])
            tokens, mask = _spread(tokens, places, size, self.padding), _spread(mask, places, size, 0)
        row_offsets = token_offsets + added_before[sequence_offsets]
        starts = ends - lengths + added_before[:-1]
        starts -= np.repeat(row_offsets[:-1], np.diff(sequence_offsets))
        rows, sequences = _int32(row_offsets), _int32(sequence_offsets)
        return pa.table(
            [
                pa.ListArray.from_arrays(rows, from_numpy(tokens)),
                pa.ListArray.from_arrays(sequences, _int32(starts)),
                pa.ListArray.from_arrays(rows, from_numpy(mask)),
            ],
            schema=SCHEMA,
        )


class Metadata:
    """The metadata that Megatron-Bridge reads for fixed shapes (`pad_cu_seqlens`), counted over all rows."""

    def __init__(self, pack_size: int) -> None:
        self._pack_size = pack_size
        self._packs = self._sequences = self._tokens = self._longest = self._most = 0
        self._shortest_pack = pack_size

    def add(self, rows: pa.Table) -> None:
        """Count rows, in tokens as they are read."""
        starts = combined(rows["seq_start_id"])
        sequences = np.diff(_offsets(starts))  # (packs,)
        stored = np.diff(_offsets(combined(rows["input_ids"])))  # (packs,)
        ends = np.append(to_numpy(starts.flatten())[1:], 0)
        ends[np.cumsum(sequences) - 1] = stored
        self._packs += len(sequences)
        self._sequences += int(sequences.sum())
        self._tokens += int((stored - sequences).sum())
        self._longest = max(self._longest, int((ends - to_numpy(starts.flatten())).max()) - 1)
        self._most = max(self._most, int(sequences.max()))
        self._shortest_pack = min(self._shortest_pack, int((stored - sequences).min()))

    def to_json(self) -> str:
        """Return the text of the file: a list with one entry for each data set, here one."""
        facts = {
            "dataset_max_seqlen": self._longest,
            "max_samples_per_bin": self._most,
            "packing_factor": round(self._sequences / self._packs, 2),
            "packing_efficiency": round(100 * self._tokens / (self._packs * self._pack_size), 2),
            "pack_size": self._pack_size,
            "min_packed_seqlen": self._shortest_pack,
        }
        return json.dumps([facts]) + "\n"


def _trained(
    columns: dict[str, pa.ListArray], token_offsets: NDArray[np.int64], where: str, first_pack: int
) -> NDArray[np.bool_]:
    """Return which tokens carry loss: (tokens,)."""
    tokens = to_numpy(columns[INPUT_IDS].flatten())
    trained = np.ones(len(tokens), bool)
    if LABELS in columns:
        labels = to_numpy(columns[LABELS].flatten())
        trained = labels != NO_LOSS
        other = np.flatnonzero(trained & (labels != tokens))
        if len(other):
            pack = int(np.searchsorted(token_offsets, other[0], "right")) - 1
            raise SourceError(
                f"{where}: pack {first_pack + pack}: label at token {other[0] - token_offsets[pack]} must be the "
                f"token, {tokens[other[0]]}, or {NO_LOSS} with format='megatron', got {labels[other[0]]}"
            )
    if SEQUENCE_IDS in columns:
        lengths = to_numpy(columns[SEQ_LENGTHS].flatten())
        trained &= np.repeat(to_numpy(columns[SEQUENCE_IDS].flatten()) >= 0, lengths)
    return trained


def _sequences(columns: dict[str, pa.ListArray]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Join each segment of padding or of a separator to the sequence before it.

    Returns:
        Tokens of each sequence, (sequences,), and first sequence of each pack, (packs + 1,).
    """
    lengths = to_numpy(columns[SEQ_LENGTHS].flatten())
    offsets = _offsets(columns[SEQ_LENGTHS])  # (packs + 1,)
    begins = np.ones(len(lengths), bool)  # segments that begin a sequence
    if SEQUENCE_IDS in columns:
        begins = to_numpy(columns[SEQUENCE_IDS].flatten()) >= 0
        begins[offsets[:-1]] = True
    joined = np.add.reduceat(lengths, np.flatnonzero(begins), dtype=np.int64)
    return joined, np.concatenate([[0], np.cumsum(begins)])[offsets]


def _spread(values: NDArray[Any], places: NDArray[np.int64], size: int, other: int) -> NDArray[Any]:
    """Return an array with `values` at `places`, and `other` everywhere else."""
    spread = np.full(size, other, values.dtype)
    spread[places] = values
    return spread


def combined(column: pa.ChunkedArray) -> pa.ListArray:
    """Return a column as one array."""
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    """Return the offsets of lists, from 0: int64 (rows + 1,)."""
    offsets = to_numpy(lists.offsets).astype(np.int64)
    offsets -= offsets[0]
    return offsets


def _int32(values: NDArray[np.int64]) -> pa.Array:
    return from_numpy(values.astype(np.int32))

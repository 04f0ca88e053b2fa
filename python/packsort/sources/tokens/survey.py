"""Read every token of a source once, block by block, and keep what planning needs: lengths, and which rows carry loss.

`read_tokens` checks the same and keeps the tokens; here their memory is that of one block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from packsort._options.choices import EmptySequences
from packsort._progress import Stage, log_stage
from packsort.schema import ATTENTION_MASK, INPUT_IDS, LOSS_MASKS
from packsort.sources.formats.block_memory import BlockMemory
from packsort.sources.source import Source
from packsort.sources.tokens.checked import CheckedRows
from packsort.sources.tokens.disagreeing import uneven_across_files
from packsort.sources.tokens.roles import MASKS, ColumnRoles, column_roles, fits, unknown_masks
from packsort.sources.tokens.uses import ColumnUses

_ROWS_AT_A_TIME = 1 << 15  # of a mapped file, which is one block


@dataclass(frozen=True)
class TokenSurvey:
    """Facts about the tokens of a source whose rows can be read in any order.

    Attributes:
        source: The source.
        stored: Columns that packs are gathered from, as `list` or `large_list`: token columns and masks of the loss.
        packed: Token columns of packs, as `list`.
        left_out: The source's other columns, which are not packed.
        lengths: Tokens of each row without padding: int64 (rows,).
        first: First token of each row that is no padding: int32 (rows,); None where there is no padding.
        trained: Whether a token of each row carries loss: bool (rows,); None where there are no labels.
        uses: What became of columns that are not packed as they are.
    """

    source: Source
    stored: pa.Schema
    packed: pa.Schema
    left_out: tuple[str, ...]
    lengths: NDArray[np.int64]
    first: NDArray[np.int32] | None
    trained: NDArray[np.bool_] | None
    uses: ColumnUses


def survey_tokens(source: Source, empty: EmptySequences = "error", stage: Stage = log_stage) -> TokenSurvey:
    """Read and check all token columns of a source, and keep none of their tokens.

    Args:
        source: Rows with `input_ids` in Parquet or Arrow files.
        empty: Treatment of sequences without tokens; `"drop"` gives them length 0, and `plan` then drops them.
        stage: Progress reporter, as for `packsort.write_shards`.

    Raises:
        SourceError: A file cannot be read in any order; or as for `read_tokens`.

    Example:
        >>> import pyarrow.parquet as pq, tempfile
        >>> from packsort.sources.source import open_source
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pq.write_table(pa.table({"input_ids": [[1, 2], [3]]}), f"{folder}/a.parquet")
        ...     survey_tokens(open_source(f"{folder}/a.parquet")).lengths
        array([2, 1])
    """
    with source.naming():
        roles = column_roles(source.schema)
    for index in range(len(source.files)):
        source.blocks(index)  # refuses what cannot be read in any order before anything is read
    uneven = uneven_across_files(source, roles.lists)
    columns = [name for name in roles.read if name not in uneven]
    pieces = _Pieces()
    with stage("reading", total=source.num_rows, unit="rows") as advance:
        for first, rows in _stretches(source, columns):
            pieces.add(CheckedRows(rows, source, first, empty))
            advance(rows.num_rows)
    lengths = np.concatenate(pieces.lengths)
    for name, found in pieces.found.items():
        counted = np.concatenate(found)
        if not fits(name, counted, lengths):
            uneven[name] = int((counted != lengths).sum())
    packed = [name for name in roles.lists if name not in uneven]
    more = [name for name in pieces.found if name not in uneven]
    if more:  # only now is it known that they have a value for each token
        own = [name for name in (INPUT_IDS, ATTENTION_MASK) if name in columns]
        for first, rows in _stretches(source, [*own, *more]):
            CheckedRows(rows, source, first, "drop").read([INPUT_IDS, *more])
    return _survey(source, roles, uneven, packed, pieces)


class _Pieces:
    """Facts about stretches of rows, one after another."""

    def __init__(self) -> None:
        self.lengths: list[NDArray[np.int64]] = []
        self.left_out: list[NDArray[np.int64]] = []
        self.first: list[NDArray[np.int32]] = []
        self.trained: list[NDArray[np.bool_]] = []
        self.found: dict[str, list[NDArray[np.int64]]] = {}

    def add(self, rows: CheckedRows) -> None:
        """Add the facts of the rows that follow."""
        self.lengths.append(rows.lengths)
        self.left_out.append(rows.padding_left_out)
        first = np.zeros(len(rows.lengths), np.int32) if rows.padding is None else rows.padding.first
        self.first.append(first.astype(np.int32, copy=False))
        if (trained := rows.trained()) is not None:
            self.trained.append(trained)
        for name in rows.undecided:
            self.found.setdefault(name, []).append(rows.found(name))


def _survey(
    source: Source, roles: ColumnRoles, uneven: dict[str, int], packed: list[str], pieces: _Pieces
) -> TokenSurvey:
    left_out = np.concatenate(pieces.left_out)
    padded = bool(left_out.any())
    stored = [name for name in packed if name not in MASKS or name in LOSS_MASKS]
    nothing = CheckedRows(
        pa.table([pa.array([], source.schema.field(n).type) for n in packed], packed), source, 0, "drop"
    )
    return TokenSurvey(
        source=source,
        stored=pa.schema([(name, _plain(source.schema.field(name).type)) for name in stored]),
        packed=pa.schema([(one.name, pa.list_(one.type.value_type)) for one in nothing.read(packed).schema]),
        left_out=tuple(name for name in source.schema.names if name in roles.other or name in uneven),
        lengths=np.concatenate(pieces.lengths) - left_out,
        first=np.concatenate(pieces.first) if padded else None,
        trained=np.concatenate(pieces.trained) if pieces.trained else None,
        uses=ColumnUses(
            masks=tuple(name for name in roles.lists if name in MASKS),
            unknown_masks=unknown_masks(packed),
            uneven=uneven,
            nested=roles.nested,
            padding=left_out if padded else None,
        ),
    )


def _stretches(source: Source, columns: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the number of the first row, and some rows, until all rows of all files have come."""
    first, memory = 0, BlockMemory()
    for index in range(len(source.files)):
        blocks = source.blocks(index)
        for block, rows in enumerate(blocks.rows):
            table = blocks.read(block, columns, memory)
            for start in range(0, rows, _ROWS_AT_A_TIME):
                yield first + start, table.slice(start, _ROWS_AT_A_TIME)
            first += rows


def _plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of lists that are gathered from; lists of a fixed size and views are converted."""
    large = types.is_large_list(kind) or types.is_large_list_view(kind)
    return (pa.large_list if large else pa.list_)(kind.value_type)

"""Tokens and labels of batches of rows: rendered, encoded, cut between turns, and counted.

Rendering is Python and takes turns with everything else in its process; encoding runs on the tokenizer's own threads.
So the two steps are apart, and a caller renders the next batch while one is encoded.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import from_numpy
from packsort._options.input import InputConfig
from packsort.errors import OptionError, SourceError
from packsort.schema import INPUT_IDS, LABELS, LENGTH, MAX_LENGTH_LIMIT, PIECE_STARTS
from packsort.tokenization.encode import Encoded, Encoder
from packsort.tokenization.forms.form import RowKind
from packsort.tokenization.notes import Note
from packsort.tokenization.render import Rendered, Renderer
from packsort.tokenization.split_turns import WindowCutter, Windows
from packsort.tokenization.tally import Tally

_COLUMNS = {INPUT_IDS: pa.list_(pa.int32()), LABELS: pa.list_(pa.int32()), LENGTH: pa.int32()}
_PIECE_STARTS = {PIECE_STARTS: pa.list_(pa.int32())}


@dataclass(frozen=True)
class Place:
    """Place of a batch in its source.

    Attributes:
        file: Index of the file in `source.files`.
        path: The file.
        first: Row of the file that is the first of the batch.

    Example:
        >>> Place(0, "chats.jsonl", 1000)(7)
        '`chats.jsonl` row 1007'
    """

    file: int
    path: str
    first: int

    @property
    def is_first(self) -> bool:
        """Whether the batch is the first of the source."""
        return self.file == 0 and self.first == 0

    def __call__(self, row: int) -> str:
        """Name a row of the batch for a message."""
        return f"`{self.path}` row {self.first + row}"


@dataclass(frozen=True)
class RenderedBatch:
    """A batch between rendering and encoding.

    Attributes:
        place: Its place.
        rows: Its rows.
        rendered: Their text. None where their tokens are known.
        tally: Counts of what was rendered.
        learned: `Renderer.learned` after it, from which its long conversations are cut.
    """

    place: Place
    rows: pa.RecordBatch
    rendered: Rendered | None
    tally: Tally
    learned: Any


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of one batch.

    Attributes:
        file: Index in `source.files` of the file that its rows come from.
        table: One row for each row of the batch; its columns are those of `BatchTokenizer.schema`.
        tally: Counts of the rows.
    """

    file: int
    table: pa.Table
    tally: Tally


class BatchTokenizer:
    """Tokenizer of batches of rows of one schema.

    Args:
        schema: Columns of the rows.
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        config: Options of what goes in.
        keep: Other columns to copy.
        split_turns: The most tokens of a window. None cuts no conversation.

    Attributes:
        render: Renderer of the rows.
        columns: Columns of the source that are read.
        split_turns: As given, checked.
        schema: Columns of the tokens, then the columns to keep.

    Raises:
        OptionError, SourceError, TokenizerError: As for `packsort.tokenize`.
    """

    def __init__(
        self,
        schema: pa.Schema,
        tokenizer: Any,
        config: InputConfig,
        *,
        keep: Sequence[str] = (),
        split_turns: int | None = None,
    ) -> None:
        self.render = Renderer(schema, tokenizer, config)
        self._encode = Encoder.of(self.render, tokenizer)
        self._drop_empty = config.empty == "drop"
        self.split_turns = None if split_turns is None else _checked_limit(split_turns, self.render)
        self._cut = None if self.split_turns is None else WindowCutter(self.render, self._encode, self.split_turns)
        created = _COLUMNS if self._cut is None else {**_COLUMNS, **_PIECE_STARTS}
        self._keep = _checked_keep(schema, keep, created)
        self.columns = list(dict.fromkeys([*self.render.columns, *self._keep]))  # one may be tokenized and kept
        self.schema = pa.schema([*created.items(), *(schema.field(name) for name in self._keep)])

    def rendered(self, rows: pa.RecordBatch, place: Place, *, tokens_known: bool = False) -> RenderedBatch:
        """Render a batch, and count what is rendered; not for two threads at the same time.

        Args:
            rows: The rows.
            place: Their place.
            tokens_known: Whether their tokens are known, so that only long conversations are rendered, later.

        Raises:
            SourceError: A row cannot be rendered; the message names it.
        """
        text = None if tokens_known else self.render(rows, place)
        learned = None if self._cut is None else self.render.learned
        return RenderedBatch(place, rows, text, self.render.take_tally(), learned)

    def encoded(self, batch: RenderedBatch) -> Encoded:
        """Tokenize what was rendered, in any thread.

        Raises:
            TokenizerError: The tokenizer fails on a text.
        """
        assert batch.rendered is not None
        return self._encode(batch.rendered, self.render.loss_rule)

    def finished(self, batch: RenderedBatch, encoded: Encoded) -> TokenBatch:
        """Cut long conversations, count the tokens, and put them into a table; not for two threads at the same time.

        Raises:
            SourceError: A row gives no tokens, or a window of it cannot be rendered; the message names it.
        """
        place, tally = batch.place, batch.tally
        empty = encoded.lengths == 0
        if empty.any() and not self._drop_empty:
            column = self.render.columns[0]
            raise SourceError(
                f"{place(int(empty.argmax()))}: column `{column}` gives no tokens: pass empty='drop' to leave such "
                "rows out"
            )
        tally += Tally(sequences=len(batch.rows), empty=int(empty.sum()), merged=encoded.merged, noted=encoded.counts)
        piece_starts: list[pa.Array] = []
        if self._cut is not None:
            windows = self._cut_from(batch, encoded)
            encoded = windows.encoded
            tally += Tally(**asdict(windows.counts))
            piece_starts.append(pa.ListArray.from_arrays(_offsets(windows.per_row), from_numpy(windows.starts)))
        # `reduceat` would give a row without windows, which has no tokens, the count of the next row.
        rows = np.flatnonzero(encoded.lengths)
        offsets = np.cumsum(encoded.lengths) - encoded.lengths
        with_loss = np.add.reduceat(encoded.labels >= 0, offsets[rows], dtype=np.int64)
        tally.tokens += len(encoded.input_ids)
        tally.loss_tokens += int(with_loss.sum())
        tally.without_loss += int((with_loss == 0).sum())
        ends = _offsets(encoded.lengths)
        lists = [pa.ListArray.from_arrays(ends, from_numpy(values)) for values in (encoded.input_ids, encoded.labels)]
        lengths = from_numpy(encoded.lengths).cast(pa.int32())
        kept = [batch.rows.column(name) for name in self._keep]
        return TokenBatch(place.file, pa.table([*lists, lengths, *piece_starts, *kept], schema=self.schema), tally)

    def _cut_from(self, batch: RenderedBatch, encoded: Encoded) -> Windows:
        """Cut the long conversations of a batch as if no other had been rendered since."""
        assert self._cut is not None
        later, self.render.learned = self.render.learned, batch.learned
        try:
            windows = self._cut(batch.rows, encoded, batch.place)
        finally:
            self.render.learned = later
        tally = batch.tally
        tally += self.render.take_tally()
        return windows

    def notes(self, tally: Tally) -> tuple[Note, ...]:
        """Return facts that a user should know about rows that were counted."""
        special = self._encode.special_tokens
        notes = [*self.render.notes_of(tally), *([] if special is None else special.notes(tally.noted))]
        if tally.merged:
            notes.append(Note("merged_prompts", {"sequences": tally.merged}))
        limit = self.split_turns or 0
        if tally.split:
            values = {"conversations": tally.split, "max_tokens": limit, "windows": tally.windows}
            notes.append(Note("split_conversations", values))
        if tally.turns_left_out:
            values = {
                "turns": tally.turns_left_out,
                "max_tokens": limit,
                "rows_shortened": tally.rows_shortened,
                "rows_left_out": tally.rows_left_out,
                "tokens": tally.tokens_left_out,
            }
            notes.append(Note("turns_left_out", values))
        return tuple(notes)


def _offsets(lengths: NDArray[np.int64]) -> pa.Array:
    """Return the offsets of lists with these lengths: int32, (rows + 1,)."""
    return from_numpy(np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])).cast(pa.int32())


def _checked_limit(split_turns: Any, render: Renderer) -> int:
    """Return the most tokens of a window, checked."""
    limit = _checks.integer("split_turns", split_turns, 1, MAX_LENGTH_LIMIT, ", or None")
    if render.kind is not RowKind.CONVERSATION:
        have = " and ".join(f"`{name}`" for name in render.form.columns)
        raise _checks.clash(
            "split_turns", f"rows of {have}", "it cuts conversations between turns and needs rows of `messages`"
        )
    return limit


def _checked_keep(schema: pa.Schema, keep: Sequence[str], created: Container[str]) -> list[str]:
    """Return the columns to copy, each once."""
    for name in keep:
        if name in created:
            raise OptionError(f"column `{name}` cannot be kept: tokenizing creates a column of that name")
        if name not in schema.names:
            names = ", ".join(f"`{one}`" for one in schema.names)
            raise SourceError(f"no column `{name}` to keep; there are {names}")
    return list(dict.fromkeys(keep))

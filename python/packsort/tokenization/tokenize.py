"""Tokenization of conversations, prompts with completions, and text, with labels that say which tokens carry loss.

`transformers` renders the chat template. The Rust `tokenizers` behind it encode a batch of rows at a time on their own
threads, while the next batch is rendered.
"""

from __future__ import annotations

import inspect
import json
import os
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from packsort import _checks, _core
from packsort._arrow import from_numpy, to_numpy
from packsort._options import InputConfig, InputOptions, names, take_input_options
from packsort.errors import OptionError, SourceError
from packsort.schema import INPUT_IDS, LABELS, LENGTH, MAX_LENGTH_LIMIT, PIECE_STARTS
from packsort.sources.source import Source, open_source
from packsort.tokenization.encode import Encoded, Encoder
from packsort.tokenization.forms.form import RowKind
from packsort.tokenization.notes import Note, NoteKind
from packsort.tokenization.render import Rendered, Renderer
from packsort.tokenization.split_turns import SplitCounts, WindowCutter
from packsort.tokenization.tokenizer import as_tokenizer

_COLUMNS = {INPUT_IDS: pa.list_(pa.int32()), LABELS: pa.list_(pa.int32()), LENGTH: pa.int32()}
_PIECE_STARTS = {PIECE_STARTS: pa.list_(pa.int32())}
_ROWS_A_BATCH = 1000
# Two calls are under way: one in the Rust threads, and one whose tokens are turned into arrays.
_CALLS_AHEAD = 2


class Tokenization:
    """Tokens of a source, computed while they are iterated over; `packsort.tokenize` returns it.

    Counts cover the tables given out so far.

    Args:
        source: The rows.
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        config: Options of what goes in.
        keep: Other columns to copy.
        on_progress: Called with the number of sequences of each table that is given out.
        split_turns: The most tokens of a window. None cuts no conversation.
        made: Tokens of all rows, uncut, as an earlier `Tokenization` of the same rows gave them. Rows are then rendered
            only to cut them, and `notes` are those of cutting.

    Attributes:
        loss_rule: Tokens that carry loss.
        columns: Columns of the source that are tokenized.
        form: Form of the rows.
        schema: Schema of the tables: `input_ids` and `labels` list<int32>, `length` int32, `piece_starts` list<int32>
            if turns are split, and the columns to keep.
        sequences: Number of sequences.
        tokens: Number of tokens.
        loss_tokens: Number of tokens that carry loss.
        without_loss: Number of sequences in which no token carries loss.
        empty: Number of rows without tokens.
        split: Number of conversations cut between turns.
        windows: Number of windows that they were cut into.
        turns_left_out: Number of turns that are too long for a window.
        tokens_left_out: Tokens of turns left out. A conversation that is left out counts with all its tokens.
        rows_shortened: Number of conversations that lack some of their turns.
        rows_left_out: Number of conversations that lack all of their turns.
        split_by_file: The last six counts, by name, for each of `source.files`.
    """

    def __init__(
        self,
        source: Source,
        tokenizer: Any,
        config: InputConfig,
        *,
        keep: Sequence[str] = (),
        on_progress: Callable[[int], None] | None = None,
        split_turns: int | None = None,
        made: pa.Table | None = None,
    ) -> None:
        self._source = source
        self._made = made
        self._config = config
        with source.naming():
            self._render = Renderer(source.schema, tokenizer, config)
        self._encode = Encoder.of(self._render, tokenizer)
        self.loss_rule = self._render.loss_rule
        self.columns = tuple(self._render.columns)
        self.form = self._render.form.name
        self._split_turns = None if split_turns is None else _checked_limit(split_turns, self._render)
        self._cut = None if self._split_turns is None else WindowCutter(self._render, self._encode, self._split_turns)
        created = _COLUMNS if self._cut is None else {**_COLUMNS, **_PIECE_STARTS}
        self._keep = _checked_keep(source, keep, created)
        self._on_progress = on_progress
        kept = [source.schema.field(name) for name in self._keep]
        self.schema = pa.schema([*created.items(), *kept], metadata=self._metadata(tokenizer))
        self.empty = 0
        self.sequences = self.tokens = self.loss_tokens = self.without_loss = 0
        self.split = self.windows = self.turns_left_out = self.tokens_left_out = 0
        self.rows_shortened = self.rows_left_out = 0
        self.split_by_file: list[dict[str, int]] = [asdict(SplitCounts()) for _ in source.files]
        self._merged = 0
        self._counts: Counter[NoteKind] = Counter()

    @property
    def notes(self) -> tuple[Note, ...]:
        """Facts that a user should know about the tables given out so far; `str` of a note says it in words."""
        special = self._encode.special_tokens
        notes = [*self._render.notes, *([] if special is None else special.notes(self._counts))]
        if self._merged:
            notes.append(Note("merged_prompts", {"sequences": self._merged}))
        limit = self._split_turns or 0
        if self.split:
            values = {"conversations": self.split, "max_tokens": limit, "windows": self.windows}
            notes.append(Note("split_conversations", values))
        if self.turns_left_out:
            values = {
                "turns": self.turns_left_out,
                "max_tokens": limit,
                "rows_shortened": self.rows_shortened,
                "rows_left_out": self.rows_left_out,
                "tokens": self.tokens_left_out,
            }
            notes.append(Note("turns_left_out", values))
        return tuple(notes)

    @property
    def template_date(self) -> str | None:
        """Date that the chat template has read, `YYYY-MM-DD`, or None if it has read none so far."""
        return self._render.template_date

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield tables of up to 1,000 rows, in the order of the source.

        Raises:
            SourceError: A row cannot be tokenized; the message names it.
        """
        return (table for _, table in self.by_file())

    def read(self) -> pa.Table:
        """Return all rows in one table.

        Raises:
            SourceError: A row cannot be tokenized; the message names it.
        """
        return pa.concat_tables(list(self))

    def by_file(self) -> Iterator[tuple[int, pa.Table]]:
        """Yield tables of up to 1,000 rows, each with the index in `source.files` of the file its rows come from.

        Raises:
            SourceError: A row cannot be tokenized; the message names it.
        """
        # A column may be tokenized and kept, but is read once.
        columns = list(dict.fromkeys([*self._render.columns, *self._keep]))
        with ThreadPoolExecutor(_CALLS_AHEAD, thread_name_prefix="packsort-tokenize") as pool:
            waiting: deque[tuple[int, int, pa.RecordBatch, Future[Encoded]]] = deque()
            try:
                row = 0
                for index, first, batch in self._source.batches(columns, _ROWS_A_BATCH):
                    if self._made is not None:
                        call = pool.submit(_encoded, self._made.slice(row, len(batch)))
                        row += len(batch)
                    else:
                        rendered: Rendered = self._render(batch, self._where(index, first))
                        call = pool.submit(self._encode, rendered, self.loss_rule)
                    waiting.append((index, first, batch, call))
                    if len(waiting) > _CALLS_AHEAD:
                        yield self._finish(*waiting.popleft())
                while waiting:
                    yield self._finish(*waiting.popleft())
            finally:
                for *_, call in waiting:
                    call.cancel()

    def _finish(self, index: int, first: int, batch: pa.RecordBatch, call: Future[Encoded]) -> tuple[int, pa.Table]:
        """Cut and count the tokens of a batch, and put them into a table."""
        encoded = call.result()
        where = self._where(index, first)
        empty = encoded.lengths == 0
        if empty.any() and self._config.empty == "error":
            place, column = where(int(empty.argmax())), self._render.columns[0]
            raise SourceError(f"{place}: column `{column}` gives no tokens: pass empty='drop' to leave such rows out")
        self.empty += int(empty.sum())
        piece_starts: list[pa.Array] = []
        if self._cut is not None:
            windows = self._cut(batch, encoded, where)
            encoded = windows.encoded
            self._count(index, windows.counts)
            piece_starts.append(pa.ListArray.from_arrays(_offsets(windows.per_row), from_numpy(windows.starts)))
        # `reduceat` would give a row without windows, which has no tokens, the count of the next row.
        rows = np.flatnonzero(encoded.lengths)
        offsets = np.cumsum(encoded.lengths) - encoded.lengths
        with_loss = np.add.reduceat(encoded.labels >= 0, offsets[rows], dtype=np.int64)
        self.sequences += len(batch)
        self.tokens += len(encoded.input_ids)
        self.loss_tokens += int(with_loss.sum())
        self.without_loss += int((with_loss == 0).sum())
        self._merged += encoded.merged
        self._counts += encoded.counts
        if self._on_progress is not None:
            self._on_progress(len(batch))
        ends = _offsets(encoded.lengths)
        lists = [pa.ListArray.from_arrays(ends, from_numpy(values)) for values in (encoded.input_ids, encoded.labels)]
        lengths = from_numpy(encoded.lengths).cast(pa.int32())
        kept = [batch.column(name) for name in self._keep]
        return index, pa.table([*lists, lengths, *piece_starts, *kept], schema=self.schema)

    def _count(self, index: int, counts: SplitCounts) -> None:
        for name, count in asdict(counts).items():
            self.split_by_file[index][name] += count
            setattr(self, name, getattr(self, name) + count)

    def _where(self, index: int, first: int) -> Callable[[int], str]:
        path = self._source.files[index].path
        return lambda row: f"`{path}` row {first + row}"

    def _metadata(self, tokenizer: Any) -> dict[bytes, bytes]:
        facts: dict[str, Any] = {
            "packsort": _core.__version__,
            "tokenizer": str(getattr(tokenizer, "name_or_path", "")),
            "loss": self.loss_rule.value,
        }
        if self._render.date is not None:
            facts["template_date"] = self._render.date
        if self._split_turns is not None:
            facts["split_turns"] = self._split_turns
        return {b"packsort": json.dumps(facts).encode()}


def tokenize(
    source: Any,
    tokenizer: Any | str | os.PathLike[str],
    *,
    keep: Sequence[str] = (),
    on_progress: Callable[[int], None] | None = None,
    split_turns: int | None = None,
    **options: Unpack[InputOptions],
) -> Tokenization:
    """Tokenize the rows of a source, in order, one sequence a row.

    The first of these columns that the source has is tokenized:

    - `messages`: conversations, by the tokenizer's chat template, with the row's `tools` if there is such a column.
      Tokens between `{% generation %}` and `{% endgeneration %}` carry loss, the same ones as in
      `apply_chat_template(..., return_assistant_tokens_mask=True)`. If the template has no such marks, the assistant's
      turns are found in the rendered text: what a conversation's start with the generation prompt lacks of the same
      start with the assistant's message. A row whose turns cannot be told exactly is refused.
    - `prompt` and `completion`: both text, or both lists of messages. Tokens of the completion carry loss, as in TRL.
    - `text`: every token carries loss.
    - `conversations` (ShareGPT), `instruction` and `output` (Alpaca), `question` and `answer`, `prompt` or
      `instruction` and `response`: read as `messages`.

    `docs/rows.md` describes these forms, and what rows may say: variables of the chat template in
    `chat_template_kwargs`, and messages that carry no loss by `weight`, `train` or `training`.

    Text and completions end with one end-of-sequence token, appended as an id where they do not end with it, and have
    the special tokens that the tokenizer adds by default, once. The tokenizer never truncates or pads.

    With `split_turns`, a conversation of more tokens is cut into windows. A window is the conversation's leading system
    messages and as many whole turns as fit, rendered like a conversation of its own; a turn starts at a user message.
    Where every token carries loss, the system messages carry it in the first window only. A turn that is too long for
    a window is left out and counted. A conversation that has only such turns becomes an empty row.

    Args:
        source: Rows: paths, folders, glob patterns, a name on the Hub (`hf:owner/name:split`), a `pyarrow.Table`, a
            `datasets.Dataset`, a polars DataFrame, or any object with `__arrow_c_stream__`.
        tokenizer: A `transformers.PreTrainedTokenizerBase`, its folder or its Hub name. It is not changed.
        keep: Other columns to copy.
        on_progress: Called with the number of sequences of each table that is given out.
        split_turns: The most tokens of a window. None cuts no conversation. Only for `messages`.
        **options: Options of what goes in:

            - **split** (str): Split to read, where a source has several.
            - **columns** (dict): Column of the source for each column that packsort looks for, such as
              `{"prompt": "question", "completion": "answer"}`.
            - **empty** (str, default `error`): `drop` leaves out rows without tokens, `error` refuses them.
            - **loss** (str, default `auto`): Tokens that carry loss. `assistant`: the assistant's turns of
              conversations. `completion`: completions, without their prompts. `all`: every token. `auto`: `assistant`
              for conversations, `completion` for prompts with completions, `all` for text.
            - **template_date** (str): Date that a chat template sees, such as `"2024-07-26"`. None is today. Refused if
              the template reads none.

    Returns:
        An iterable of tables with `input_ids` list<int32>, `labels` list<int32> (-100 where a token carries no loss),
        `length` int32, and the columns of `keep`. With `split_turns` also `piece_starts` list<int32>: the first token
        of each window in its row, [0] for rows that are not cut. `read()` returns all rows in one table.

    Raises:
        SourceError: There is no usable column, or no column to keep. Iterating raises it for rows that cannot be
            tokenized: null, empty, without roles, refused by the chat template, or of turns that cannot be found.
        TokenizerError: The tokenizer cannot be loaded, has no chat template, or fails.
        TypeError: A keyword argument is unknown.
        OptionError: An option has a value that is not allowed; `keep` names a column that tokenizing creates; or
            `split_turns` is below 1, or the rows are no conversations.

    Example:
        >>> import packsort
        >>> import pyarrow as pa
        >>> from tokenizers import Tokenizer, models, pre_tokenizers
        >>> from transformers import PreTrainedTokenizerFast
        >>> words = Tokenizer(models.WordLevel({"</s>": 0, "hello": 1, "world": 2}))
        >>> words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        >>> tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="</s>")
        >>> rows = pa.table({"prompt": ["hello "], "completion": ["world"]})
        >>> tokens = packsort.tokenize(rows, tokenizer)
        >>> tokens.read().to_pylist()
        [{'input_ids': [1, 2, 0], 'labels': [-100, 2, 0], 'length': 3}]
        >>> tokens.loss_rule.value, tokens.loss_tokens
        ('completion', 2)
    """
    _checks.keywords("tokenize", options, names(InputOptions) | set(inspect.signature(tokenize).parameters))
    config = take_input_options(dict(options))
    return Tokenization(
        open_source(source, config),
        as_tokenizer(tokenizer),
        config,
        keep=keep,
        on_progress=on_progress,
        split_turns=split_turns,
    )


def _encoded(table: pa.Table) -> Encoded:
    """Return tokens that were made before."""
    ids, labels = (to_numpy(table[name].combine_chunks().flatten()) for name in (INPUT_IDS, LABELS))
    lengths = to_numpy(pc.list_value_length(table[INPUT_IDS])).astype(np.int64)
    return Encoded(ids, labels, lengths)


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


def _checked_keep(source: Source, keep: Sequence[str], created: Container[str]) -> list[str]:
    """Return the columns to copy, each once."""
    for name in keep:
        if name in created:
            raise OptionError(f"column `{name}` cannot be kept: tokenizing creates a column of that name")
        if name not in source.schema.names:
            names = ", ".join(f"`{one}`" for one in source.schema.names)
            raise SourceError(f"no column `{name}` to keep; there are {names}")
    return list(dict.fromkeys(keep))

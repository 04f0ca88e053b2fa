"""Tokenization of conversations, prompts with completions, and text, with labels that say which tokens carry loss.

`transformers` renders the chat template. The Rust `tokenizers` behind it encode a batch of rows at a time on their own
threads, while the next batch is rendered (`threads`); or several processes do both (`processes`).

Rows teach about a chat template: which form of contents it takes, and what it writes between them. So that tokens and
counts do not depend on who tokenizes which rows, a source is cut into chunks of some batches of one file. Each chunk
starts from what the first batch of the source has taught.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from typing import Any, Unpack

import pyarrow as pa

from packsort import _checks, _core
from packsort._options.input import InputConfig, take_input_options
from packsort._options.keywords import InputOptions, names
from packsort.sources.source import Source, open_source
from packsort.tokenization.batches import Place, TokenBatch
from packsort.tokenization.notes import Note
from packsort.tokenization.processes import Recipe, in_processes, num_processes
from packsort.tokenization.tally import SplitCounts, Tally
from packsort.tokenization.threads import Chunk, in_threads
from packsort.tokenization.tokenizer import as_tokenizer

ROWS_A_BATCH = 1000
BATCHES_A_CHUNK = 4
"""Batches of a chunk, which starts from what the first batch of the source taught, whoever tokenizes it."""


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
        memory_limit: Bytes of memory that this process and those that tokenize may take, or None for any number.

    Attributes:
        loss_rule: Tokens that carry loss.
        columns: Columns of the source that are tokenized.
        form: Form of the rows.
        schema: Schema of the tables: `input_ids` and `labels` `list<int32>`, `length` int32, `piece_starts`
            `list<int32>` if turns are split, and the columns to keep.
        tally: All counts.
        split_by_file: Counts of conversations cut and turns left out, by name, for each of `source.files`.
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
        memory_limit: int | None = None,
    ) -> None:
        self._source, self._made = source, made
        self._recipe = Recipe(source.schema, tokenizer, config, tuple(keep), split_turns)
        with source.naming():
            self._batches = self._recipe.make()
        wanted = None if made is not None else config.num_proc
        self._processes = num_processes(wanted, source.num_rows, memory_limit)
        self.loss_rule = self._batches.render.loss_rule
        self.columns = tuple(self._batches.render.columns)
        self.form = self._batches.render.form.name
        self._on_progress = on_progress
        self.schema = self._batches.schema.with_metadata(self._metadata(tokenizer))
        self.tally = Tally()
        self.split_by_file: list[dict[str, int]] = [asdict(SplitCounts()) for _ in source.files]

    @property
    def sequences(self) -> int:
        """Number of sequences."""
        return self.tally.sequences

    @property
    def tokens(self) -> int:
        """Number of tokens."""
        return self.tally.tokens

    @property
    def loss_tokens(self) -> int:
        """Number of tokens that carry loss."""
        return self.tally.loss_tokens

    @property
    def without_loss(self) -> int:
        """Number of sequences in which no token carries loss."""
        return self.tally.without_loss

    @property
    def empty(self) -> int:
        """Number of rows without tokens."""
        return self.tally.empty

    @property
    def split(self) -> int:
        """Number of conversations cut between turns."""
        return self.tally.split

    @property
    def windows(self) -> int:
        """Number of windows that they were cut into."""
        return self.tally.windows

    @property
    def turns_left_out(self) -> int:
        """Number of turns that are too long for a window."""
        return self.tally.turns_left_out

    @property
    def tokens_left_out(self) -> int:
        """Tokens of turns left out. A conversation that is left out counts with all its tokens."""
        return self.tally.tokens_left_out

    @property
    def rows_shortened(self) -> int:
        """Number of conversations that lack some of their turns."""
        return self.tally.rows_shortened

    @property
    def rows_left_out(self) -> int:
        """Number of conversations that lack all of their turns."""
        return self.tally.rows_left_out

    @property
    def notes(self) -> tuple[Note, ...]:
        """Facts that a user should know about the tables given out so far; `str` of a note says it in words."""
        return self._batches.notes(self.tally)

    @property
    def template_date(self) -> str | None:
        """Date that the chat template has read, `YYYY-MM-DD`, or None if it has read none so far."""
        return self._batches.render.date if self.tally.dated else None

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield tables of up to 1,000 rows, in the order of the source.

        Raises:
            SourceError: A row cannot be tokenized; the message names it.
        """
        return (batch.table for batch in self.by_file())

    def read(self) -> pa.Table:
        """Return all rows in one table.

        Raises:
            SourceError: A row cannot be tokenized; the message names it.
        """
        return pa.concat_tables(list(self))

    def by_file(self, from_file: int = 0) -> Iterator[TokenBatch]:
        """Yield the tokens of up to 1,000 rows of one file at a time, and count them.

        Args:
            from_file: Index in `source.files` of the first file to tokenize.

        Raises:
            SourceError: A row cannot be tokenized; the message names it.
            TokenizerError: The tokenizer fails; or a process that tokenizes has ended.
        """
        for batch in self._tokenized(from_file):
            self.count(batch.file, batch.tally)
            self.advance(batch.table.num_rows)
            yield replace(batch, table=batch.table.replace_schema_metadata(self.schema.metadata))

    def count(self, file: int, tally: Tally) -> None:
        """Add the counts of rows of a file."""
        self.tally += tally
        for name in self.split_by_file[file]:
            self.split_by_file[file][name] += getattr(tally, name)

    def advance(self, sequences: int) -> None:
        """Report progress."""
        if self._on_progress is not None:
            self._on_progress(sequences)

    def _tokenized(self, from_file: int) -> Iterator[TokenBatch]:
        """Tokenize the first batch here, because it teaches about the chat template, and the rest side by side."""
        learned = None
        if from_file:
            first = next(self._chunks(0), [])
            for place, rows in first:
                self._batches.rendered(rows, place)
            learned = self._batches.render.learned
        chunks = self._chunks(from_file)
        if self._processes == 1:
            yield from in_threads(self._batches, chunks, learned, self._made)
            return
        if learned is None:
            yield from in_threads(self._batches, islice(chunks, 1))
            learned = self._batches.render.learned
        yield from in_processes(self._recipe.on(self._batches.render.date), chunks, learned, self._processes)

    def _chunks(self, from_file: int) -> Iterator[Chunk]:
        """Yield the batches of the source in chunks of one file each; the first of the source is one batch."""
        chunk: Chunk = []
        for index, first, rows in self._source.batches(self._batches.columns, ROWS_A_BATCH, from_file=from_file):
            if chunk and (len(chunk) == BATCHES_A_CHUNK or chunk[0][0].file != index or chunk[0][0].is_first):
                yield chunk
                chunk = []
            chunk.append((Place(index, self._source.files[index].path, first), rows))
        if chunk:
            yield chunk

    def _metadata(self, tokenizer: Any) -> dict[bytes, bytes]:
        facts: dict[str, Any] = {
            "packsort": _core.__version__,
            "tokenizer": str(getattr(tokenizer, "name_or_path", "")),
            "loss": self.loss_rule.value,
        }
        if self._batches.render.date is not None:
            facts["template_date"] = self._batches.render.date
        if self._batches.split_turns is not None:
            facts["split_turns"] = self._batches.split_turns
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
        An iterable of tables with `input_ids` `list<int32>`, `labels` `list<int32>` (-100 where a token carries no
        loss), `length` int32, and the columns of `keep`. With `split_turns` also `piece_starts` `list<int32>`: the
        first token of each window in its row, [0] for rows that are not cut. `read()` returns all rows in one table.

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

"""Tokenizes conversations, prompts with completions, and text, and says which tokens carry loss.

`transformers` loads the tokenizer and renders the chat template; the Rust `tokenizers` behind it do the work in their
threads, a batch of rows at a time, while the next batch is rendered.
"""

from __future__ import annotations

import json
import operator
import os
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _core
from packsort._atomic import OutputFiles, check_folder
from packsort.errors import OptionError, SourceError, TokenizerError
from packsort.sources.source import Source, open_source
from packsort.tokenization.encode import Encoded, Encoder
from packsort.tokenization.render import LossRule, Rendered, Renderer
from packsort.tokenization.split_turns import SplitCounts, WindowCutter

__all__ = ["LossRule", "Tokenization", "TokenizedFiles", "load_tokenizer", "tokenize", "write_tokens"]

_COLUMNS = {"input_ids": pa.list_(pa.int32()), "labels": pa.list_(pa.int32()), "length": pa.int32()}
_PIECE_STARTS = {"piece_starts": pa.list_(pa.int32())}
_ROWS_A_BATCH = 1000
# Two calls under way: one in the Rust threads, one whose tokens are turned into arrays.
_CALLS_AHEAD = 2
_TOKENS_A_ROW_GROUP = 4_000_000


def load_tokenizer(
    name_or_dir: str | os.PathLike[str], *, trust_remote_code: bool = False, chat_template: str | None = None
) -> Any:
    """Loads a Hugging Face tokenizer.

    Args:
        name_or_dir: a folder that `save_pretrained` wrote, or a name on the Hugging Face Hub.
        trust_remote_code: whether Python code that comes with the tokenizer may run.
        chat_template: the text of a Jinja template, in place of the tokenizer's own.

    Returns:
        A `transformers.PreTrainedTokenizerBase`.

    Raises:
        TokenizerError: transformers is not installed, or the tokenizer cannot be loaded.
    """
    name = os.fspath(name_or_dir)
    path = Path(name)
    if path.is_file():
        raise TokenizerError(f"tokenizer `{name}` is a file; its folder is needed")
    # Asking the Hub for what can only be a mistyped path would take transformers a minute of retries without a network.
    local = path.is_absolute() or name.startswith((".", "~")) or name.endswith(("/", os.sep))
    if not path.is_dir() and (local or len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.is_dir())):
        raise TokenizerError(f"no tokenizer folder `{name}`")
    if path.is_dir() and not any((path / file).is_file() for file in ("tokenizer.json", "tokenizer_config.json")):
        raise TokenizerError(f"folder `{name}` holds no tokenizer: neither tokenizer.json nor tokenizer_config.json")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise TokenizerError(f"tokenizing needs transformers: `pip install packsort[hf]` ({error})") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    # What a damaged or foreign file raises here depends on where transformers trips over it.
    except Exception as error:
        if "trust_remote_code" in str(error):
            reason = "it comes with Python code, which runs only with `--trust-remote-code`"
        else:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise TokenizerError(f"tokenizer `{name}` cannot be loaded: {reason}") from error
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


class Tokenization:
    """Tokens of a source, made as they are asked for; see `tokenize`.

    Attributes:
        loss_rule: which tokens carry loss, in words.
        columns: the columns of the source that are tokenized.
        schema: of the tables: `input_ids` and `labels` list<int32>, `length` int32, `piece_starts` list<int32> where
            turns are split, and the columns kept.
        sequences, tokens, loss_tokens, without_loss: counts of what was given out so far; `without_loss` counts
            sequences in which no token carries loss.
        split, windows: conversations cut between turns, and what they were cut into.
        turns_left_out, tokens_left_out: turns that are too long for a window, and their tokens; of a conversation
            that is left out, all its tokens.
        rows_shortened, rows_left_out: conversations that lack some of their turns, and those that lack all.
        split_by_file: the last six, by name, for each of `source.files`.
    """

    def __init__(
        self,
        source: Source,
        tokenizer: Any,
        *,
        keep: Sequence[str] = (),
        on_progress: Callable[[int], None] | None = None,
        split_turns: int | None = None,
    ) -> None:
        self._source = source
        self._render = Renderer(source, tokenizer)
        self._encode = Encoder(tokenizer, special_tokens=self._render.special_tokens)
        if self._render.loss_rule is LossRule.ASSISTANT and not self._encode.has_offsets:
            self._render.loss_rule = LossRule.NO_OFFSETS
        self.loss_rule = self._render.loss_rule
        self.columns = tuple(self._render.columns)
        self._split_turns = None if split_turns is None else _limit(split_turns, self.columns)
        self._cut = None if self._split_turns is None else WindowCutter(self._render, self._encode, self._split_turns)
        made = _COLUMNS if self._cut is None else {**_COLUMNS, **_PIECE_STARTS}
        self._keep = _kept(source, keep, made)
        self._on_progress = on_progress
        kept = [source.schema.field(name) for name in self._keep]
        self.schema = pa.schema([*made.items(), *kept], metadata=self._metadata(tokenizer))
        self.sequences = self.tokens = self.loss_tokens = self.without_loss = 0
        self.split = self.windows = self.turns_left_out = self.tokens_left_out = 0
        self.rows_shortened = self.rows_left_out = 0
        self.split_by_file: list[dict[str, int]] = [asdict(SplitCounts()) for _ in source.files]
        self._merged = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the tables given out so far."""
        notes = list(self._render.notes)
        if self._merged:
            notes.append(
                f"in {self._merged:,} sequences the prompt alone is tokenized otherwise than within the sequence; "
                "the completion starts where they part"
            )
        if self.split:
            notes.append(
                f"{self.split:,} conversations of more than {self._split_turns:,} tokens are cut between turns into "
                f"{self.windows:,} windows"
            )
        if self.turns_left_out:
            notes.append(
                f"{self.turns_left_out:,} turns are left out: with the system prompt each has more than "
                f"{self._split_turns:,} tokens; {self.rows_shortened:,} conversations lack some, "
                f"{self.rows_left_out:,} lack all and are left out ({self.tokens_left_out:,} tokens)"
            )
        return tuple(notes)

    def __iter__(self) -> Iterator[pa.Table]:
        """Gives tables of up to 1,000 rows, in the order of the source.

        Raises:
            SourceError: A row cannot be tokenized; the message names it.
        """
        return (table for _, table in self._by_file())

    def read(self) -> pa.Table:
        """All rows in one table."""
        return pa.concat_tables(list(self))

    def _by_file(self) -> Iterator[tuple[int, pa.Table]]:
        """The tables, each with the index of the file its rows come from."""
        # Columns may be wanted twice: to tokenize and to keep.
        columns = list(dict.fromkeys([*self._render.columns, *self._keep]))
        with ThreadPoolExecutor(_CALLS_AHEAD, thread_name_prefix="packsort-tokenize") as pool:
            waiting: deque[tuple[int, int, pa.RecordBatch, Future[Encoded]]] = deque()
            try:
                for index, first, batch in self._source.batches(columns, _ROWS_A_BATCH):
                    rendered: Rendered = self._render(batch, self._where(index, first))
                    waiting.append((index, first, batch, pool.submit(self._encode, rendered, self.loss_rule)))
                    if len(waiting) > _CALLS_AHEAD:
                        yield self._finished(*waiting.popleft())
                while waiting:
                    yield self._finished(*waiting.popleft())
            finally:
                for *_, call in waiting:
                    call.cancel()

    def _finished(self, index: int, first: int, batch: pa.RecordBatch, call: Future[Encoded]) -> tuple[int, pa.Table]:
        encoded = call.result()
        where = self._where(index, first)
        empty = encoded.lengths == 0
        if empty.any():
            raise SourceError(f"{where(int(empty.argmax()))}: column `{self._render.columns[0]}` gives no tokens")
        made: list[pa.Array] = []
        if self._cut is not None:
            windows = self._cut(batch, encoded, where)
            encoded = windows.encoded
            self._count(index, windows.counts)
            made.append(pa.ListArray.from_arrays(_ends(windows.pieces), pa.array(windows.starts)))
        # A row of which no window is left has no tokens, where `reduceat` would take those of the next.
        rows = np.flatnonzero(encoded.lengths)
        offsets = np.cumsum(encoded.lengths) - encoded.lengths
        with_loss = np.add.reduceat(encoded.labels >= 0, offsets[rows], dtype=np.int64)
        self.sequences += len(batch)
        self.tokens += len(encoded.input_ids)
        self.loss_tokens += int(with_loss.sum())
        self.without_loss += int((with_loss == 0).sum())
        self._merged += encoded.merged
        if self._on_progress is not None:
            self._on_progress(len(batch))
        ends = _ends(encoded.lengths)
        lists = [pa.ListArray.from_arrays(ends, pa.array(values)) for values in (encoded.input_ids, encoded.labels)]
        lengths = pa.array(encoded.lengths, type=pa.int32())
        kept = [batch.column(name) for name in self._keep]
        return index, pa.table([*lists, lengths, *made, *kept], schema=self.schema)

    def _count(self, index: int, counts: SplitCounts) -> None:
        for name, count in asdict(counts).items():
            self.split_by_file[index][name] += count
            setattr(self, name, getattr(self, name) + count)

    def _where(self, index: int, first: int) -> Callable[[int], str]:
        path = self._source.files[index].path
        return lambda row: f"`{path}` row {first + row}"

    def _metadata(self, tokenizer: Any) -> dict[bytes, bytes]:
        about: dict[str, Any] = {
            "packsort": _core.__version__,
            "tokenizer": str(getattr(tokenizer, "name_or_path", "")),
            "loss": self.loss_rule.value,
        }
        if self._split_turns is not None:
            about["split_turns"] = self._split_turns
        return {b"packsort": json.dumps(about).encode()}


def tokenize(
    source: Any,
    tokenizer: Any,
    *,
    keep: Sequence[str] = (),
    on_progress: Callable[[int], None] | None = None,
    split_turns: int | None = None,
) -> Tokenization:
    """Tokenizes the rows of a source, in order, one sequence a row.

    The first of these columns that is there is used:

    - `messages`, conversations, by the tokenizer's chat template, with the row's `tools` where there is such a column.
      Loss is taken on what the template has between `{% generation %}` and `{% endgeneration %}`: the tokens that
      `apply_chat_template(..., return_assistant_tokens_mask=True)` gives; without such marks, on every token.
    - `prompt` and `completion`, both text or both lists of messages. Loss is taken on the completion, as TRL does.
    - `text`. Loss is taken on every token.

    The end-of-sequence token is appended to text and completions that do not end with it; special tokens are added as
    the tokenizer does by default. Truncation and padding of the tokenizer are not applied.

    With `split_turns`, a conversation of more tokens is cut before user messages into windows of at most that many: its
    leading system messages and as many whole turns as fit, rendered like a conversation of their own. Where loss is
    taken on every token, what the first window trains on, the others repeat without loss. A turn that is too long for
    a window is left out, and counted; a conversation of such turns alone becomes an empty row.

    Args:
        source: whatever `open_source` takes.
        tokenizer: a `transformers.PreTrainedTokenizerBase`; it is not changed.
        keep: other columns to carry along.
        on_progress: called with the number of sequences of each table as it is given out.
        split_turns: the most tokens of a window; only for `messages`.

    Returns:
        An iterable of tables with `input_ids`, `labels` (-100 where no loss is taken), `length`, and `keep`; with
        `split_turns` also `piece_starts`, where in its row each window starts, [0] for rows that are not cut.

    Raises:
        SourceError: There is no usable column, or no column to keep. Iterating raises it for rows that cannot be
            tokenized: null, empty, without roles, refused by the chat template.
        TokenizerError: The tokenizer has no chat template, or fails.
        OptionError: `keep` names a column that tokenizing makes; `split_turns` is below 1, or given for other rows than
            `messages`.
    """
    return Tokenization(open_source(source), tokenizer, keep=keep, on_progress=on_progress, split_turns=split_turns)


@dataclass(frozen=True)
class TokenizedFiles:
    """What `write_tokens` wrote.

    Attributes:
        files: the files, in the order of the source's.
        sequences: rows in them.
        tokens: tokens in them.
        loss_tokens: tokens that carry loss.
        without_loss: sequences in which no token does.
        loss_rule: which tokens carry loss, in words.
        notes: what a user should know, in words.
    """

    files: tuple[Path, ...]
    sequences: int
    tokens: int
    loss_tokens: int
    without_loss: int
    loss_rule: str
    notes: tuple[str, ...]


def write_tokens(
    source: Any,
    out: str | os.PathLike[str],
    tokenizer: Any,
    *,
    overwrite: bool = False,
    keep: Sequence[str] = (),
    on_progress: Callable[[int], None] | None = None,
) -> TokenizedFiles:
    """Tokenizes a source of any size into files: row i of a file is row i of the source's file.

    Files appear only when all are complete; until then what was there is untouched, and nothing is left on failure.

    Args:
        source: whatever `open_source` takes.
        out: one file for all rows, where it ends in `.parquet` or `.arrow`; otherwise a folder, which gets a Parquet
            file of the same stem for each file of the source.
        tokenizer: a `transformers.PreTrainedTokenizerBase`.
        overwrite: whether files of the same name may be replaced; others are never touched.
        keep: other columns to carry along.
        on_progress: called with numbers of sequences as they are done.

    Raises:
        SourceError, TokenizerError, OptionError: As for `tokenize`; also where a source would be replaced.
        OutputExistsError: The file is there, or the folder is not empty, and `overwrite` is False.
        OutputError: Output cannot be written.
    """
    opened = open_source(source)
    target = Path(out)
    targets = _targets(opened, target)
    taken = {Path(file.path).resolve() for file in opened.files}
    for path in targets:
        if path.resolve() in taken:
            raise OptionError(f"output `{path}` would replace a file of the source; choose another place")
    single = targets == [target]
    if not single:
        check_folder(target, overwrite=overwrite)
    tokens = Tokenization(opened, tokenizer, keep=keep, on_progress=on_progress)
    notes = [] if single else _others(target, targets)
    with OutputFiles(targets, overwrite=overwrite) as files:
        parts = groupby(tokens._by_file(), key=lambda part: 0 if single else part[0])
        current, tables = next(parts)
        for index, path in enumerate(targets):
            with files.writer(path, tokens.schema) as write:
                # A file of the source without rows has no part, and becomes a file without rows.
                if current == index:
                    for group in _row_groups(table for _, table in tables):
                        write(group)
                    current, tables = next(parts, (-1, iter(())))
    return TokenizedFiles(
        files=tuple(targets),
        sequences=tokens.sequences,
        tokens=tokens.tokens,
        loss_tokens=tokens.loss_tokens,
        without_loss=tokens.without_loss,
        loss_rule=tokens.loss_rule.value,
        notes=(*tokens.notes, *notes),
    )


def _targets(source: Source, out: Path) -> list[Path]:
    """The files to write: `out` itself, or one in it for each file of the source."""
    if out.suffix in {".parquet", ".arrow"}:
        return [out]
    used: set[str] = set()
    targets: list[Path] = []
    for file in source.files:
        # Names that start so would be skipped when the folder is read.
        stem = (Path(file.path).stem if file.path != "<table>" else "table").lstrip("._") or "tokens"
        name, number = stem, 1
        while name.casefold() in used:
            number += 1
            name = f"{stem}-{number}"
        used.add(name.casefold())
        targets.append(out / f"{name}.parquet")
    return targets


def _others(folder: Path, targets: Sequence[Path]) -> list[str]:
    """Warns of data in the folder that is not of this run: who reads the folder would read it too."""
    found = sorted({*folder.glob("*.parquet"), *folder.glob("*.arrow")} - set(targets))
    if not found:
        return []
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return [f"`{folder}` also holds `{found[0].name}`{more}, which this run did not write"]


def _row_groups(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Joins tables until they are worth a row group, by tokens: rows differ too much in length."""
    group: list[pa.Table] = []
    tokens = 0
    for table in tables:
        group.append(table)
        tokens += len(table["input_ids"].chunk(0).values)
        if tokens >= _TOKENS_A_ROW_GROUP:
            yield pa.concat_tables(group)
            group, tokens = [], 0
    if group:
        yield pa.concat_tables(group)


def _ends(lengths: NDArray[np.int64]) -> pa.Array:
    """Offsets of lists: int32, (rows + 1,)."""
    return pa.array(np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)]), type=pa.int32())


def _limit(split_turns: Any, columns: Sequence[str]) -> int:
    """The most tokens of a window, checked."""
    try:
        limit = operator.index(split_turns)
    except TypeError:
        raise OptionError(f"split_turns is {split_turns!r}, allowed is an integer") from None
    if not 1 <= limit < 2**31:
        raise OptionError(f"split_turns is {limit}, allowed is 1 to 2**31 - 1, or None")
    if columns[0] != "messages":
        have = " and ".join(f"`{name}`" for name in columns if name != "tools")
        raise OptionError(
            f"split_turns and rows of {have} clash: it cuts conversations between turns; allowed with it are rows of "
            "`messages`"
        )
    return limit


def _kept(source: Source, keep: Sequence[str], made: Container[str]) -> list[str]:
    for name in keep:
        if name in made:
            raise OptionError(f"column `{name}` cannot be kept: tokenizing makes one of that name")
        if name not in source.schema.names:
            raise SourceError(
                f"no column `{name}` to keep; there are {', '.join(f'`{n}`' for n in source.schema.names)}"
            )
    return list(dict.fromkeys(keep))

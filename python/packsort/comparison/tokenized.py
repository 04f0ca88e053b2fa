"""Lengths of rows that hold no tokens yet, and tokens kept for `packsort pack`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks
from packsort._arrow import to_numpy
from packsort._options.input import InputConfig
from packsort._options.memory import FIXED_BYTES, used_memory
from packsort._progress import Stage
from packsort.schema import LENGTH, PIECE_STARTS
from packsort.sources.source import Source
from packsort.sources.tokens.read import Tokens
from packsort.tokenization.choice import TokenizerChoice
from packsort.tokenization.kept import KeptTokens, TokenFolder
from packsort.tokenization.load import load_tokens
from packsort.tokenization.tokenize import Tokenization

_LEAST_BYTES = 16 << 20  # of tokens in memory before they go to a file


@dataclass(frozen=True)
class Windows:
    """Conversations cut between turns into windows of at most `max_length` tokens.

    Attributes:
        lengths: Tokens of each window, (windows,).
        rows: Row of each window, (windows,).
        num_split: Conversations in more than one window.
        tokens_left_out: Tokens of turns that are too long alone.
    """

    lengths: NDArray[np.int64]
    rows: NDArray[np.int64]
    num_split: int
    tokens_left_out: int


class TokenizedRows:
    """Lengths of rows that a tokenizer turns into tokens.

    Tokens are held only where they are kept in a folder, or cut between turns. They are in memory up to half of what
    is left of the limit, and beyond that in a temporary file.

    Args:
        source: The rows.
        choice: Their tokenizer.
        config: Options of what goes in.
        folder: Folder that keeps the tokens, as for `packsort.write_shards`, or None.
        cut: Whether conversations will be cut.
        memory_limit: Bytes of memory that this process and those that tokenize may take.
        stage: Progress reporter.

    Attributes:
        lengths: Tokens of each row: int64, (rows,).
        reused: Whether the folder held the tokens already.

    Raises:
        SourceError, TokenizerError: As for `packsort.tokenize`.
        OptionError: Tokens are to be kept, and the rows are in memory.
        OutputError: They cannot be kept.
    """

    def __init__(
        self,
        source: Source,
        choice: TokenizerChoice,
        config: InputConfig,
        *,
        folder: Path | None,
        cut: bool,
        memory_limit: int,
        stage: Stage,
    ) -> None:
        self._source, self._choice, self._config, self._stage = source, choice, config, stage
        self._memory_limit = memory_limit
        self._made: pa.Table | None = None
        self.reused = False
        if folder is None and not cut:
            self.lengths = self._count()
        else:
            self._made = self._tokens(folder)
            self.lengths = to_numpy(Tokens(self._made, (), source).lengths).astype(np.int64)

    def windows(self, limit: int) -> Windows:
        """Cut the conversations that are longer than a limit.

        Raises:
            OptionError: The rows are no conversations.
        """
        tokenizer: Any = self._choice.load(self._stage)
        with self._stage("cutting", total=self._source.num_rows, unit="sequences") as advance:
            tables = Tokenization(
                self._source, tokenizer, self._config, on_progress=advance, split_turns=limit, made=self._made
            )
            columns = [table.select([LENGTH, PIECE_STARTS]) for table in tables]
        table = pa.concat_tables(columns)
        ends = to_numpy(table[LENGTH]).astype(np.int64)
        parts = [_windows(chunk) for chunk in table[PIECE_STARTS].chunks]
        counts = np.concatenate([count for count, _ in parts])
        starts = np.concatenate([start for _, start in parts])
        rows = np.repeat(np.arange(len(counts)), counts)
        stops = np.append(starts[1:], 0)
        last = np.append(rows[1:] != rows[:-1], True) if len(rows) else np.zeros(0, bool)
        stops[last] = ends[rows[last]]
        return Windows(stops - starts, rows, int((counts > 1).sum()), tables.tokens_left_out)

    def _count(self) -> NDArray[np.int64]:
        tokenizer: Any = self._choice.load(self._stage)
        with self._stage("tokenizing", total=self._source.num_rows, unit="sequences") as advance:
            # With the loss that packs will have: it may choose another chat template, and with it other lengths.
            tables = Tokenization(
                self._source, tokenizer, self._config, on_progress=advance, memory_limit=self._memory_limit
            )
            lengths: NDArray[np.int64] = np.concatenate([to_numpy(table[LENGTH]) for table in tables]).astype(np.int64)
        return lengths

    def _tokens(self, folder: Path | None) -> pa.Table:
        keep = None if folder is None else TokenFolder(folder, self._source, self._choice, self._config)
        found = None if keep is None else keep.find(self._stage)
        if found is not None:
            self.reused = True
            return found.table
        tokenizer: Any = self._choice.load(self._stage)
        most = max(_LEAST_BYTES, (self._memory_limit - used_memory() - FIXED_BYTES) // 2)
        tokens, info = load_tokens(
            self._source,
            tokenizer,
            self._stage,
            self._config,
            most_bytes=most,
            memory_limit=self._memory_limit,
        )
        if keep is not None:
            assert info is not None
            keep.keep(KeptTokens(tokens.table, info, tokens.left_out, tokenizer.pad_token_id, len(tokenizer)))
        return tokens.table


def check_folder(folder: Path | None, choice: TokenizerChoice | None) -> None:
    """Refuse a folder of kept tokens where there is no tokenizer."""
    if folder is not None and choice is None:
        raise _checks.clash(f"tokens={str(folder)!r}", "tokenizer=None", "it keeps what a tokenizer made")


def _windows(starts: pa.ListArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of windows of each row, and the first token of each window in its row."""
    counts = np.diff(to_numpy(starts.offsets)).astype(np.int64)
    return counts, to_numpy(starts.flatten()).astype(np.int64)

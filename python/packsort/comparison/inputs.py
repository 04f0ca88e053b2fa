"""Lengths and turns of the sequences that are compared, from a source or given as they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import as_chunked, to_numpy
from packsort._options.choices import OverlongInComparison
from packsort._options.input import InputConfig
from packsort._options.memory import FIXED_BYTES, check_least_memory, used_memory
from packsort._options.plan import PlanConfig
from packsort._progress import Stage
from packsort.comparison.config import NEED_TURNS, ComparisonConfig
from packsort.comparison.tokenized import TokenizedRows, Windows
from packsort.comparison.turns import multi_turn_flags, source_turns
from packsort.errors import LengthError, OptionError
from packsort.gathering.planned import plan_lengths
from packsort.planning.build import plan_of_config
from packsort.planning.lengths import as_lengths
from packsort.planning.overlong import OverlongError
from packsort.planning.plan import Plan
from packsort.schema import INPUT_IDS, LENGTH
from packsort.sources.objects import refuse_stream
from packsort.sources.source import Source
from packsort.sources.tokens.lengths import source_lengths
from packsort.tokenization.choice import TokenizerChoice

_COLUMNS = (LENGTH, INPUT_IDS, "messages", "conversations", "prompt", "text")  # of a source; lengths have other names
_BYTES_A_SEQUENCE, _BYTES_OF_A_PLAN = 250, 16  # for each sequence, as measured
_LISTED_PLANS = {"in_order": 4}  # a plan in input order lists its sequences, and is as large as four others
_WAYS = tuple(way for way in get_args(OverlongInComparison) if way not in ("error", "split_turns"))


@dataclass(frozen=True)
class Sequences:
    """Sequences that are compared.

    Attributes:
        column: Tokens of each sequence, (n,), as they were given.
        lengths: The same as integers, (n,).
        multi_turn: Whether each is a multi-turn conversation, (n,); None where turns are not known.
        seed: Seed of their shuffle.
        source: Their source, or None.
        name: Column of the source that the lengths come from.
        tokenized: The tokenizer's rows, or None where the source holds tokens or lengths.
    """

    column: Any
    lengths: NDArray[np.int64]
    multi_turn: NDArray[np.bool_] | None
    seed: int
    source: Source | None = None
    name: str = ""
    tokenized: TokenizedRows | None = field(default=None, compare=False)

    @cached_property
    def filled(self) -> NDArray[np.bool_]:
        """Mask of the sequences that have tokens: bool (n,). Others are dropped, or planning refuses them."""
        return self.lengths > 0

    @cached_property
    def shuffled(self) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Lengths and turns of the sequences that have tokens, in training order."""
        kept = np.flatnonzero(self.filled)
        order = kept[np.random.default_rng(self.seed).permutation(len(kept))]
        return self.lengths[order], None if self.multi_turn is None else self.multi_turn[order]

    def plan(self, config: PlanConfig) -> Plan:
        """Plan the sequences; errors name their rows."""
        if self.source is not None:
            ways = ("split_turns", *_WAYS) if self.tokenized is not None else _WAYS
            return plan_lengths(self.source, self.column, self.name, config, ways=ways)
        try:
            return plan_of_config(self.column, config)
        except OverlongError as error:
            raise error.worded(lambda row: f"sequence {row}", ways=_WAYS) from None

    def windows(self, limit: int) -> tuple[Sequences, Windows]:
        """Cut the conversations that are longer than a limit between turns.

        Returns:
            (the windows as sequences of their own, facts of the cuts).

        Raises:
            LengthError: No turn fits.
            OptionError: The rows are no conversations, or hold tokens already.
        """
        if self.tokenized is None:
            raise OptionError(
                "overlong='split_turns' cuts conversations while they are tokenized: pass conversations and a "
                "tokenizer, or choose one of 'error', 'drop', 'truncate'"
            )
        windows = self.tokenized.windows(limit)
        if not len(windows.lengths):
            raise LengthError(f"no turn of any conversation fits max_length {limit}: pass a longer one")
        flags = None if self.multi_turn is None else self.multi_turn[windows.rows]
        return Sequences(windows.lengths, windows.lengths, flags, self.seed), windows

    def check_turns(self, methods: tuple[str, ...]) -> None:
        """Refuse methods that need turns where they are not known.

        Raises:
            OptionError: A method needs turns.
        """
        needing = next((name for name in methods if name in NEED_TURNS), None)
        if needing is not None and self.multi_turn is None:
            raise OptionError(
                f"methods={needing!r} treats multi-turn conversations apart, and turns are not known: pass `turns`"
            )

    def check_lengths(self, most: int) -> None:
        """Refuse lengths that no text has: random packing would cut them into more packs than memory holds.

        Args:
            most: Most tokens of a sequence.

        Raises:
            LengthError: All sequences are empty, or one is longer.
        """
        if not self.filled.any():
            raise LengthError(
                f"all {len(self.lengths):,} sequences are empty, and empty='drop' leaves nothing to compare"
            )
        given = to_numpy(self.column)  # unsigned ones may not fit 64 bits with a sign
        row = int(np.argmax(given))
        if given[row] > most:
            where = f"sequence {row}" if self.source is None else self.source.where(row)
            raise LengthError(
                f"{where} has length {given[row]:,}, more than {most:,}: correct it, or pass a longer max_length",
                row,
                int(given[row]),
            )


def given_lengths(lengths: Any, turns: Any, seed: int) -> Sequences:
    """Take lengths that are passed as such.

    Raises:
        LengthError: There are none.
        OptionError: `turns` names a column, or does not fit the lengths.
    """
    column = as_chunked(as_lengths(lengths))
    if isinstance(turns, str):
        raise OptionError(
            f"turns={turns!r} names a column, and lengths have none: pass a value for each sequence instead"
        )
    return _sequences(column, turns, seed)


def read_sequences(
    source: Source,
    choice: TokenizerChoice | None,
    given: InputConfig,
    config: ComparisonConfig,
    *,
    turns: Any,
    tokens: Path | None,
    memory_limit: int,
    stage: Stage,
) -> Sequences:
    """Read or count the lengths and the turns of a source.

    Args:
        source: The rows.
        choice: Their tokenizer, or None where they hold tokens or lengths.
        given: Options of what goes in.
        config: Options of the comparison.
        turns: As for `packsort.compare`.
        tokens: Folder that keeps tokens, or None.
        memory_limit: Bytes of memory that the call may take.
        stage: Progress reporter.

    Raises:
        SourceError, TokenizerError, LengthError, OptionError: As for `packsort.compare`.
    """
    plans = len(config.limits) * sum(_LISTED_PLANS.get(name, 1) for name in config.methods if "padding" not in name)
    check_least_memory(
        memory_limit,
        used_memory() + FIXED_BYTES + source.num_rows * (_BYTES_A_SEQUENCE + plans * _BYTES_OF_A_PLAN),
        f"{source.num_rows:,} rows",
    )
    if turns is None or isinstance(turns, str):
        with stage("counting turns", total=source.num_rows, unit="rows") as advance:
            turns = source_turns(source, turns, advance)[0]
    if choice is None:
        with stage("reading lengths", total=source.num_rows, unit="rows") as advance:
            found, name = source_lengths(source, "; to make it of conversations or text, pass `tokenizer`", advance)
            column = as_chunked(as_lengths(found)) if not found.null_count else found
        return _sequences(column, turns, config.seed, source=source, name=name)
    tokenized = TokenizedRows(
        source,
        choice,
        given,
        folder=tokens,
        cut=config.overlong == "split_turns",
        memory_limit=memory_limit,
        stage=stage,
    )
    column = as_chunked(tokenized.lengths)
    return _sequences(column, turns, config.seed, source=source, name=INPUT_IDS, tokenized=tokenized)


def _sequences(column: pa.ChunkedArray, turns: Any, seed: int, **more: Any) -> Sequences:
    if not len(column):
        raise LengthError("lengths must not be empty, got 0 sequences")
    multi_turn = None if turns is None else multi_turn_flags(turns, len(column))
    lengths = to_numpy(column.fill_null(0)).astype(np.int64)
    return Sequences(column, lengths, multi_turn, seed, **more)


def is_source(source: Any) -> bool:
    """Tell a source with rows from lengths."""
    refuse_stream(source)
    if isinstance(source, (str, os.PathLike, Source, Mapping)):
        return True
    if isinstance(source, (list, tuple)):
        return bool(source) and isinstance(source[0], (str, os.PathLike))
    names: Any = getattr(source, "column_names", getattr(source, "columns", None))
    if isinstance(source, pa.RecordBatchReader):
        names = source.schema.names
    return hasattr(names, "__contains__") and any(name in names for name in _COLUMNS)

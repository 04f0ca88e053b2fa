"""Plan the rows of a source, with errors that name the file, the row and the column."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import types

from packsort._arrow import first_null, from_numpy, is_text
from packsort._options.plan import PlanConfig
from packsort.errors import LengthError, OptionError, SourceError
from packsort.planning.build import plan_of_config
from packsort.planning.overlong import WAYS, OverlongError
from packsort.planning.plan import Plan
from packsort.schema import INPUT_IDS
from packsort.sources.source import Source
from packsort.sources.text_codes import TextCodes, column_batches
from packsort.sources.tokens.rows import TokenRows
from packsort.tokenization.info import TokenizerInfo


def plan_lengths(
    source: Source, lengths: Any, column: str, config: PlanConfig, *, noun: str = "sequence", ways: Sequence[str] = WAYS
) -> Plan:
    """Plan the rows of a source by their lengths.

    Args:
        source: The rows.
        lengths: Tokens of each row, (rows,).
        column: Column that the lengths come from, for messages.
        config: Options of the plan. `groups`, `splittable` and `alone` may name a column of the source.
        noun: What the rows are, in the singular.
        ways: Values of `overlong` that the caller takes for rows that are too long.

    Raises:
        LengthError: A length cannot be planned; the message names file and row.
        SourceError: The source lacks a column that an option names, or the column has a null.
        OptionError: A column that an option names has the wrong type.
    """
    columns = {name: getattr(config, name) for name in ("groups", "splittable", "alone")}
    given = {option: name for option, name in columns.items() if isinstance(name, str)}
    try:
        with source.naming() if given else nullcontext():
            named = {option: option_column(source, option, name) for option, name in given.items()}
            return plan_of_config(lengths, replace(config, **named))
    except OverlongError as error:
        raise error.worded(source.where, noun, ways) from None
    except LengthError as error:
        if error.row is None:
            raise
        where = f"{source.where(error.row)}: column `{column}`"
        raise LengthError(_reason(where, error), error.row, error.length) from None


def plan_tokens(tokens: TokenRows, info: TokenizerInfo | None, config: PlanConfig, ways: Sequence[str] = WAYS) -> Plan:
    """Plan the sequences of a source that was read or tokenized.

    Args:
        tokens: The sequences.
        info: How they were tokenized, or None where the source held tokens.
        config: Options of the plan, as for `plan_lengths`.
        ways: Values of `overlong` that the caller takes for rows that are too long.

    Raises:
        LengthError, SourceError, OptionError: As for `plan_lengths`.
    """
    column, noun = (INPUT_IDS, "sequence") if info is None else (info.columns[0], info.noun)
    return plan_lengths(tokens.source, tokens.lengths, column, config, noun=noun, ways=ways)


def check_plan(plan: Plan, lengths: NDArray[np.int64], separated: bool, name: str) -> None:
    """Check that a plan is of the sequences of a source.

    Args:
        plan: The plan.
        lengths: Tokens of each sequence: int64 (rows,).
        separated: Whether the caller puts separators between sequences.
        name: Name of the source, for messages.

    Raises:
        OptionError: It is of other sequences, or has no room for separators.
    """
    if plan.separator != separated:
        raise OptionError(
            "the plan leaves room for separators: pass their token id as separator"
            if plan.separator
            else "the plan leaves no room for separators: separator must be None"
        )
    if plan.num_rows != len(lengths):
        raise OptionError(f"the plan has {plan.num_rows:,} sequences, but {name} has {len(lengths):,}")
    tokens = np.bincount(plan.sequence_ids, plan.piece_lengths, len(lengths)).astype(np.int64)
    wrong = tokens > lengths if plan.num_truncated or plan.has_starts else (tokens != lengths) & (tokens > 0)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise OptionError(
            f"the plan is of other sequences: its sequence {row} has {tokens[row]:,} tokens, that of {name} has "
            f"{lengths[row]:,}"
        )


def _reason(where: str, error: LengthError) -> str:
    """Word the error of one length for the row that it belongs to."""
    if error.length is None:
        return f"{where} is null; every row needs a length of at least 1"
    if error.length == 0:
        return f"{where} has length 0; lengths must be at least 1: pass empty='drop' to leave empty sequences out"
    if error.length < 0:
        return f"{where} has length {error.length}; lengths must be at least 1"
    return str(error).replace(f"sequence {error.row} ", f"{where} ", 1)


def option_column(source: Source, option: str, name: str) -> Any:
    """Read the column of a source that an option names.

    Args:
        source: The rows.
        option: `groups`, `splittable` or `alone`.
        name: The column.

    Raises:
        SourceError: There is no such column, or it has a null.
        OptionError: It has the wrong type.
    """
    if name not in source.schema.names:
        names = ", ".join(f"`{one}`" for one in source.schema.names)
        raise SourceError(f"{option}={name!r} names no column of the source; its columns are {names}")
    kind = source.schema.field(name).type
    if option == "groups" and is_text(kind) and not types.is_dictionary(kind):
        return _text_groups(source, name)
    column = source.read([name])[name]
    if option != "groups" and not types.is_boolean(column.type):
        raise OptionError(f"{option}={name!r} must name a column of booleans, got {column.type}")
    if column.null_count:
        raise _null_value(source, option, name, first_null(column))
    return column


def _text_groups(source: Source, name: str) -> pa.Array:
    """Return the groups of a column of text as numbers, as the plan would number them: (rows,)."""
    codes, found, first = TextCodes(), np.empty(source.num_rows, np.uint32), 0
    for column in column_batches(source, name):
        if column.null_count:
            raise _null_value(source, "groups", name, first + first_null(column))
        found[first : first + len(column)] = codes.of(column)
        first += len(column)
    return from_numpy(found)


def _null_value(source: Source, option: str, name: str, row: int) -> SourceError:
    return SourceError(f"{source.where(row)}: column `{name}` is null; {option} needs a value for every row")

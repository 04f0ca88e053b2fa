"""The first pass: each stretch of blocks counts its lengths, and says what it knows of its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from packsort._arrow import wider
from packsort._options.input import InputConfig
from packsort.errors import SourceError
from packsort.planning.length_counts import CountsOfLengths, counts_of
from packsort.ray.blocks import Stretch
from packsort.ray.kept import all_texts
from packsort.ray.remote import kept_remote, one_thread, task
from packsort.sources.sequence_columns import Dictionaries, read_sequence_columns
from packsort.sources.tokens.checked import CheckedRows
from packsort.sources.tokens.roles import column_roles, fits_in
from packsort.tokenization.kept import table_digest


@dataclass(frozen=True)
class Survey:
    """Facts that a stretch sends to the driver: some kilobytes.

    Attributes:
        counts: How many sequences have each number of tokens, padding left out.
        longest: Tokens of the longest sequence, and its row in the source.
        padded: Sequences whose padding is left out.
        padding_left_out: Tokens of that padding.
        undecided: For each column that may be per token: rows with tokens where it has one value for each, rows with
            tokens, and rows where the numbers differ.
        schema: Columns of the blocks that are read.
        columns: Names of all columns of the blocks.
        digest: Digest of all values.
        texts: Texts of each column of text that packs keep, in the order of the rows.
    """

    counts: CountsOfLengths
    longest: tuple[int, int]
    padded: int
    padding_left_out: int
    undecided: Mapping[str, tuple[int, int, int]]
    schema: pa.Schema
    columns: tuple[str, ...]
    digest: str
    texts: Dictionaries


def _survey(
    stretch: Stretch, config: InputConfig, keep: Sequence[str], *blocks: Any
) -> tuple[Survey, NDArray[np.uint8]]:
    """Return the survey of a stretch, and the lengths of its sequences, int64 (rows,), as bytes."""
    one_thread()
    lengths: list[NDArray[np.int64]] = []
    padding: list[NDArray[np.int64]] = []
    undecided: dict[str, tuple[int, int, int]] = {}
    digest = xxhash.xxh3_128()
    schemas: list[tuple[pa.Schema, pa.Schema]] = []
    texts: list[Dictionaries] = []
    for source in stretch.sources(blocks, config):
        table = source.read_file(0, column_roles(source.schema).read)
        kept = read_sequence_columns(source, keep)
        texts.append(kept.dictionaries)
        read = [*table.schema, *(source.schema.field(name) for name in keep)]
        schemas.append((pa.schema(read), source.schema))
        rows = CheckedRows(table, source, 0, config.empty)
        lengths.append(rows.lengths - rows.padding_left_out)
        padding.append(rows.padding_left_out)
        for name in rows.undecided:
            found, filled = rows.found(name), rows.lengths > 0
            own = int(((found == rows.lengths) & filled).sum()), int(filled.sum()), int((found != rows.lengths).sum())
            undecided[name] = added(undecided.get(name, (0, 0, 0)), own)
        digest.update(table_digest(table, kept.digest().encode()))
    all_lengths, all_padding = np.concatenate(lengths), np.concatenate(padding)
    at = int(all_lengths.argmax())
    survey = Survey(
        counts_of(all_lengths),
        (int(all_lengths[at]), stretch.first_row + at),
        int((all_padding > 0).sum()),
        int(all_padding.sum()),
        undecided,
        unified([read for read, _ in schemas]),
        tuple(dict.fromkeys(name for _, whole in schemas for name in whole.names)),
        digest.hexdigest(),
        all_texts(texts),
    )
    return survey, kept_remote(all_lengths.tobytes())


survey_stretch = task(_survey).options(num_returns=2)


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """Return the columns of all blocks.

    Raises:
        SourceError: A token column is missing in some blocks, or no type holds those that it has.
    """
    first, *others = schemas
    fields = {field.name: field.type for field in first}
    for other in others:
        if other.equals(first):
            continue
        for name in dict.fromkeys([*fields, *other.names]):
            if name not in fields or name not in other.names:
                raise SourceError(f"column `{name}` is in some blocks of the dataset and missing in others")
            both = wider(fields[name], other.field(name).type)
            if both is None:
                raise SourceError(
                    f"column `{name}` is {fields[name]} in some blocks of the dataset and {other.field(name).type} in "
                    "others"
                )
            fields[name] = both
    return pa.schema(fields)


def uneven_columns(surveys: Sequence[Survey]) -> dict[str, int]:
    """Return the list columns that have no value for each token, each with the number of rows where it differs."""
    found: dict[str, tuple[int, int, int]] = {}
    for survey in surveys:
        for name, numbers in survey.undecided.items():
            found[name] = added(found.get(name, (0, 0, 0)), numbers)
    return {
        name: differing for name, (fitting, filled, differing) in found.items() if not fits_in(name, fitting, filled)
    }


def added(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    """Add three numbers to three others."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]

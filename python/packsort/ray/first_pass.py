"""The first pass: all stretches are surveyed, and the driver plans from their counts."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

import pyarrow as pa

from packsort._options.plan import PlanConfig
from packsort._progress import SearchProgress, Stage, note_search
from packsort.errors import LengthError
from packsort.planning.counted import CountedPlan, plan_of_counts
from packsort.planning.overlong import OverlongError, OverlongSequences
from packsort.ray.blocks import Blocks, Stretch, stretches
from packsort.ray.numbering import summed
from packsort.ray.remote import Ref, Traffic
from packsort.ray.survey import Survey, survey_stretch, unified
from packsort.shards.config import ShardConfig
from packsort.sources.tokens.roles import ColumnRoles, column_roles


@dataclass(frozen=True)
class Surveyed:
    """A source after the first pass.

    Attributes:
        blocks: The source.
        stretches: Its stretches.
        refs: Blocks of each stretch.
        surveys: What is known of each.
        lengths: Lengths of each, in the object store.
    """

    blocks: Blocks
    stretches: list[Stretch]
    refs: list[list[Ref]]
    surveys: list[Survey]
    lengths: list[Ref]

    @property
    def schema(self) -> pa.Schema:
        """Columns that are read."""
        return unified([survey.schema for survey in self.surveys])

    @property
    def names(self) -> tuple[str, ...]:
        """All columns of the source."""
        if self.blocks.columns is not None:
            return tuple(self.blocks.columns.names)
        return tuple(dict.fromkeys(name for survey in self.surveys for name in survey.columns))

    @property
    def roles(self) -> ColumnRoles:
        """Roles of the columns; those that are not read have the type null."""
        whole = self.blocks.columns
        if whole is None:
            read = self.schema
            whole = pa.schema([read.field(n) if n in read.names else pa.field(n, pa.null()) for n in self.names])
        return column_roles(whole)

    def where(self, row: int) -> str:
        """Name a row of the source."""
        for stretch in self.stretches:
            if stretch.first_row <= row < stretch.first_row + stretch.rows:
                return f"`{stretch.path}` row {row - stretch.first_row + stretch.first_in_file}"
        raise IndexError(row)


def survey(blocks: Blocks, config: ShardConfig, stretch_bytes: int, stage: Stage, traffic: Traffic) -> Surveyed:
    """Make the first pass."""
    divided = list(stretches(blocks, stretch_bytes))
    tasks = []
    for stretch, refs in divided:
        traffic.sending(stretch, config.input, config.keep)
        tasks.append(survey_stretch.remote(stretch, config.input, config.keep, *refs))
    found: dict[int, Survey] = {}
    rows = sum(stretch.rows for stretch, _ in divided)
    ended = traffic.as_completed([ref for ref, _ in tasks])
    with stage("counting lengths", total=rows, unit="sequences") as advance, closing(ended):
        for index, one in ended:
            found[index] = one
            advance(divided[index][0].rows)
    return Surveyed(
        blocks,
        [stretch for stretch, _ in divided],
        [refs for _, refs in divided],
        [found[index] for index in range(len(divided))],
        [lengths for _, lengths in tasks],
    )


def plan(surveyed: Surveyed, config: ShardConfig, stage: Stage) -> CountedPlan:
    """Plan all sequences.

    Raises:
        LengthError: A sequence is too long; the message names the longest.
    """
    counts = summed([one.counts for one in surveyed.surveys])
    with stage("planning") as advance:
        options = _with_progress(config.plan, note_search(advance))
        try:
            return plan_of_counts(counts, options)
        except LengthError as error:
            longest, row = max((one.longest for one in surveyed.surveys), key=lambda one: (one[0], -one[1]))
            limit = options.max_length // options.pad_to_multiple_of * options.pad_to_multiple_of
            if options.overlong != "error" or longest <= limit:
                raise
            found = OverlongSequences(
                count=int(counts[1][counts[0] > limit].sum()),
                sequences=int(counts[1].sum()),
                row=row,
                length=longest,
                limit=limit,
                multiple=options.pad_to_multiple_of,
                max_length=options.max_length,
            )
            raise OverlongError(found).worded(surveyed.where, ways=("drop", "truncate")) from error


def _with_progress(config: PlanConfig, progress: SearchProgress) -> PlanConfig:
    return replace(config, on_progress=progress) if config.strategy == "optimal" else config

"""The record of a directory that was packed with Ray: that of `packsort.write_shards` for the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from packsort import _core
from packsort.gathering.fillers import Fillers, has_fillers
from packsort.planning.counted import CountedPlan
from packsort.ray.blocks import Blocks, Stretch
from packsort.ray.shards import WrittenShard
from packsort.ray.survey import Survey
from packsort.shards.config import ShardConfig
from packsort.shards.manifest import Counts, Manifest, SourceFileInfo
from packsort.sources.files.skipped import count_skipped
from packsort.sources.sequence_columns import Dictionaries
from packsort.sources.tokens.roles import MASKS, ColumnRoles


def manifest_of(
    config: ShardConfig,
    blocks: Blocks,
    surveyed: Sequence[tuple[Stretch, Survey]],
    roles: ColumnRoles,
    uneven: dict[str, int],
    names: Sequence[str],
    plan: CountedPlan,
    fingerprint: str,
    fillers: Fillers,
    schema: pa.Schema,
    shards: Sequence[WrittenShard],
    dictionaries: Dictionaries,
) -> Manifest:
    """Return the record of the packed directory.

    Args:
        config: Options of the shards.
        blocks: The source.
        surveyed: What is known of its stretches.
        roles: Roles of its columns.
        uneven: List columns that are left out, with the rows where they differ.
        names: Names of all columns of the source.
        plan: The plan.
        fingerprint: Fingerprint of the plan of all lengths.
        fillers: Tokens of separators and padding.
        schema: Schema of the shards.
        shards: The shards, in order.
        dictionaries: Texts of the columns of text that packs keep.
    """
    files = tuple(
        SourceFileInfo(
            path=file.path,
            rows=file.rows,
            bytes=file.bytes,
            of_split=file.split,
            **_reasons([survey for stretch, survey in surveyed if stretch.file == index], plan),
        )
        for index, file in enumerate(blocks.files)
    )
    counts = Counts(
        rows=plan.num_rows,
        sequences=plan.num_sequences,
        tokens=plan.num_tokens,
        packs=plan.num_packs,
        lower_bound=plan.lower_bound,
        gap=plan.gap,
        separators=plan.num_separators,
        padding=plan.num_padding,
        dropped=plan.num_dropped,
        truncated=plan.num_truncated,
        split=0,
        tokens_lost=plan.tokens_lost,
        turns_left_out=0,
        empty=plan.num_empty,
        padded=sum(file.padded for file in files),
        padding_left_out=sum(file.padding_left_out for file in files),
        without_loss=sum(shard.without_loss for shard in shards),
        packs_without_loss=sum(shard.packs_without_loss for shard in shards),
    )
    return Manifest(
        packsort_version=_core.__version__,
        max_length=plan.max_length,
        options=config.recorded(fillers if has_fillers(plan) else None),
        sources=files,
        tokenizer=None,
        columns={field.name: str(field.type) for field in schema},
        left_out=tuple(name for name in names if (name in roles.other or name in uneven) and name not in config.keep),
        counts=counts,
        plan=fingerprint,
        shards=tuple(shard.info for shard in shards),
        uneven=uneven,
        masks=tuple(name for name in roles.lists if name in MASKS),
        skipped=count_skipped(blocks.skipped),
        dictionaries=dict(dictionaries),
    )


def _reasons(surveys: Sequence[Survey], plan: CountedPlan) -> dict[str, int]:
    """Count what was left out of a file."""
    found = dict.fromkeys(("dropped", "truncated", "tokens_lost", "empty"), 0)
    for lengths, numbers in (survey.counts for survey in surveys):
        long = lengths > np.uint64(plan.longest)
        kept = np.uint64(plan.longest if plan.num_truncated else 0)
        name = "truncated" if plan.num_truncated else "dropped"
        found[name] += int(numbers[long].sum())
        found["tokens_lost"] += int(((lengths[long] - kept) * numbers[long]).sum())
        found["empty"] += int(numbers[lengths == 0].sum())
    return found | {
        "padded": sum(survey.padded for survey in surveys),
        "padding_left_out": sum(survey.padding_left_out for survey in surveys),
    }

"""Number and schema of the shards of a plan."""

from __future__ import annotations

import json

import pyarrow as pa

from packsort.planning.facts import PlanFacts
from packsort.shards.manifest import FORMAT_VERSION
from packsort.sources.sequence_columns import Dictionaries, class_labels

_MOST_TOKENS = 2**31 - 1  # of a shard, whose lists have 32-bit offsets


def count_shards(tokens: pa.Schema, plan: PlanFacts, shard_size: int) -> int:
    """Return the number of shards.

    Args:
        tokens: Token columns of the source.
        plan: The plan.
        shard_size: Bytes of a shard before compression, approximately.
    """
    token_bytes = sum(field.type.value_type.bit_width for field in tokens) / 8
    width = plan.max_length
    packs = min(shard_size / (token_bytes * width), _MOST_TOKENS // width)
    return max(1, -(-plan.num_packs // max(1, int(packs))))


def shard_schema(packs: pa.Schema, plan: PlanFacts, dictionaries: Dictionaries) -> pa.Schema:
    """Return the schema of shards, with what readers look for in its metadata.

    Args:
        packs: Columns of packs.
        plan: The plan.
        dictionaries: Texts of each column of codes.
    """
    facts = {"format_version": FORMAT_VERSION, "max_length": plan.max_length}
    return packs.with_metadata({"packsort": json.dumps(facts), **class_labels(dictionaries)})

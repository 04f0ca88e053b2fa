"""Choices of options, as types for annotations and as tuples."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

Strategy = Literal["ffd", "bfd", "hybrid", "padding", "random", "in_order", "optimal", "greedy"]
"""Rule that puts sequences into packs; `packsort.plan` describes each. `greedy` is another name of `ffd`."""

PackedBy = Literal[Strategy, "given"]
"""Rule that made the packs of a directory: `given` for those that `Plan.from_packs` was given."""

StreamStrategy = Literal["ffd", "in_order", "greedy"]
"""Rule that puts the sequences of a `PackedStream` into packs. `greedy` is another name of `ffd`."""

Seed: TypeAlias = int | Literal["auto"] | None
"""Seed of a shuffle. `auto` is 0, and None for packs in input order; None does not shuffle."""

Overlong = Literal["error", "drop", "truncate", "split"]
"""Treatment of sequences longer than `max_length`."""

OverlongInShards = Literal["error", "drop", "truncate", "split", "split_turns"]
"""`Overlong`, and `split_turns` for conversations that are tokenized on the way."""

OverlongInStream = Literal["error", "drop", "truncate"]
"""Treatment of sequences longer than `max_length` in a stream."""

OverlongInComparison = Literal["error", "drop", "truncate", "split_turns"]
"""Treatment of sequences longer than `max_length` in every compared method but `random`."""

ComparedMethod = Literal[
    "ffd",
    "bfd",
    "optimal",
    "hybrid",
    "only_single",
    "in_order",
    "random",
    "padding",
    "padding_best",
    "padding_fixed",
    "greedy",
]
"""Way to make training rows; `packsort.compare` describes each. `greedy` is another name of `ffd`."""

EmptySequences = Literal["error", "drop"]
"""Treatment of sequences without tokens."""

OnError = Literal["error", "skip"]
"""Treatment of files of a source that cannot be read."""

LossChoice = Literal["auto", "assistant", "completion", "all"]
"""Tokens that carry loss where text is tokenized; `packsort.tokenize` describes each."""

TruncationSide = Literal["right", "left"]
"""Side on which `overlong="truncate"` removes tokens."""

ShardFormat = Literal["arrow", "parquet"]
"""File format of shards: memory-mapped Arrow IPC, or Parquet."""

Verify = Literal["open", "first", "never"]
"""Time at which checksums of shards are compared: when the directory is opened, when a shard is first used, never."""

ExportFormat = Literal["megatron", "megatron-bin", "trl"]
"""Trainer whose files `packsort.export` writes: Megatron-Bridge and NeMo, GPT training of Megatron-Core, or TRL."""

Tail = Literal["pad", "drop"]
"""Treatment of packs that do not fill the last step."""

Layout = Literal["flat", "rows", "megatron", "torchtune"]
"""Shapes and names of a batch's tensors."""

LabelPlacement = Literal["unshifted", "shifted"]
"""Position of labels: at the token they name, or at the token before it."""

Attention = Literal["document", "pack"]
"""Tokens that a token attends to: those of its own sequence, or all earlier ones of its pack."""

RowPadding = Literal["own", "last"]
"""Segment that the padding at the end of a row belongs to: its own, or the last sequence's."""

LossWeights = Literal["token", "sample", "sqrt"]
"""Weighting of the loss over a step."""

STRATEGY_ALIASES: dict[str, str] = {"greedy": "ffd"}
"""Strategies by their other names. Options are resolved when they are checked, so plans and manifests hold no alias."""
STRATEGIES: tuple[str, ...] = tuple(one for one in get_args(Strategy) if one not in STRATEGY_ALIASES)
STREAM_STRATEGIES: tuple[str, ...] = tuple(one for one in get_args(StreamStrategy) if one not in STRATEGY_ALIASES)
LAYOUTS: tuple[str, ...] = get_args(Layout)
PIECEWISE_STRATEGIES: tuple[str, ...] = ("ffd", "bfd", "padding", "in_order", "optimal")
"""Strategies that can pack pieces that were cut beforehand."""
KEPT_IN_ORDER: tuple[str, ...] = ("in_order", "given")
"""Strategies whose packs keep their order where no seed shuffles them."""
DEFAULT_WINDOW: Final = 64
"""Window of `in_order` where none is given."""

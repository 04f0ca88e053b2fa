"""Keyword arguments that callables take, for editors, type checkers and the check of unknown names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from packsort._options.choices import (
    Attention,
    EmptySequences,
    LabelPlacement,
    LossChoice,
    LossWeights,
    OnError,
    Overlong,
    OverlongInShards,
    RowPadding,
    Strategy,
    TruncationSide,
)
from packsort._progress import SearchProgress


class SourceOptions(TypedDict, total=False):
    """Keyword arguments that say which rows and columns of a source are meant.

    Attributes:
        split: Split to read, several joined by "+", or "all". None where the source has only one, else it is refused.
        columns: Column of the source for each column that packsort looks for, or None for equal names.
        empty: Treatment of sequences without tokens.
        memory_map: Whether to map Arrow files into memory, True by default. A mapped file that another program shortens
            ends the process (SIGBUS); with False, files are read.
        storage_options: Options of the fsspec file system of URLs such as `s3://`, as pandas and `datasets` take them:
            keys, endpoints, profiles. None takes them from the environment.
    """

    split: str | None
    columns: Mapping[str, str] | None
    empty: EmptySequences
    memory_map: bool
    storage_options: Mapping[str, Any] | None


class InputOptions(SourceOptions, total=False):
    """`SourceOptions`, and how text becomes tokens and labels.

    Attributes:
        loss: Tokens that carry loss.
        template_date: Date that a chat template sees, or None for today.
        num_proc: Number of processes that tokenize; None, the default, is this one. `auto` is one for each core of up
            to 16 if there are at least 4 cores and 50,000 rows. A script then needs `if __name__ == "__main__":`.
    """

    loss: LossChoice
    template_date: str | None
    num_proc: int | Literal["auto"] | None


class _Constraints(TypedDict, total=False):
    """Constraints on packs, shared by every callable that plans."""

    truncation_side: TruncationSide
    max_sequences: int | None
    pad_to_multiple_of: int
    num_packs_multiple_of: int
    groups: Any
    splittable: Any
    alone: Any
    window: int | None
    gap: float | None
    max_iterations: int | None
    max_seconds: float | None


class PlanOptions(_Constraints, total=False):
    """Keyword arguments of `packsort.plan` beside `seed` and `epoch`."""

    strategy: Strategy
    overlong: Overlong
    empty: EmptySequences
    separator: bool
    piece_starts: Any
    on_progress: SearchProgress | None


class ShardOptions(_Constraints, InputOptions, total=False):
    """Keyword arguments of `packsort.write_shards` that concern its source and its plan, beside `seed` and `epoch`."""

    strategy: Strategy
    overlong: OverlongInShards
    on_error: OnError
    separator: int | str | None
    pad_token_id: int | None
    keep: str | Sequence[str] | None


class TokenOptions(_Constraints, InputOptions, total=False):
    """Options of plans whose tokens are at hand: separators and padding are token ids."""

    overlong: Overlong
    separator: int | None
    pad_token_id: int | None
    keep: str | Sequence[str] | None
    piece_starts: Any
    on_progress: SearchProgress | None


class PackOptions(TokenOptions, total=False):
    """Keyword arguments of `packsort.pack` beside `seed` and `epoch`."""

    strategy: Strategy


class LayoutOptions(TypedDict, total=False):
    """Keyword arguments of `packsort.torch.Batcher` beside `layout` and `max_length`."""

    labels: LabelPlacement | None
    attention: Attention
    seq_idx: bool | None
    max_sequences: int | None
    max_fillers: int | None
    pad_batch_to_multiple_of: int
    padding: RowPadding
    loss_weights: LossWeights | None
    weight_column: str | None
    block_mask: Any
    pad_token_id: int
    keep: str | Sequence[str] | None
    drop_columns: str | Sequence[str]


class LoaderOptions(PackOptions, total=False):
    """Keyword arguments of `packsort.torch.PackedLoader` that concern its plan and its layout."""

    labels: LabelPlacement | None
    attention: Attention
    seq_idx: bool | None
    pad_batch_to_multiple_of: int
    padding: RowPadding
    loss_weights: LossWeights | None
    weight_column: str | None
    block_mask: Any
    drop_columns: str | Sequence[str]


def names(declared: Any) -> frozenset[str]:
    """Return the keys of a `TypedDict`."""
    keys: frozenset[str] = declared.__required_keys__ | declared.__optional_keys__
    return keys

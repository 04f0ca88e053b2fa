"""Options of a layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from packsort import _checks
from packsort._options.attention_kinds import AttentionKinds, find_kinds
from packsort._options.choices import LAYOUTS, Attention, LabelPlacement, Layout, LossWeights, RowPadding
from packsort._options.keywords import LayoutOptions, names
from packsort.errors import OptionError

_READ_BY_TRANSFORMERS = ("flat", "rows")
_LAYOUT_CLASHES = (
    ("labels", "unshifted", ("megatron",), "Megatron does not shift labels itself"),
    ("labels", "shifted", ("torchtune",), "torchtune's recipes shift labels themselves"),
    ("seq_idx", True, ("megatron", "torchtune"), "Megatron's `PackedSeqParams` derives it, torchtune has none"),
    ("max_sequences", ..., ("rows", "torchtune"), "its shapes are fixed without it"),
    ("max_fillers", ..., ("rows", "megatron", "torchtune"), "no shape depends on the number of fillers"),
    ("pad_batch_to_multiple_of", ..., ("rows", "torchtune"), "each row has max_length tokens: choose a multiple"),
    ("padding", "last", ("flat", "megatron", "torchtune"), "the layout defines what its padding belongs to"),
    ("block_mask", ..., ("megatron",), "Megatron's attention takes `cu_seqlens_*`"),
)


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """Options of a layout, complete and checked.

    Attributes:
        layout: Shapes and names of the tensors.
        max_length: Most tokens of a pack, and the width of rows.
        labels: Placement of labels; None is what the layout's readers expect.
        attention: Tokens that a token attends to.
        seq_idx: Whether to add each token's sequence number; None adds it where transformers' models read the layout.
        max_sequences: Most sequences of a pack, which fixes all shapes; None leaves them free.
        max_fillers: Most separators and stretches of padding in a pack whose shapes are fixed.
        pad_batch_to_multiple_of: Number of which the tokens of a batch are a multiple.
        padding: Segment that the padding of a row belongs to.
        loss_weights: Weighting of the loss over a step; None adds no weights.
        weight_column: Column of the packs whose values multiply the loss weights; None multiplies by none.
        block_mask: Kinds of attention to add FlexAttention's `BlockMask` for; None adds none.
        pad_token_id: Token id of padding.
        keep: Columns with one value for each sequence; None tells them by their number of values.
        drop_columns: Columns of the packs that are left out of batches.

    Raises:
        OptionError: A value is not allowed, or an option does not go with the layout.
    """

    layout: Layout = "flat"
    max_length: int
    labels: LabelPlacement | None = None
    attention: Attention = "document"
    seq_idx: bool | None = None
    max_sequences: int | None = None
    max_fillers: int | None = None
    pad_batch_to_multiple_of: int = 1
    padding: RowPadding = "own"
    loss_weights: LossWeights | None = None
    weight_column: str | None = None
    block_mask: AttentionKinds | None = None
    pad_token_id: int = 0
    keep: tuple[str, ...] | None = None
    drop_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _checks.one_of("layout", self.layout, LAYOUTS)
        _checks.one_of("labels", self.labels, (None, *get_args(LabelPlacement)))
        _checks.one_of("attention", self.attention, get_args(Attention))
        _checks.one_of("padding", self.padding, get_args(RowPadding))
        _checks.one_of("loss_weights", self.loss_weights, (None, *get_args(LossWeights)))
        object.__setattr__(self, "max_length", _checks.max_length(self.max_length))
        object.__setattr__(self, "pad_token_id", _checks.token_id("pad_token_id", self.pad_token_id))
        if self.weight_column is not None:
            if not isinstance(self.weight_column, str) or not self.weight_column:
                raise OptionError(f"weight_column must be the name of a column, or None, got {self.weight_column!r}")
            if self.loss_weights is None:
                raise _checks.clash(
                    f"weight_column={self.weight_column!r}",
                    "loss_weights=None",
                    "its values multiply the loss weights: pass loss_weights='token'",
                )
        if self.keep is not None:
            object.__setattr__(self, "keep", _checks.column_names("keep", self.keep))
        if self.seq_idx is None:
            object.__setattr__(self, "seq_idx", self.layout in _READ_BY_TRANSFORMERS)
        object.__setattr__(self, "drop_columns", _checks.column_names("drop_columns", self.drop_columns))
        object.__setattr__(self, "seq_idx", _checks.boolean("seq_idx", self.seq_idx))
        object.__setattr__(self, "block_mask", find_kinds(self.block_mask))
        if self.max_sequences is not None:
            most = _checks.integer("max_sequences", self.max_sequences, 1, 2**31 - 1, ", or None")
            object.__setattr__(self, "max_sequences", most)
        if self.max_fillers is not None:
            if self.max_sequences is None:
                raise OptionError("max_fillers needs max_sequences: without it no shape is fixed")
            most = _checks.integer("max_fillers", self.max_fillers, 0, 2**31 - 1, ", or None")
            object.__setattr__(self, "max_fillers", most)
        multiple = _checks.integer("pad_batch_to_multiple_of", self.pad_batch_to_multiple_of, 1, 2**31 - 1)
        object.__setattr__(self, "pad_batch_to_multiple_of", multiple)
        for name, value, layouts, why in _LAYOUT_CLASHES:
            found = getattr(self, name)
            if self.layout in layouts and (found == value or (value is ... and found != getattr(LayoutConfig, name))):
                option = name if value is ... or value is True else f"{name}={value!r}"
                others = _checks.listed(one for one in LAYOUTS if one not in layouts)
                raise _checks.clash(option, f"layout={self.layout!r}", f"{why}; layouts that take it: {others}")
        if self.layout == "torchtune" and self.block_mask is not None and self.block_mask.only is None:
            kinds = _checks.listed(name for name, _ in self.block_mask.by_kind)
            raise OptionError(f"layout='torchtune' holds one mask for all layers, and the model has the kinds {kinds}")


def layout_config(caller: str, layout: Any, max_length: Any, options: Mapping[str, Any]) -> LayoutConfig:
    """Check the keyword arguments that concern a layout and complete them; see `plan_config`."""
    _checks.keywords(caller, options, names(LayoutOptions))
    return LayoutConfig(layout=layout, max_length=max_length, **options)

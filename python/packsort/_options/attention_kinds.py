"""Kinds of attention of a model's layers, as its configuration states them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from packsort import _checks
from packsort._warn import warn
from packsort.errors import OptionError

ALL_FULL: Final = "full"
"""The choice of `block_mask` for models whose layers all attend to the whole sequence."""

_WINDOWS_ARE_LOST: Final = (
    "block_mask=True is for models whose layers all attend to the whole sequence; in others a sliding window is lost: "
    f"pass block_mask=model.config, which makes a mask for each kind of layers, or block_mask={ALL_FULL!r}"
)
_WITHOUT: Final = ("linear_attention", "conv", "mamba", "moe", "mlp")  # layers without attention


@dataclass(frozen=True)
class LayerAttention:
    """Tokens of a sequence that a token attends to in one kind of layers, all before it unless limited.

    Attributes:
        window: Number of the last tokens, itself included; None for all.
        chunk: Tokens of the chunks that a sequence is cut into; a token attends to its own. None for no chunks.

    Raises:
        OptionError: A value is not an integer of at least 1.
    """

    window: int | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        for name in ("window", "chunk"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _checks.integer(name, value, 1, 2**63 - 1, ", or None"))


@dataclass(frozen=True)
class AttentionKinds:
    """Attention of each kind of layers of a model.

    Attributes:
        by_kind: Names of the kinds, as `config.layer_types` has them, and their attention; None for layers without.
    """

    by_kind: tuple[tuple[str, LayerAttention | None], ...]

    @property
    def only(self) -> LayerAttention | None:
        """Attention of all layers, or None where kinds of layers differ."""
        different = {attention for _, attention in self.by_kind}
        return different.pop() if len(different) == 1 else None


FULL: Final = AttentionKinds((("full_attention", LayerAttention()),))


def find_kinds(value: Any) -> AttentionKinds | None:
    """Check `block_mask` and return the kinds of attention that it asks masks for.

    Args:
        value: False, True, `"full"`, or a model's configuration, or the model.

    Raises:
        OptionError: The value is none of these, or `model_kinds` does not know the model's attention.
    """
    if value is None or isinstance(value, AttentionKinds):
        return value
    if hasattr(getattr(value, "config", value), "model_type"):
        return model_kinds(value)
    if isinstance(value, str) and value == ALL_FULL:
        return FULL
    try:
        wanted = _checks.boolean("block_mask", value)
    except OptionError:
        choices = f"True, False, {ALL_FULL!r} or a model's configuration"
        raise OptionError(f"block_mask must be {choices}, got {value!r}") from None
    if wanted:
        warn([_WINDOWS_ARE_LOST])
    return FULL if wanted else None


def model_kinds(model: Any) -> AttentionKinds:
    """Return the kinds of attention of a model.

    Models of `transformers` take one mask where all layers are of one kind, and else a dict of masks by the names in
    `config.layer_types`, the same that `transformers.masking_utils.create_masks_for_generate` makes.

    Args:
        model: A model of `transformers`, or its configuration.

    Raises:
        OptionError: The model has no layers with attention, or layers whose attention is not known here.
    """
    config = getattr(model, "config", model)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    layer_types = getattr(text, "layer_types", None)
    if layer_types is not None:
        kinds = AttentionKinds(tuple(_attention_of(layer_types, text)))
        if all(attention is None for _, attention in kinds.by_kind):
            raise OptionError(f"masks are for attention, and model type {text.model_type!r} has no layer with any")
        return kinds
    if (window := getattr(text, "sliding_window", None)) is not None:
        return AttentionKinds((("sliding_attention", LayerAttention(window=window)),))
    if (chunk := getattr(text, "attention_chunk_size", None)) is not None:
        return AttentionKinds((("chunked_attention", LayerAttention(chunk=chunk)),))
    return FULL


def _attention_of(layer_types: Iterable[str], config: Any) -> Iterable[tuple[str, LayerAttention | None]]:
    """Yield the name of each kind of layers, once, and its attention."""
    names = [part for kind in layer_types for part in ("full_attention", "linear_attention") if kind == "hybrid"]
    for kind in dict.fromkeys([*names, *(kind for kind in layer_types if kind != "hybrid")]):
        if kind == "full_attention":
            yield kind, LayerAttention()
        elif kind == "sliding_attention":
            yield kind, LayerAttention(window=_size(config, "sliding_window", kind))
        elif kind == "chunked_attention":
            yield kind, LayerAttention(chunk=_size(config, "attention_chunk_size", kind))
        elif kind in _WITHOUT:
            yield kind, None
        else:
            raise OptionError(
                f"no mask is known for layers of kind {kind!r}, which model type {config.model_type!r} has: train it "
                "without one, and look at it with `packsort.torch.check_isolation`"
            )


def _size(config: Any, name: str, kind: str) -> int:
    size = getattr(config, name, None)
    if size is None:
        raise OptionError(f"layers of kind {kind!r} need `{name}` in the model's configuration, which has none")
    return int(size)

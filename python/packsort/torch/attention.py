"""Fast attention for flat batches in models of transformers, without a compiler or a package to build.

`register` makes `attn_implementation="packsort_varlen"` known to transformers: PyTorch's variable-length flash
attention, which reads the sequences from `cu_seq_lens_q`. SDPA builds the mask of the whole batch instead, tokens x
tokens, which makes training steps 1.5 to 2.5 times as long on long packs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch

from packsort._install import pip_install
from packsort.errors import OptionError
from packsort.torch._varlen import attend

__all__ = ["register"]

_NAME = "packsort_varlen"
_MASKS = "transformers.masking_utils"
_BOTH_WAYS = ("bidirectional_", "sliding_window_bidirectional_", "or_masks", "blockwise_")  # more than causal attention
_WITHOUT = {  # arguments of attention functions that change the scores, and what they are
    "softcap": "a soft cap on scores",
    "s_aux": "attention sinks",
    "sinks": "attention sinks",
    "position_bias": "a bias on scores",
    "indices": "sparse attention",
    "block_indices": "sparse attention",
}


def register() -> str:
    """Make `attn_implementation="packsort_varlen"` known to transformers.

    The attention is causal within the sequences that `cu_seq_lens_q` of a batch tells, as the layout `flat` has it,
    with grouped key-value heads. On a CUDA device it is the flash attention of PyTorch 2.11 or later, in bfloat16 or
    float16. Elsewhere each sequence goes through SDPA by itself, so that a run can be tried without a GPU.

    What the kernel cannot do right is refused in the forward pass, with an `OptionError`: batches of several rows,
    masks and padding, keys and values of an earlier call, sliding windows and chunks that are shorter than the longest
    sequence, soft caps, attention sinks, dropout, and attention in both directions.

    Returns:
        The name, `"packsort_varlen"`.

    Raises:
        ImportError: transformers is not installed.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from packsort.torch import attention
        >>> config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
        ...                      num_attention_heads=2, attn_implementation=attention.register())
        >>> starts = torch.tensor([0, 3, 5], dtype=torch.int32)  # two sequences
        >>> tokens, positions = torch.tensor([[1, 2, 3, 4, 5]]), torch.tensor([[0, 1, 2, 0, 1]])
        >>> model = LlamaForCausalLM(config)
        >>> model(tokens, position_ids=positions, cu_seq_lens_q=starts, max_length_q=3).logits.shape
        torch.Size([1, 5, 8])
    """
    try:
        from transformers import AttentionInterface, AttentionMaskInterface
    except ImportError as error:
        raise ImportError(f"packsort.torch.attention needs transformers: {pip_install('packsort[hf]')}") from error
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, _mask)
    return _NAME


class _SequenceMask:
    """Mask of a layer, in the place of a tensor: causal attention within sequences.

    Attributes:
        local_size: Width of a sliding window or chunk, or None.
    """

    def __init__(self, local_size: int | None) -> None:
        self.local_size = local_size

    def __getitem__(self, _: Any) -> _SequenceMask:
        return self  # some models cut masks to the length of the keys

    @classmethod
    def __torch_function__(cls, *_: Any) -> Any:
        raise _refusal("a model that applies masks itself", "choose 'sdpa' or 'eager'")


def _mask(
    *,
    mask_function: Callable[..., Any],
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    **_: Any,
) -> _SequenceMask:
    """Make the mask of a layer: transformers' mask interface."""
    for function in _parts(mask_function):
        if function.__qualname__.startswith(_BOTH_WAYS):
            raise _refusal("attention to later tokens", "choose 'sdpa' or 'flex_attention'")
        if function.__module__ != _MASKS:
            raise _refusal(f"a mask of the model's own ({function.__qualname__})", "choose 'sdpa' or 'flex_attention'")
    if attention_mask is not None and not attention_mask.all():
        raise _refusal("padding in attention_mask", "pass batches of layout='flat', which have none")
    return _SequenceMask(local_size)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any = None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: torch.Tensor | None = None,
    max_length_q: Any = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within sequences: transformers' attention interface.

    Args:
        module: The attention layer.
        query: Shape (1, heads, tokens, head_dim).
        key: Shape (1, key_value_heads, tokens, head_dim).
        value: Shape (1, key_value_heads, tokens, value_dim).
        attention_mask: The result of `_mask`, or None in a model that asks for no mask.
        scaling: Factor of the scores.
        dropout: Must be 0.
        is_causal: Whether the layer is causal; None asks the module.
        sliding_window: Width of the layer's window.
        cu_seq_lens_q: Start of each sequence and the end of the last, int32 (sequences + 1,).
        max_length_q: Tokens of the longest sequence.
        **others: What else the model and the batch pass.

    Returns:
        Shape (1, tokens, heads, value_dim), and no attention weights.
    """
    rows, _, tokens, _ = query.shape
    if not (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        raise _refusal(
            f"attention in both directions, as in {type(module).__name__}",
            "choose another for this part, as in attn_implementation={'text_config': 'packsort_varlen', '': 'sdpa'}",
        )
    if cu_seq_lens_q is None:
        raise _refusal(
            "batches without cu_seq_lens_q",
            "pass batches of layout='flat' as `model(**batch)`; to generate, or where the model does not hand "
            "cu_seq_lens_q on to its layers, choose 'sdpa'",
        )
    if rows != 1:
        raise _refusal(f"batches of several rows (here {rows})", "pass batches of layout='flat', which have one")
    if key.shape[2] != tokens:
        raise _refusal("keys and values of an earlier call", "pass use_cache=False, or choose 'sdpa' to generate")
    if not (attention_mask is None or isinstance(attention_mask, _SequenceMask)):
        raise _refusal(f"a {type(attention_mask).__name__} as attention_mask", "pass none (block_mask=False)")
    if dropout:
        raise _refusal(f"dropout (here {dropout})", "set attention_dropout of the model's configuration to 0")
    for name, what in _WITHOUT.items():
        if others.get(name) is not None:
            raise _refusal(what, "choose 'flex_attention' or 'eager'")
    if others.get("output_attentions"):
        raise _refusal("output_attentions=True", "choose 'eager'")
    longest = tokens if max_length_q is None else int(max_length_q)
    for width in (sliding_window, attention_mask.local_size if attention_mask is not None else None):
        if width is not None and width < longest:
            raise _refusal(
                f"a window of {width} tokens in sequences of up to {longest}",
                "choose 'flex_attention' with block_mask=model.config, or 'sdpa'",
            )
    query, key, value = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    return attend(query, key, value, cu_seq_lens_q, longest, scaling)[None], None


def _refusal(what: str, way_out: str) -> OptionError:
    return OptionError(f"attn_implementation={_NAME!r} does not go with {what}: {way_out}")


def _parts(function: Any) -> Iterator[FunctionType]:
    """Yield a mask function and those that it is made of."""
    if isinstance(function, FunctionType):
        yield function
        for cell in function.__closure__ or ():
            yield from _parts(cell.cell_contents)
    elif isinstance(function, tuple | list):
        for part in function:
            yield from _parts(part)

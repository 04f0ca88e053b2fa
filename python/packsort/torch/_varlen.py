"""Causal attention within the sequences of a flat batch, by PyTorch's variable-length kernel."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from packsort.errors import OptionError


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    max_length: int,
    scale: float | None,
) -> torch.Tensor:
    """Return causal attention within sequences.

    On CUDA devices this is `torch.nn.attention.varlen.varlen_attn`. Elsewhere PyTorch has no such kernel, and each
    sequence goes through SDPA by itself.

    Args:
        query: Shape (tokens, heads, head_dim).
        key: Shape (tokens, key_value_heads, head_dim). `heads` is a multiple of `key_value_heads`.
        value: Shape (tokens, key_value_heads, value_dim). `value_dim` is at most `head_dim`.
        starts: Start of each sequence and the end of the last, int32 (sequences + 1,).
        max_length: Tokens of the longest sequence, or more.
        scale: Factor of the scores; None is 1 / sqrt(head_dim).

    Returns:
        Shape (tokens, heads, value_dim).

    Raises:
        OptionError: The sequences do not fill the batch, or the kernel is not there or does not take the type.
    """
    width = value.shape[-1]
    if query.is_cuda:
        query, key, value = _as_half(query, key, value)
        value = pad(value, [0, query.shape[-1] - width])  # the kernel takes one head_dim
        return _flash(query, key, value, starts, max_length, scale)[..., :width]
    ends = starts.tolist()
    if ends[0] != 0 or ends[-1] != len(query):
        raise OptionError(f"cu_seq_lens_q must go from 0 to {len(query)}, the tokens of the batch, got {ends}")
    found = query.new_empty(*query.shape[:-1], width)
    for start, end in pairwise(ends):
        q, k, v = (tensor[None, start:end].transpose(1, 2) for tensor in (query, key, value))
        attended = scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
        found[start:end] = attended[0].transpose(0, 1)
    return found


def _as_half(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the tensors in the half precision that the kernel takes.

    Mixed precision keeps rotary embeddings and layer norms in float32, and with them queries and keys.
    """
    halves = [tensor.dtype for tensor in tensors if tensor.dtype in (torch.bfloat16, torch.float16)]
    if torch.is_autocast_enabled("cuda"):
        halves = [torch.get_autocast_dtype("cuda")]
    if not halves:
        raise OptionError(
            "attn_implementation='packsort_varlen' needs bfloat16 or float16 on a GPU, got "
            f"{tensors[0].dtype}: load the model with dtype=torch.bfloat16, train in mixed precision, or use 'sdpa'"
        )
    return tuple(tensor.to(halves[0]) for tensor in tensors)


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    starts: torch.Tensor,
    max_length: int,
    scale: float | None,
) -> torch.Tensor:
    """Call the kernel, whose arguments are those of `attend` with one head_dim."""
    kernel, takes_groups = _kernel()
    grouped: dict[str, Any] = {"enable_gqa": True} if takes_groups else {}
    if not takes_groups and (groups := query.shape[1] // key.shape[1]) > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    # A window of (-1, 0) is causal attention. Some backends compare the starts by identity, so both are one tensor.
    found: torch.Tensor = kernel(
        query, key, value, starts, starts, max_length, max_length, scale=scale, window_size=(-1, 0), **grouped
    )
    return found


@cache
def _kernel() -> tuple[Callable[..., Any], bool]:
    """Return the kernel of the installed PyTorch, and whether it takes grouped heads (from 2.12 on)."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        known: set[str] = set()
    else:
        known = set(inspect.signature(varlen_attn).parameters)
    if "window_size" not in known:
        raise OptionError(
            f"attn_implementation='packsort_varlen' needs PyTorch 2.11 or later on a GPU, got {torch.__version__}: "
            "use 'flash_attention_2', 'flex_attention' or 'sdpa'"
        )
    return varlen_attn, "enable_gqa" in known

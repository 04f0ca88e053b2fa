"""What Megatron-Core and Megatron-Bridge do with packed batches and files, in their arithmetic.

Neither can be installed without a GPU's toolchain. Their versions of August 2026 were read: Megatron-Bridge at
067f987, Megatron-LM at d98e8a64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

HOST_KEYS = ("max_seqlen_q", "max_seqlen_kv")
DEVICE_KEYS = ("cu_seqlens_q", "cu_seqlens_kv", "cu_seqlens_q_padded", "cu_seqlens_kv_padded", "padding_mask")
MODEL_KEYS = ("tokens", "labels", "loss_mask", "position_ids", "attention_mask")


@dataclass
class PackedSeqParams:
    """The fields of `megatron.core.packed_seq_params.PackedSeqParams`, with `seq_idx` as it derives it."""

    qkv_format: str | None = None
    cu_seqlens_q: torch.Tensor | None = None
    cu_seqlens_kv: torch.Tensor | None = None
    cu_seqlens_q_padded: torch.Tensor | None = None
    cu_seqlens_kv_padded: torch.Tensor | None = None
    max_seqlen_q: int | None = None
    max_seqlen_kv: int | None = None
    total_tokens: int | None = None
    seq_idx: torch.Tensor | None = None

    def __post_init__(self) -> None:
        starts = self.cu_seqlens_q if self.cu_seqlens_q_padded is None else self.cu_seqlens_q_padded
        if starts is not None and self.total_tokens is not None:
            lengths = torch.cat([starts, starts.new_tensor([self.total_tokens])]).diff().clamp(min=0)
            self.seq_idx = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(torch.int32)[None]


def gpt_step_batch(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Take the batch of a data iterator as `gpt_step.get_batch_from_iterator` does on a single pipeline stage."""
    taken: dict[str, Any] = {}
    for name, value in batch.items():
        if name in HOST_KEYS:
            taken[name] = value.cpu()
        else:
            taken[name] = value if name in (*DEVICE_KEYS, *MODEL_KEYS) else None
    return taken


def gpt_step_params(batch: Mapping[str, Any], *, hybrid: bool) -> PackedSeqParams:
    """Build the parameters of a batch as `gpt_step.forward_step` does."""
    fields = {name: batch[name].squeeze() for name in DEVICE_KEYS[:4] if batch.get(name) is not None}
    longest = {name: int(batch[name].squeeze().item()) for name in HOST_KEYS}
    tokens = batch["tokens"].size(1) if hybrid else None
    return PackedSeqParams(qkv_format="thd", **fields, **longest, total_tokens=tokens)

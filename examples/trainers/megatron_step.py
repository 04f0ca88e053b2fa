"""Training steps of Megatron-Core on packs; `model` is a `GPTModel` on the ranks of one data-parallel group."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

# --8<-- [start:imports]
import torch
from megatron.core.packed_seq_params import PackedSeqParams

from packsort.torch import PackedLoader
from packsort.torch.layouts import megatron

# --8<-- [end:imports]


def train(packed: str, model: Any, *, rank: int, world_size: int) -> Iterator[torch.Tensor]:
    """Run forward and backward on each batch, and yield its loss."""
    # --8<-- [start:step]
    known = {field.name for field in fields(PackedSeqParams)}  # `total_tokens` is newer than Megatron-Core 0.16
    loader = PackedLoader(packed, layout="megatron", rank=rank, world_size=world_size)  # data-parallel rank and size
    for batch in loader:
        params = PackedSeqParams(**{name: batch[name] for name in megatron.PACKED_SEQ_PARAMS if name in known})
        losses = model(
            batch["tokens"],
            batch["position_ids"],
            attention_mask=None,
            labels=batch["labels"],
            packed_seq_params=params,
            padding_mask=batch["padding_mask"],
        )
        loss = (losses * batch["loss_mask"]).sum() / batch["loss_mask"].sum()
        loss.backward()
        # --8<-- [end:step]
        yield loss.detach()

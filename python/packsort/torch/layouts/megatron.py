"""Layout `megatron`: the batch of a Megatron training step, with the fields of Megatron-Core's `PackedSeqParams`.

- `tokens`: int64 (1, tokens).
- `labels`: int64 (1, tokens). Shifted, as in Megatron's own data sets: the next token, even where it carries no loss.
- `loss_mask`: float32 (1, tokens). 1 where the label at this position carries loss, else 0.
- `position_ids`: int64 (1, tokens). Positions restart at 0 in each segment.
- `padding_mask`: bool (1, tokens). True at padding and separators, which mixture-of-experts routers leave out of their
  statistics. It is an argument of the model, not a field of `PackedSeqParams`.
- `attention_mask`: None.
- `qkv_format`: "thd".
- `cu_seqlens_q_padded`, `cu_seqlens_kv_padded`: int32 (sequences + 1,). Start of each sequence in the row, and the end
  of the last. Padding and separators belong to the sequence before them, as context parallelism requires.
- `cu_seqlens_q`, `cu_seqlens_kv`: int32 (sequences + 1,). The same starts in a row without padding and separators.
- `max_seqlen_q`, `max_seqlen_kv`: int. Tokens of the longest sequence, padding included.
- `total_tokens`: int. Tokens of the row, from which hybrid models (Mamba) derive the sequence of each token.

`PackedSeqParams(**{name: batch[name] for name in packsort.torch.layouts.megatron.PACKED_SEQ_PARAMS})` builds the
parameters. Models of attention alone need no `total_tokens`, and without it `PackedSeqParams` does no work.
Megatron-Bridge's `gpt_step` builds the parameters itself, of a batch that `for_gpt_step` returns.

With `max_sequences` all shapes are fixed: each pack is padded to `max_length`, and `cu_seqlens_*` have
packs x `max_sequences` + 1 values, their end repeated. With `pad_batch_to_multiple_of` the last sequence also has the
padding that makes the tokens of the row such a multiple.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch

from packsort._options.layout import LayoutConfig
from packsort.errors import OptionError
from packsort.torch.layouts.tensors import BatchTensors

__all__ = ["PACKED_SEQ_PARAMS", "check_multiple", "for_gpt_step", "name_tensors"]

PACKED_SEQ_PARAMS: Final = (
    "qkv_format",
    "cu_seqlens_q",
    "cu_seqlens_kv",
    "cu_seqlens_q_padded",
    "cu_seqlens_kv_padded",
    "max_seqlen_q",
    "max_seqlen_kv",
    "total_tokens",
)
"""Keys of a batch that are fields of `PackedSeqParams`."""


def name_tensors(tensors: BatchTensors) -> dict[str, Any]:
    """Return the tensors of a batch under the names of this layout."""
    return {
        "tokens": tensors.input_ids,
        "labels": tensors.labels,
        "loss_mask": tensors.loss_mask,
        "position_ids": tensors.position_ids,
        "padding_mask": tensors.padding_mask,
        "attention_mask": None,
        "qkv_format": "thd",
        "cu_seqlens_q": tensors.cu_seqlens_unpadded,
        "cu_seqlens_kv": tensors.cu_seqlens_unpadded,
        "cu_seqlens_q_padded": tensors.cu_seqlens,
        "cu_seqlens_kv_padded": tensors.cu_seqlens,
        "max_seqlen_q": tensors.max_seqlen,
        "max_seqlen_kv": tensors.max_seqlen,
        "total_tokens": tensors.input_ids.numel(),
    }


def check_multiple(config: LayoutConfig, multiple: int) -> None:
    """Check that padding at the end of a row leaves the last sequence, to which it belongs, a multiple.

    Args:
        config: Options of the layout.
        multiple: `pad_to_multiple_of` of the packs.

    Raises:
        OptionError: The padding would break the multiple, by which context parallelism cuts sequences.
    """
    if config.max_sequences is not None and config.max_length % multiple:
        raise OptionError(
            f"max_length must be a multiple of the packs' pad_to_multiple_of={multiple} where layout='megatron' has "
            f"static shapes, got {config.max_length}"
        )
    whole = config.pad_batch_to_multiple_of
    if whole % multiple and multiple % whole:
        raise OptionError(
            f"pad_batch_to_multiple_of must be a multiple of the packs' pad_to_multiple_of={multiple} with "
            f"layout='megatron', got {whole}"
        )


def for_gpt_step(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch as Megatron-Bridge's `gpt_step` takes it from a data iterator.

    The step moves the longest lengths to the CPU before it makes integers of them, so they must be tensors.

    Args:
        batch: A batch of layout `megatron`.

    Returns:
        The same batch, with `max_seqlen_q` and `max_seqlen_kv` as int32 () in CPU memory.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.torch import PackedLoader
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5]]})
        >>> loader = PackedLoader(table, 5, layout="megatron", seed=None)
        >>> iterator = map(for_gpt_step, loader)
        >>> next(iterator)["max_seqlen_q"]
        tensor(3, dtype=torch.int32)
    """
    lengths = {name: torch.tensor(batch[name], dtype=torch.int32) for name in ("max_seqlen_q", "max_seqlen_kv")}
    return {**batch, **lengths}

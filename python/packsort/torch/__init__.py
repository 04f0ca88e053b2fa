"""Batches of PyTorch tensors for training on packs.

- `PackedLoader`: batches of a packed directory or of token columns, on every rank, in any epoch, resumable.
- `PackedStream`: batches of an unbounded stream of sequences.
- `PackedDataset` and `PackedCollator`: the same packs and batches for a loop that brings its own loader.
- `Batcher`: makes a batch of packs; `layouts` lists the tensors of every layout.
- `check_isolation`: checks that a model keeps the sequences of a batch apart.
- `attention.register`: makes PyTorch's variable-length flash attention known to transformers.
- `weighted_loss`, `loss_by`: the loss of a step with loss weights, and the loss by source or another column.
- `document_mask`, `dense_masks`: block masks for FlexAttention, and masks for models that do not look at positions.
"""

import typing as _typing

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    from packsort._install import pip_install as _pip_install

    raise ImportError(f"packsort.torch needs PyTorch: {_pip_install('packsort[torch]')}") from error

from packsort.torch import attention, layouts
from packsort.torch.collate import PackedCollator
from packsort.torch.dataset import PackedDataset
from packsort.torch.dense_masks import dense_masks
from packsort.torch.isolation import Isolation, check_isolation
from packsort.torch.layouts import Batcher
from packsort.torch.loader import PackedLoader
from packsort.torch.loss_by import LossBy, LossOf, loss_by
from packsort.torch.losses import weighted_loss
from packsort.torch.stream import PackedStream

if _typing.TYPE_CHECKING:
    from packsort.torch.masks import document_mask

__all__ = [
    "Batcher",
    "Isolation",
    "LossBy",
    "LossOf",
    "PackedCollator",
    "PackedDataset",
    "PackedLoader",
    "PackedStream",
    "attention",
    "check_isolation",
    "dense_masks",
    "document_mask",
    "layouts",
    "loss_by",
    "weighted_loss",
]


def __getattr__(name: str) -> _typing.Any:
    # FlexAttention takes half a second to import, as long as everything else here.
    if name == "document_mask":
        from packsort.torch.masks import document_mask

        return document_mask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

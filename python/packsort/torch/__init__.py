"""Batches of PyTorch tensors, ready for a training loop."""

from typing import TYPE_CHECKING, Any

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("packsort.torch needs PyTorch: pip install 'packsort[torch]'") from error

from packsort.torch.dataset import PackedCollator, PackedDataset
from packsort.torch.layouts import Batcher
from packsort.torch.loader import PackedLoader
from packsort.torch.losses import weighted_loss
from packsort.torch.stream import PackedStream

if TYPE_CHECKING:
    from packsort.torch.masks import document_mask

__all__ = [
    "Batcher",
    "PackedCollator",
    "PackedDataset",
    "PackedLoader",
    "PackedStream",
    "document_mask",
    "weighted_loss",
]


def __getattr__(name: str) -> Any:
    # FlexAttention takes half a second to import, as long as all else here
    if name == "document_mask":
        from packsort.torch.masks import document_mask

        return document_mask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

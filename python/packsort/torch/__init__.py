"""Batches of PyTorch tensors, ready for a training loop."""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("packsort.torch needs PyTorch: pip install 'packsort[torch]'") from error

from packsort.torch.datasets import PackedCollator, PackedDataset
from packsort.torch.layouts import Batcher
from packsort.torch.loader import PackedLoader
from packsort.torch.losses import weighted_loss
from packsort.torch.masks import document_mask

__all__ = ["Batcher", "PackedCollator", "PackedDataset", "PackedLoader", "document_mask", "weighted_loss"]

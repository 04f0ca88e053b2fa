"""Batches of PyTorch tensors, ready for a training loop."""

try:
    import torch  # noqa: F401
except ImportError as error:
    raise ImportError("packsort.torch needs PyTorch: pip install 'packsort[torch]'") from error

from packsort.torch.layouts import flat_batch
from packsort.torch.loader import PackedLoader
from packsort.torch.streaming import PackedStream

__all__ = ["PackedLoader", "PackedStream", "flat_batch"]

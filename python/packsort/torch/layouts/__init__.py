"""How a batch's tensors are shaped and named: `Batcher`, and a module a layout."""

from packsort.torch.layouts.batcher import LAYOUTS, Batcher

__all__ = ["LAYOUTS", "Batcher"]

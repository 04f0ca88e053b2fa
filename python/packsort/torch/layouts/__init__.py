"""Layouts of a batch: `Batcher` makes batches, and each layout module lists the tensors of its batches.

- `flat`: one row of all packs, what transformers calls padding-free.
- `rows`: one row of `max_length` tokens for each pack.
- `megatron`: one row, with the fields of Megatron-Core's `PackedSeqParams`.
- `torchtune`: the items of torchtune's `PackedDataset`, stacked.
"""

from packsort._options import LAYOUTS
from packsort.torch.layouts import flat, megatron, rows, torchtune
from packsort.torch.layouts.batcher import Batcher

__all__ = ["LAYOUTS", "Batcher", "flat", "megatron", "rows", "torchtune"]


def __dir__() -> list[str]:
    return __all__

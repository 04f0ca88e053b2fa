"""Packs for Hugging Face's trainers: datasets in, datasets of packs out, and checks that they are trained on right.

- `pack_dataset`: packs a `datasets.Dataset`, in place of `trl.pack_dataset`.
- `load`: a packed directory as a dataset.
- `sft_config`: the options with which TRL's `SFTTrainer` trains on packs.
"""

try:
    import datasets as _datasets  # noqa: F401
except ImportError as error:
    raise ImportError("packsort.hf needs datasets: pip install 'packsort[hf]'") from error

from packsort.hf.config import sft_config
from packsort.hf.loading import load
from packsort.hf.packing import pack_dataset

__all__ = ["load", "pack_dataset", "sft_config"]


def __dir__() -> list[str]:
    return __all__

"""Packing of Hugging Face datasets, in place of `trl.pack_dataset`."""

try:
    import datasets as _datasets  # noqa: F401
except ImportError as error:
    raise ImportError("packsort.hf needs datasets: pip install 'packsort[hf]'") from error

from packsort.hf.packing import pack_dataset

__all__ = ["pack_dataset"]


def __dir__() -> list[str]:
    return __all__

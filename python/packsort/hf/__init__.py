"""Hugging Face datasets and trainers.

- `pack_dataset`: packs a dataset, in place of `trl.pack_dataset`.
- `ResumeCallback`: a `Trainer` that resumes inside an epoch sees the batches of the run before it.
"""

import typing as _typing

try:
    import datasets as _datasets  # noqa: F401
except ImportError as error:
    raise ImportError("packsort.hf needs datasets: pip install 'packsort[hf]'") from error

from packsort.hf.packing import pack_dataset

if _typing.TYPE_CHECKING:
    from packsort.hf.resume import ResumeCallback

__all__ = ["ResumeCallback", "pack_dataset"]


def __getattr__(name: str) -> _typing.Any:
    # It needs transformers and torch, which packing does not.
    if name == "ResumeCallback":
        from packsort.hf.resume import ResumeCallback

        return ResumeCallback
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

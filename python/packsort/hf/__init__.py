"""Packs for Hugging Face's trainers: datasets in, datasets of packs out, and checks that they are trained on right.

- `pack_dataset`: packs a `datasets.Dataset`, in place of `trl.pack_dataset`.
- `pack_stream`: packs a `datasets.IterableDataset`.
- `load`: a packed directory as a dataset.
- `sft_config`: the options with which TRL's `SFTTrainer` trains on packs.
- `check`: checks the first batch that a `Trainer` makes of its packs.
- `IsolationCallback`: does the same before the first step of a run, and checks that its model keeps sequences apart.
- `ResumeCallback`: a `Trainer` that resumes inside an epoch sees the batches of the run before it.
"""

import importlib as _importlib
import typing as _typing

try:
    import datasets as _datasets  # noqa: F401
except ImportError as error:
    from packsort._install import pip_install as _pip_install

    raise ImportError(f"packsort.hf needs datasets: {_pip_install('packsort[hf]')}") from error

from packsort.hf.config import sft_config
from packsort.hf.loading import load
from packsort.hf.packing import pack_dataset
from packsort.hf.streaming import pack_stream

if _typing.TYPE_CHECKING:
    from packsort.hf.callback import IsolationCallback
    from packsort.hf.checking import check
    from packsort.hf.resume import ResumeCallback

__all__ = ["IsolationCallback", "ResumeCallback", "check", "load", "pack_dataset", "pack_stream", "sft_config"]

# These need torch, which packing does not.
_WITH_TORCH = {
    "IsolationCallback": "packsort.hf.callback",
    "ResumeCallback": "packsort.hf.resume",
    "check": "packsort.hf.checking",
}


def __getattr__(name: str) -> _typing.Any:
    if name in _WITH_TORCH:
        return getattr(_importlib.import_module(_WITH_TORCH[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

"""Packs tokenized sequences for supervised fine-tuning.

`plan` decides which sequences share a training row, on the histogram of their lengths.
"""

from packsort import errors
from packsort._core import __version__
from packsort.errors import (
    DamagedError,
    LengthError,
    LengthTypeError,
    OptionError,
    OutputError,
    OutputExistsError,
    PacksortError,
    SourceError,
    SourceNotFoundError,
    TokenizerError,
)
from packsort.planning import Plan, load_plan, plan

__all__ = [
    "DamagedError",
    "LengthError",
    "LengthTypeError",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "PacksortError",
    "Plan",
    "SourceError",
    "SourceNotFoundError",
    "TokenizerError",
    "__version__",
    "errors",
    "load_plan",
    "plan",
]

"""Packs tokenized sequences for supervised fine-tuning.

`plan` decides which sequences share a training row, on the histogram of their lengths; `pack` and `write_shards` put
their tokens together; `open_shards` reads them back. `compare` says whether to pad or pack. `packsort.torch` makes
batches.
"""

from packsort import errors
from packsort._core import __version__
from packsort.comparison import Comparison, compare
from packsort.costs import CostModel
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
from packsort.gathering import pack
from packsort.manifest import Manifest
from packsort.planning import Plan, load_plan, plan
from packsort.scheduling import Schedule, schedule
from packsort.shards import Shards, open_shards
from packsort.verifying import Verification
from packsort.writing import write_shards

__all__ = [
    "Comparison",
    "CostModel",
    "DamagedError",
    "LengthError",
    "LengthTypeError",
    "Manifest",
    "OptionError",
    "OutputError",
    "OutputExistsError",
    "PacksortError",
    "Plan",
    "Schedule",
    "Shards",
    "SourceError",
    "SourceNotFoundError",
    "TokenizerError",
    "Verification",
    "__version__",
    "compare",
    "errors",
    "load_plan",
    "open_shards",
    "pack",
    "plan",
    "schedule",
    "write_shards",
]

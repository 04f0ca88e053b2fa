"""Packs tokenized sequences for supervised fine-tuning.

`plan` decides which sequences share a training row, on the histogram of their lengths; `pack` and `write_shards` put
their tokens together; `open_shards` reads them back. `compare` says whether to pad or pack. `packsort.torch` makes
batches.
"""

from packsort import errors
from packsort._core import __version__
from packsort.balance.costs import CostModel
from packsort.balance.schedule import Schedule, schedule
from packsort.comparison.compare import compare
from packsort.comparison.results import Comparison
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
from packsort.planning.build import plan
from packsort.planning.plan import Plan, load_plan
from packsort.shards.manifest import Manifest
from packsort.shards.reader import Shards, open_shards
from packsort.shards.verify import Verification
from packsort.shards.writer import write_shards
from packsort.tokenization.files import TokenizedFiles, write_tokens
from packsort.tokenization.tokenize import Tokenization, tokenize

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
    "Tokenization",
    "TokenizedFiles",
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
    "tokenize",
    "write_shards",
    "write_tokens",
]

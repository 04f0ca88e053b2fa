"""Public names and where they come from; `__init__.py` imports most of them when they are first asked for."""

from packsort import errors, options, schema
from packsort._core import __version__
from packsort.balance.costs import CostModel
from packsort.balance.schedule import Schedule, schedule
from packsort.comparison.compare import Comparison, compare
from packsort.errors import (
    DamagedError,
    IsolationError,
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
from packsort.gathering.pack import pack
from packsort.planning.build import plan
from packsort.planning.counted import CountedPlan, plan_counts
from packsort.planning.plan import Plan, load_plan
from packsort.shards.export import export
from packsort.shards.manifest import Manifest
from packsort.shards.reader import Shards, open_shards
from packsort.shards.verify import Verification, verify
from packsort.shards.writer import write_shards
from packsort.tokenization.files import TokenizedFiles, write_tokens
from packsort.tokenization.tokenize import Tokenization, tokenize

__all__ = [
    "Comparison",
    "CostModel",
    "CountedPlan",
    "DamagedError",
    "IsolationError",
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
    "export",
    "load_plan",
    "open_shards",
    "options",
    "pack",
    "plan",
    "plan_counts",
    "schedule",
    "schema",
    "tokenize",
    "verify",
    "write_shards",
    "write_tokens",
]

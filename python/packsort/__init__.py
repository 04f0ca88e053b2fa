"""Pack tokenized sequences for supervised fine-tuning.

- `plan` decides which sequences share a pack, on the histogram of their lengths; `load_plan` reads a saved `Plan`.
- `tokenize` and `write_tokens` turn conversations and text into tokens and labels.
- `pack` and `write_shards` put the tokens of each pack together, in memory or in files.
- `open_shards` reads packed files, `verify` proves that they hold their source, `export` writes them for other trainers.
- `compare` puts padding, random packing and greedy packing side by side; `schedule` gives every rank the same work.
- `packsort.torch` makes batches for a training loop; `packsort.hf` packs Hugging Face datasets.
- `packsort.errors`, `packsort.options` and `packsort.schema` hold the exceptions, option types and names.
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
from packsort.gathering.pack import pack
from packsort.planning.build import plan
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
    "export",
    "load_plan",
    "open_shards",
    "pack",
    "plan",
    "schedule",
    "tokenize",
    "verify",
    "write_shards",
    "write_tokens",
]


def __dir__() -> list[str]:
    return __all__

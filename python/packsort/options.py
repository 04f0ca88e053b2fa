"""Types of options, for annotations and type checkers, and options that are checked.

- `Strategy`, `Overlong`, `Layout` and their relatives are the choices of an option.
- `PlanOptions`, `LayoutOptions` and their relatives are the keyword arguments that a callable takes.
- `PlanConfig` and `LayoutConfig` are complete sets of options, checked when they are made.

The names are those of Python, the command line, the manifest and the core.

Example:
    >>> from packsort.options import PlanConfig
    >>> PlanConfig(max_length=4096, strategy="bfd").overlong
    'error'
    >>> PlanConfig(max_length=4096, pad_to_multiple_of=0)
    Traceback (most recent call last):
    packsort.errors.OptionError: pad_to_multiple_of must be between 1 and 4096 (max_length), got 0
"""

from packsort._options.choices import (
    Attention,
    ComparedMethod,
    EmptySequences,
    ExportFormat,
    LabelPlacement,
    Layout,
    LossChoice,
    LossWeights,
    OnError,
    Overlong,
    OverlongInComparison,
    OverlongInShards,
    OverlongInStream,
    RowPadding,
    Seed,
    ShardFormat,
    Strategy,
    StreamStrategy,
    Tail,
    TruncationSide,
    Verify,
)
from packsort._options.input import InputConfig
from packsort._options.keywords import (
    InputOptions,
    LayoutOptions,
    LoaderOptions,
    PackOptions,
    PlanOptions,
    ShardOptions,
    SourceOptions,
    TokenOptions,
)
from packsort._options.layout import LayoutConfig
from packsort._options.plan import PlanConfig

__all__ = [
    "Attention",
    "ComparedMethod",
    "EmptySequences",
    "ExportFormat",
    "InputConfig",
    "InputOptions",
    "LabelPlacement",
    "Layout",
    "LayoutConfig",
    "LayoutOptions",
    "LoaderOptions",
    "LossChoice",
    "LossWeights",
    "OnError",
    "Overlong",
    "OverlongInComparison",
    "OverlongInShards",
    "OverlongInStream",
    "PackOptions",
    "PlanConfig",
    "PlanOptions",
    "RowPadding",
    "Seed",
    "ShardFormat",
    "ShardOptions",
    "SourceOptions",
    "Strategy",
    "StreamStrategy",
    "Tail",
    "TokenOptions",
    "TruncationSide",
    "Verify",
]


def __dir__() -> list[str]:
    return __all__

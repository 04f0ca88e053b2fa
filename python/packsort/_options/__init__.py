"""Options that several callables share, each declared and checked once; `packsort.options` is their public face.

- `choices`: types of the options that choose one of several names.
- `keywords`: `TypedDict`s of the keyword arguments that a callable takes, for editors and type checkers.
- `input`, `plan`, `layout`: frozen dataclasses of the same options with their defaults, checked. They are built before
  any data is opened, so a wrong option is reported at once.
- `memory`: sizes in bytes, and the memory that a call may take.
"""

from packsort._options.attention_kinds import AttentionKinds, LayerAttention, model_kinds
from packsort._options.choices import (
    LAYOUTS,
    PIECEWISE_STRATEGIES,
    STRATEGIES,
    Attention,
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
    ShardFormat,
    Strategy,
    Tail,
    TruncationSide,
    Verify,
)
from packsort._options.input import (
    INPUT_NAMES,
    InputConfig,
    take_input_options,
)
from packsort._options.keywords import (
    InputOptions,
    LayoutOptions,
    LoaderOptions,
    PackOptions,
    PlanOptions,
    ShardOptions,
    SourceOptions,
    TokenOptions,
    names,
)
from packsort._options.layout import (
    LayoutConfig,
    layout_config,
)
from packsort._options.memory import (
    find_memory_limit,
    in_units,
)
from packsort._options.plan import (
    PlanConfig,
    core_options,
    plan_config,
)

__all__ = [
    "INPUT_NAMES",
    "LAYOUTS",
    "PIECEWISE_STRATEGIES",
    "STRATEGIES",
    "Attention",
    "AttentionKinds",
    "EmptySequences",
    "ExportFormat",
    "InputConfig",
    "InputOptions",
    "LabelPlacement",
    "LayerAttention",
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
    "ShardFormat",
    "ShardOptions",
    "SourceOptions",
    "Strategy",
    "Tail",
    "TokenOptions",
    "TruncationSide",
    "Verify",
    "core_options",
    "find_memory_limit",
    "in_units",
    "layout_config",
    "model_kinds",
    "names",
    "plan_config",
    "take_input_options",
]

"""Options that several callables share, each declared and checked once; `packsort.options` is their public face.

`PlanOptions` and its relatives are the keyword arguments that a callable takes, for editors and type checkers.
`PlanConfig` and `LayoutConfig` are the same options with their defaults, checked. Both are built before any data is
opened, so a wrong option is reported at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, Literal, TypedDict, get_args

from packsort import _checks
from packsort._progress import SearchProgress
from packsort.errors import OptionError

Strategy = Literal["ffd", "bfd", "hybrid", "padding", "random", "optimal"]
"""Rule that puts sequences into packs; `packsort.plan` describes each."""

Overlong = Literal["error", "drop", "truncate", "split"]
"""Treatment of sequences longer than `max_length`."""

OverlongInShards = Literal["error", "drop", "truncate", "split", "split_turns"]
"""`Overlong`, and `split_turns` for conversations that are tokenized on the way."""

OverlongInStream = Literal["error", "drop", "truncate"]
"""Treatment of sequences longer than `max_length` in a stream."""

OverlongInComparison = Literal["error", "drop", "truncate"]
"""Treatment of sequences longer than `max_length` in padding and greedy packing."""

EmptySequences = Literal["error", "drop"]
"""Treatment of sequences without tokens."""

LossChoice = Literal["auto", "assistant", "completion", "all"]
"""Tokens that carry loss where text is tokenized; `packsort.tokenize` describes each."""

TruncationSide = Literal["right", "left"]
"""Side on which `overlong="truncate"` removes tokens."""

ShardFormat = Literal["arrow", "parquet"]
"""File format of shards: memory-mapped Arrow IPC, or Parquet."""

ExportFormat = Literal["megatron", "trl"]
"""Trainer whose files `packsort.export` writes."""

Tail = Literal["pad", "drop"]
"""Treatment of packs that do not fill the last step."""

Layout = Literal["flat", "rows", "megatron", "torchtune"]
"""Shapes and names of a batch's tensors."""

LabelPlacement = Literal["unshifted", "shifted"]
"""Position of labels: at the token they name, or at the token before it."""

Attention = Literal["document", "pack"]
"""Tokens that a token attends to: those of its own sequence, or all earlier ones of its pack."""

RowPadding = Literal["own", "last"]
"""Segment that the padding at the end of a row belongs to: its own, or the last sequence's."""

LossWeights = Literal["token", "sample", "sqrt"]
"""Weighting of the loss over a step."""


class SourceOptions(TypedDict, total=False):
    """Keyword arguments that say which rows and columns of a source are meant.

    Attributes:
        split: Split to read, several joined by "+", or "all". None where the source has only one, else it is refused.
        columns: Column of the source for each column that packsort looks for, or None for equal names.
        empty: Treatment of sequences without tokens.
    """

    split: str | None
    columns: Mapping[str, str] | None
    empty: EmptySequences


class InputOptions(SourceOptions, total=False):
    """`SourceOptions`, and how text becomes tokens and labels."""

    loss: LossChoice
    template_date: str | None


class _Constraints(TypedDict, total=False):
    """Constraints on packs, shared by every callable that plans."""

    truncation_side: TruncationSide
    max_sequences: int | None
    pad_to_multiple_of: int
    num_packs_multiple_of: int
    groups: Any
    splittable: Any
    alone: Any
    gap: float | None
    max_iterations: int | None
    max_seconds: float | None


class PlanOptions(_Constraints, total=False):
    """Keyword arguments of `packsort.plan` beside `seed` and `epoch`."""

    strategy: Strategy
    overlong: Overlong
    empty: EmptySequences
    separator: bool
    piece_starts: Any
    on_progress: SearchProgress | None


class ShardOptions(_Constraints, InputOptions, total=False):
    """Keyword arguments of `packsort.write_shards` that concern its source and its plan, beside `seed` and `epoch`."""

    strategy: Strategy
    overlong: OverlongInShards
    separator: int | str | None
    pad_token_id: int | None


class TokenOptions(_Constraints, InputOptions, total=False):
    """Options of plans whose tokens are at hand: separators and padding are token ids."""

    overlong: Overlong
    separator: int | None
    pad_token_id: int | None
    piece_starts: Any
    on_progress: SearchProgress | None


class PackOptions(TokenOptions, total=False):
    """Keyword arguments of `packsort.pack` beside `seed` and `epoch`."""

    strategy: Strategy


class LayoutOptions(TypedDict, total=False):
    """Keyword arguments of `packsort.torch.Batcher` beside `layout` and `max_length`."""

    labels: LabelPlacement | None
    attention: Attention
    seq_idx: bool
    max_sequences: int | None
    padding: RowPadding
    loss_weights: LossWeights | None
    block_mask: bool
    pad_token_id: int


class LoaderOptions(PackOptions, total=False):
    """Keyword arguments of `packsort.torch.PackedLoader` that concern its plan and its layout."""

    labels: LabelPlacement | None
    attention: Attention
    seq_idx: bool
    padding: RowPadding
    loss_weights: LossWeights | None
    block_mask: bool


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Options of what goes in, complete and checked: rows, columns, and how text becomes tokens and labels.

    Attributes:
        split: Split to read, or None where the source has only one.
        columns: Column of the source for each column that packsort looks for, or None for equal names.
        empty: Treatment of sequences without tokens.
        loss: Tokens that carry loss where text is tokenized.
        template_date: Date that a chat template sees, `YYYY-MM-DD`, or None for today.

    Raises:
        OptionError: A value is not allowed.
    """

    split: str | None = None
    columns: Mapping[str, str] | None = None
    empty: EmptySequences = "error"
    loss: LossChoice = "auto"
    template_date: str | None = None

    def __post_init__(self) -> None:
        if self.split is not None and (not isinstance(self.split, str) or not self.split):
            raise OptionError(f"split must be the name of a split, or None, got {self.split!r}")
        if self.columns is not None:
            pairs = dict(self.columns) if isinstance(self.columns, Mapping) else {}
            if not pairs or not all(isinstance(name, str) and name for pair in pairs.items() for name in pair):
                raise OptionError(
                    "columns must map names of columns to columns of the source, such as "
                    f"{{'prompt': 'question'}}, got {self.columns!r}"
                )
            object.__setattr__(self, "columns", pairs)
        _checks.one_of("empty", self.empty, get_args(EmptySequences))
        _checks.one_of("loss", self.loss, get_args(LossChoice))
        if self.template_date is not None:
            try:
                date.fromisoformat(self.template_date)
            except (ValueError, TypeError):
                raise OptionError(
                    f"template_date must be a date such as '2024-07-26', or None, got {self.template_date!r}"
                ) from None

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuse options of tokenizing where there is no tokenizer.

        Raises:
            OptionError: `tokenizer` is None, and `loss` or `template_date` is given.
        """
        for name in ("loss", "template_date"):
            value = getattr(self, name)
            if tokenizer is None and value != _INPUT_DEFAULTS[name]:
                raise _checks.clash(
                    f"{name}={value!r}", "tokenizer=None", "it decides how text is tokenized, so pass a tokenizer"
                )


INPUT_NAMES: tuple[str, ...] = tuple(one.name for one in fields(InputConfig))
_INPUT_DEFAULTS = {one.name: one.default for one in fields(InputConfig)}


def take_input_options(options: dict[str, Any]) -> InputConfig:
    """Remove the options of `InputOptions` from keyword arguments, and return them checked and complete.

    Args:
        options: The keyword arguments of a callable, whose names are checked already.

    Raises:
        OptionError: A value is not allowed.
    """
    return InputConfig(**{name: options.pop(name) for name in INPUT_NAMES if name in options})


STRATEGIES: tuple[str, ...] = get_args(Strategy)
LAYOUTS: tuple[str, ...] = get_args(Layout)
PIECEWISE_STRATEGIES: tuple[str, ...] = ("ffd", "bfd", "padding", "optimal")
"""Strategies that can pack pieces that were cut beforehand."""
_LAYOUT_CLASHES = (
    ("labels", "unshifted", ("megatron",), "Megatron does not shift labels itself"),
    ("labels", "shifted", ("torchtune",), "torchtune's recipes shift labels themselves"),
    ("seq_idx", True, ("megatron", "torchtune"), "Megatron's `PackedSeqParams` derives it, torchtune has none"),
    ("max_sequences", ..., ("rows", "torchtune"), "its shapes are fixed without it"),
    ("padding", "last", ("flat", "megatron", "torchtune"), "the layout defines what its padding belongs to"),
    ("block_mask", True, ("megatron",), "Megatron's attention takes `cu_seqlens_*`"),
)


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """Options of a plan, complete and checked.

    Attributes:
        max_length: Most tokens of a pack, 1 to 2**31 - 1.
        strategy: Rule that puts sequences into packs.
        overlong: Treatment of sequences longer than `max_length`.
        truncation_side: Side on which `overlong="truncate"` removes tokens.
        empty: Treatment of sequences without tokens.
        max_sequences: Most sequences of a pack; None is any number.
        pad_to_multiple_of: Every sequence occupies a multiple of this many tokens, padding included.
        separator: Whether to leave room for one token between two sequences.
        num_packs_multiple_of: The number of packs is a multiple of this.
        groups, splittable, alone, piece_starts: Columns with a value for each sequence, or None.
        seed: Seed of the shuffle, or None.
        epoch: Epoch of the shuffle.
        gap, max_iterations, max_seconds: Limits of the search that `strategy="optimal"` makes, or None.
        on_progress: Called by that search.

    Raises:
        OptionError: A value is not allowed, or two options contradict each other.
    """

    max_length: int
    strategy: Strategy = "ffd"
    overlong: Overlong = "error"
    truncation_side: TruncationSide = "right"
    empty: EmptySequences = "error"
    max_sequences: int | None = None
    pad_to_multiple_of: int = 1
    separator: bool = False
    num_packs_multiple_of: int = 1
    groups: Any = field(default=None, compare=False, repr=False)
    splittable: Any = field(default=None, compare=False, repr=False)
    alone: Any = field(default=None, compare=False, repr=False)
    piece_starts: Any = field(default=None, compare=False, repr=False)
    seed: int | None = None
    epoch: int = 0
    gap: float | None = None
    max_iterations: int | None = None
    max_seconds: float | None = None
    on_progress: SearchProgress | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._set("max_length", _checks.max_length(self.max_length))
        _checks.one_of("strategy", self.strategy, STRATEGIES)
        if str(self.overlong) == "split_turns":
            raise OptionError(
                "overlong='split_turns' cuts conversations while `packsort.write_shards` tokenizes them: "
                "pass the conversations to `packsort.write_shards` with `tokenizer`, or choose "
                f"one of {_checks.listed(get_args(Overlong))}"
            )
        _checks.one_of("overlong", self.overlong, get_args(Overlong))
        _checks.one_of("truncation_side", self.truncation_side, get_args(TruncationSide))
        _checks.one_of("empty", self.empty, get_args(EmptySequences))
        if self.max_sequences is not None:
            self._set("max_sequences", _checks.integer("max_sequences", self.max_sequences, 1, 2**32 - 1, ", or None"))
        multiple = _checks.integer("pad_to_multiple_of", self.pad_to_multiple_of)
        if not 1 <= multiple <= self.max_length:
            raise OptionError(
                f"pad_to_multiple_of must be between 1 and {self.max_length} (max_length), got {multiple}"
            )
        self._set("pad_to_multiple_of", multiple)
        self._set("separator", _checks.boolean("separator", self.separator))
        name = "num_packs_multiple_of"
        self._set(name, _checks.integer(name, self.num_packs_multiple_of, 1, 2**32 - 1))
        if self.seed is not None:
            self._set("seed", _checks.seed("seed", self.seed))
        self._set("epoch", _checks.seed("epoch", self.epoch))
        self._check_pairs()
        self._check_limits()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_pairs(self) -> None:
        """Refuse options that contradict each other."""
        strategy = f"strategy={self.strategy!r}"
        if self.truncation_side == "left" and self.overlong != "truncate":
            raise _checks.clash(
                "truncation_side='left'", f"overlong={self.overlong!r}", "only overlong='truncate' removes tokens"
            )
        if self.splittable is not None and self.strategy != "hybrid":
            raise _checks.clash("splittable", strategy, "only strategy='hybrid' cuts splittable sequences")
        if self.splittable is None and self.strategy == "hybrid":
            raise OptionError(
                "strategy='hybrid' needs splittable: a boolean for each sequence, true where it may be cut"
            )
        if self.piece_starts is not None and self.strategy not in PIECEWISE_STRATEGIES:
            raise _checks.clash("piece_starts", strategy, f"pass one of {_checks.listed(PIECEWISE_STRATEGIES)}")
        if self.piece_starts is not None and self.overlong != "error":
            raise _checks.clash(
                "piece_starts", f"overlong={self.overlong!r}", "pieces are cut beforehand, so none may be too long"
            )
        if self.strategy == "random":
            for name in _NOT_RANDOM:
                value, default = getattr(self, name), _DEFAULTS[name]
                if value is not default and not (isinstance(value, int) and value == default):
                    raise _checks.clash(
                        strategy,
                        name,
                        "random packing concatenates all sequences; choose "
                        f"one of {_checks.listed(one for one in STRATEGIES if one != 'random')}",
                    )

    def _check_limits(self) -> None:
        """Check the limits of the search for the fewest packs."""
        if self.strategy != "optimal":
            for name in ("gap", "max_iterations", "max_seconds"):
                if getattr(self, name) is not None:
                    raise _checks.clash(
                        name, f"strategy={self.strategy!r}", "only strategy='optimal' searches for the fewest packs"
                    )
            return
        if self.max_iterations is not None:
            name = "max_iterations"
            self._set(name, _checks.integer(name, self.max_iterations, 1, 2**32 - 1, ", or None"))
        for name in ("gap", "max_seconds"):
            if getattr(self, name) is not None:
                self._set(name, _checks.number(name, getattr(self, name), also=", or None"))


_CORE = (
    "max_length",
    "strategy",
    "overlong",
    "truncation_side",
    "empty",
    "max_sequences",
    "pad_to_multiple_of",
    "num_packs_multiple_of",
    "separator",
)
_NOT_RANDOM = (
    "max_sequences",
    "pad_to_multiple_of",
    "separator",
    "num_packs_multiple_of",
    "groups",
    "alone",
    "piece_starts",
)
_DEFAULTS = {one.name: one.default for one in fields(PlanConfig)}


@dataclass(frozen=True, kw_only=True)
class LayoutConfig:
    """Options of a layout, complete and checked.

    Attributes:
        layout: Shapes and names of the tensors.
        max_length: Most tokens of a pack, and the width of rows.
        labels: Placement of labels; None is what the layout's readers expect.
        attention: Tokens that a token attends to.
        seq_idx: Whether to add each token's sequence number.
        max_sequences: Most segments of a pack, which fixes all shapes; None leaves them free.
        padding: Segment that the padding of a row belongs to.
        loss_weights: Weighting of the loss over a step; None adds no weights.
        block_mask: Whether to add a FlexAttention `BlockMask`.
        pad_token_id: Token id of padding.

    Raises:
        OptionError: A value is not allowed, or an option does not go with the layout.
    """

    layout: Layout = "flat"
    max_length: int
    labels: LabelPlacement | None = None
    attention: Attention = "document"
    seq_idx: bool = False
    max_sequences: int | None = None
    padding: RowPadding = "own"
    loss_weights: LossWeights | None = None
    block_mask: bool = False
    pad_token_id: int = 0

    def __post_init__(self) -> None:
        _checks.one_of("layout", self.layout, LAYOUTS)
        _checks.one_of("labels", self.labels, (None, *get_args(LabelPlacement)))
        _checks.one_of("attention", self.attention, get_args(Attention))
        _checks.one_of("padding", self.padding, get_args(RowPadding))
        _checks.one_of("loss_weights", self.loss_weights, (None, *get_args(LossWeights)))
        object.__setattr__(self, "max_length", _checks.max_length(self.max_length))
        object.__setattr__(self, "pad_token_id", _checks.token_id("pad_token_id", self.pad_token_id))
        for name in ("seq_idx", "block_mask"):
            object.__setattr__(self, name, _checks.boolean(name, getattr(self, name)))
        if self.max_sequences is not None:
            most = _checks.integer("max_sequences", self.max_sequences, 1, 2**31 - 1, ", or None")
            object.__setattr__(self, "max_sequences", most)
        for name, value, layouts, why in _LAYOUT_CLASHES:
            found = getattr(self, name)
            if self.layout in layouts and (found == value or (value is ... and found is not None)):
                option = name if value is ... or value is True else f"{name}={value!r}"
                others = _checks.listed(one for one in LAYOUTS if one not in layouts)
                raise _checks.clash(option, f"layout={self.layout!r}", f"{why}; layouts that take it: {others}")


def plan_config(
    caller: str, max_length: Any, options: Mapping[str, Any], *, known: Any = PlanOptions, **more: Any
) -> PlanConfig:
    """Check the keyword arguments of a callable and complete them.

    Args:
        caller: The callable as the user wrote it, for messages.
        max_length: The most tokens of a pack.
        options: The keyword arguments given.
        known: The `TypedDict` that declares them.
        **more: Further attributes of `PlanConfig`, such as `seed`.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other.
    """
    _checks.keywords(caller, options, names(known))
    return PlanConfig(max_length=max_length, **options, **more)


def core_options(config: PlanConfig) -> dict[str, Any]:
    """Return the options that the core takes, by name."""
    return {name: getattr(config, name) for name in _CORE}


def layout_config(caller: str, layout: Any, max_length: Any, options: Mapping[str, Any]) -> LayoutConfig:
    """Check the keyword arguments that concern a layout and complete them; see `plan_config`."""
    _checks.keywords(caller, options, names(LayoutOptions))
    return LayoutConfig(layout=layout, max_length=max_length, **options)


def names(declared: Any) -> frozenset[str]:
    """Return the keys of a `TypedDict`."""
    keys: frozenset[str] = declared.__required_keys__ | declared.__optional_keys__
    return keys

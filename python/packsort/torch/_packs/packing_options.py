"""Options of packing on the fly, checked before any data is opened."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from packsort._options.input import INPUT_NAMES, InputConfig
from packsort._options.keywords import PackOptions, names
from packsort._options.plan import PlanConfig, is_auto
from packsort.gathering.fillers import Fillers, token_config
from packsort.schema import MAX_LENGTH_LIMIT
from packsort.tokenization.choice import TokenizerChoice, as_choice

PACK_NAMES = names(PackOptions)
_NOT_OF_PLAN = ("separator", "pad_token_id", "keep", "tokenizer", *INPUT_NAMES)


@dataclass(frozen=True)
class PackingOptions:
    """Checked options of packing on the fly.

    Attributes:
        given: Names of the options that the caller passed.
        max_length: Most tokens of a pack, or None where only the source or a saved plan knows it.
        config: Options of the plan. Without a `max_length` it has the largest one.
        fillers: Tokens of separators and padding.
        input: Options of what goes in.
        choice: The tokenizer of the rows, or None where they hold tokens.
        keep: Columns with one value for each sequence that packs keep.
        auto_seed: Whether the seed is left to the strategy that the packs were made with.
    """

    given: tuple[str, ...]
    max_length: int | None
    config: PlanConfig
    fillers: Fillers
    input: InputConfig
    choice: TokenizerChoice | None = None
    keep: tuple[str, ...] = ()
    auto_seed: bool = False

    @classmethod
    def check(
        cls, caller: str, max_length: Any, options: Mapping[str, Any], seed: Any = "auto", tokenizer: Any = None
    ) -> PackingOptions:
        """Check the options that a callable was given.

        Args:
            caller: The callable as the user wrote it, for messages.
            max_length: Most tokens of a pack, or None.
            options: Keyword arguments of `PackOptions`.
            seed: Seed of the shuffle, as for `PackedLoader`.
            tokenizer: The tokenizer of the rows, its folder or Hub name, or None where they hold tokens.

        Raises:
            TypeError: A keyword argument is unknown.
            OptionError: A value is not allowed, or two options contradict each other.
        """
        width = MAX_LENGTH_LIMIT if max_length is None else max_length
        choice = as_choice(tokenizer)
        config, fillers, source, keep = token_config(caller, width, options, choice=choice, seed=seed)
        given = (*options, *([] if choice is None else ["tokenizer"]))
        limit = None if max_length is None else config.max_length
        return cls(given, limit, config, fillers, source, choice, keep, is_auto(seed))

    @property
    def of_plan(self) -> tuple[str, ...]:
        """Names of the passed options that a finished plan has decided already."""
        return tuple(name for name in self.given if name not in _NOT_OF_PLAN)

    def of_pickle(self) -> PackingOptions:
        """Return the options that a pickle carries: `on_progress` and a tokenizer have done their work."""
        return replace(self, config=replace(self.config, on_progress=None), choice=None)

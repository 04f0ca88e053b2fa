"""Fillers: the tokens of a pack that belong to no sequence, padding and separators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packsort import _checks
from packsort._options.input import InputConfig, take_input_options
from packsort._options.keywords import PackOptions, names
from packsort._options.plan import PlanConfig, plan_config
from packsort.errors import OptionError
from packsort.planning.facts import PlanFacts
from packsort.schema import INPUT_IDS, LABELS, NO_LOSS
from packsort.sources.sequence_columns import check_names
from packsort.tokenization.choice import TokenizerChoice


@dataclass(frozen=True)
class Fillers:
    """Token ids of padding and separators. Fillers carry no loss; per-token columns of other names hold 0 there.

    Attributes:
        padding: Token that pads a sequence to a multiple.
        separator: Token between two sequences of a pack, or None.
    """

    padding: int = 0
    separator: int | None = None

    def values(self, column: str, dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the value of padding and the value of separators in a per-token column.

        Args:
            column: The column's name.
            dtype: The NumPy dtype of its values.

        Returns:
            Two arrays of that dtype, shape (1,).
        """
        padding = separator = 0
        if column == INPUT_IDS:
            padding, separator = self.padding, self.separator or 0
        elif column == LABELS:
            padding = separator = NO_LOSS
        return np.array([padding], dtype), np.array([separator], dtype)


def check_fillers(separator: Any, pad_token_id: Any, vocabulary: int | None = None) -> Fillers:
    """Check the token ids of separators and padding.

    Args:
        separator: A token id, or None for no separators.
        pad_token_id: A token id, or None for 0.
        vocabulary: Number of tokens of the tokenizer, or None where it is not known.

    Raises:
        OptionError: A token id is no integer or outside the vocabulary.
    """
    if separator is not None:
        separator = _checks.token_id("separator", separator, vocabulary)
    if pad_token_id is not None:
        pad_token_id = _checks.token_id("pad_token_id", pad_token_id, vocabulary)
    return Fillers(pad_token_id or 0, separator)


def find_fillers(separator: int | str | None, pad_token_id: int | None, tokenizer: Any) -> Fillers:
    """Return the fillers, with the text of a separator looked up in a tokenizer.

    Args:
        separator: Token between two sequences: its id, its text, or None for none.
        pad_token_id: Token id of padding; None is the tokenizer's, or 0.
        tokenizer: The tokenizer, or None where there is none.

    Raises:
        OptionError: A token is not in the tokenizer, or a text is given and there is no tokenizer.
    """
    if tokenizer is None:
        if isinstance(separator, str):
            raise OptionError(
                f"separator={separator!r} is text, and there is no tokenizer to look it up in: pass `tokenizer`, or a "
                "token id"
            )
        return check_fillers(separator, pad_token_id)
    if isinstance(separator, str):
        vocabulary = tokenizer.get_vocab()
        if separator not in vocabulary:
            known = tokenizer.eos_token or next(iter(vocabulary))
            raise OptionError(
                f"separator={separator!r} is no token of the tokenizer; pass one of its tokens, such as {known!r}, or "
                "a token id"
            )
        separator = int(vocabulary[separator])
    return check_fillers(separator, tokenizer.pad_token_id if pad_token_id is None else pad_token_id, len(tokenizer))


class TokenConfig(NamedTuple):
    """Options of packs whose tokens are at hand, checked.

    Attributes:
        plan: Options of the plan.
        fillers: Tokens of separators and padding.
        input: Options of what goes in.
        keep: Columns with one value for each sequence that packs keep.
    """

    plan: PlanConfig
    fillers: Fillers
    input: InputConfig
    keep: tuple[str, ...]


def token_config(
    caller: str,
    max_length: Any,
    options: Mapping[str, Any],
    *,
    known: Any = PackOptions,
    choice: TokenizerChoice | None = None,
    **more: Any,
) -> TokenConfig:
    """Check the options of a plan whose tokens are at hand, so that separators and padding are token ids.

    Args:
        caller: The callable as the user wrote it, for messages.
        max_length: Most tokens of a pack.
        options: The keyword arguments given.
        known: The `TypedDict` that declares them.
        choice: The tokenizer of the rows, or None where they hold tokens. It is loaded here.
        **more: Further attributes of `PlanConfig`, such as `seed`.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other.
        TokenizerError: The tokenizer cannot be loaded.
    """
    _checks.keywords(caller, options, names(known))
    plan_options = dict(options)
    given = take_input_options(plan_options)
    given.check_tokenizer(choice)
    plan_options["empty"] = given.empty
    separator, pad_token_id = plan_options.pop("separator", None), plan_options.pop("pad_token_id", None)
    keep = _checks.column_names("keep", plan_options.pop("keep", None))
    check_names(keep)
    plan_options["separator"] = separator is not None
    config = plan_config(caller, max_length, plan_options, **more)
    return TokenConfig(config, find_fillers(separator, pad_token_id, choice and choice.load()), given, keep)


def has_fillers(planned: PlanFacts) -> bool:
    """Return whether packs of a plan may hold separators or padding."""
    return planned.separator or planned.pad_to_multiple_of > 1


def most_fillers(max_sequences: int | None, separator: bool, pad_to_multiple_of: int) -> int | None:
    """Return the most separators and stretches of padding in a pack, or None where it may have any number.

    Args:
        max_sequences: Most sequences of a pack, or None for any number.
        separator: Whether a separator stands between two sequences.
        pad_to_multiple_of: Number of which the tokens of each sequence are a multiple, its padding included.
    """
    if max_sequences is None:
        return None
    return (max_sequences - 1 if separator else 0) + (max_sequences if pad_to_multiple_of > 1 else 0)

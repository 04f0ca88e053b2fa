"""Options of what goes in: rows, columns, and how text becomes tokens and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any, Literal, get_args

from packsort import _checks
from packsort._options.choices import EmptySequences, LossChoice, OnError
from packsort.errors import OptionError


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Options of what goes in, complete and checked: rows, columns, and how text becomes tokens and labels.

    Attributes:
        split: Split to read, or None where the source has only one.
        columns: Column of the source for each column that packsort looks for, or None for equal names.
        empty: Treatment of sequences without tokens.
        loss: Tokens that carry loss where text is tokenized.
        template_date: Date that a chat template sees, `YYYY-MM-DD`, or None for today.
        on_error: Treatment of files that cannot be read.
        memory_map: Whether to map Arrow files into memory. It changes no row, so it takes no part in comparisons.
        num_proc: Number of processes that tokenize, None for this one, or `auto`. It changes no row either.
        storage_options: Options of the fsspec file system of URLs, or None. They take no part in comparisons, and are
            never shown: they may hold keys.

    Raises:
        OptionError: A value is not allowed.
    """

    split: str | None = None
    columns: Mapping[str, str] | None = None
    empty: EmptySequences = "error"
    loss: LossChoice = "auto"
    template_date: str | None = None
    on_error: OnError = "error"
    memory_map: bool = field(default=True, compare=False)
    num_proc: int | Literal["auto"] | None = field(default=None, compare=False)
    storage_options: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

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
        _checks.one_of("on_error", self.on_error, get_args(OnError))
        _checks.boolean("memory_map", self.memory_map)
        if self.num_proc not in (None, "auto"):
            number = _checks.integer("num_proc", self.num_proc, 1, 1024, ", 'auto', or None")
            object.__setattr__(self, "num_proc", number)
        if self.storage_options is not None and not isinstance(self.storage_options, Mapping):
            raise OptionError(
                "storage_options must map names of options to their values, or be None, got a "
                f"{type(self.storage_options).__name__}"
            )
        if self.template_date is not None:
            try:
                date.fromisoformat(self.template_date)
            except (ValueError, TypeError):
                raise OptionError(
                    f"template_date must be a date such as '2024-07-26', or None, got {self.template_date!r}"
                ) from None

    def of_rows(self) -> dict[str, Any]:
        """Return the options that decide which rows and tokens there are, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.compare}

    def check_tokenizer(self, tokenizer: Any) -> None:
        """Refuse options of tokenizing where there is no tokenizer.

        Raises:
            OptionError: `tokenizer` is None, and `loss`, `template_date` or `num_proc` is given.
        """
        for name in ("loss", "template_date", "num_proc"):
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

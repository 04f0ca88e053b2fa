"""One form of rows: its columns, and the kind of row that it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal

FormName = Literal[
    "messages",
    "prompt_completion",
    "text",
    "openai",
    "json_messages",
    "sharegpt",
    "conversations",
    "prompt_response",
    "alpaca",
    "instruction_response",
    "question_answer",
]
"""Identifier of a form. The first three are packsort's own; the others are converted to one of them."""


class RowKind(Enum):
    """Kind of row that a form gives, with what `Form.convert` returns for one."""

    CONVERSATION = auto()
    """Messages."""

    PROMPTED_CONVERSATION = auto()
    """Messages of the prompt, and messages of the completion."""

    PROMPTED_TEXT = auto()
    """Text of the prompt, and text of the completion."""

    TEXT = auto()
    """Text."""

    @property
    def is_chat(self) -> bool:
        """Whether a chat template renders the rows."""
        return self in (RowKind.CONVERSATION, RowKind.PROMPTED_CONVERSATION)

    @property
    def is_prompted(self) -> bool:
        """Whether the rows are prompts with completions."""
        return self in (RowKind.PROMPTED_CONVERSATION, RowKind.PROMPTED_TEXT)


@dataclass(frozen=True)
class Form:
    """Form of the rows of a source.

    Attributes:
        name: Its identifier.
        kind: Kind of row that it gives.
        columns: Columns that it reads, the ones that it is known by first.
        convert: Returns the parts of a row, as `kind` says, from its values by column. Raises `RowError`.
    """

    name: FormName
    kind: RowKind
    columns: tuple[str, ...]
    convert: Callable[[Mapping[str, Any]], tuple[Any, ...]]

    @property
    def becomes(self) -> str:
        """Columns that packsort's own rows of this kind have."""
        return {
            RowKind.CONVERSATION: "messages",
            RowKind.PROMPTED_CONVERSATION: "prompt, completion",
            RowKind.PROMPTED_TEXT: "prompt, completion",
            RowKind.TEXT: "text",
        }[self.kind]

    @property
    def own(self) -> bool:
        """Whether the form is one of packsort's own, which nobody needs to be told of."""
        return self.name in ("messages", "prompt_completion", "text")

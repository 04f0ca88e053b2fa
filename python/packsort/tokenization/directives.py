"""Directives that come with rows: variables of the chat template, and messages that carry no loss."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from packsort.tokenization.messages import ASSISTANT, Message, RowError, without_nulls

TEMPLATE_VARIABLES = "chat_template_kwargs"
"""Column of variables of the chat template, as TRL names it."""

# Arguments of `apply_chat_template` that decide what is rendered and how it is tokenized.
_RESERVED = {
    "conversation",
    "messages",
    "chat_template",
    "add_generation_prompt",
    "continue_final_message",
    "tokenize",
    "sanitize_control_tokens",
    "padding",
    "truncation",
    "max_length",
    "return_tensors",
    "return_dict",
    "return_assistant_tokens_mask",
    "tokenizer_kwargs",
}
_WEIGHT = "weight"
_FLAGS = ("train", "training", "loss")
_DETAILS = ("train_detail", "training_detail")
_KEYS = frozenset({_WEIGHT, *_FLAGS, *_DETAILS})


class Untrained(dict[str, Any]):
    """Message that carries no loss; for a chat template, a message as any other."""


def take_directives(messages: Sequence[Message], column: str) -> list[Message]:
    """Remove what messages say of their loss; those that are to carry none become `Untrained`.

    OpenAI's `weight` is 0 or 1. Axolotl's `train` and `training` are booleans, as is ms-swift's `loss`. None of them
    reaches the template.

    Args:
        messages: The messages of a conversation, without nulls.
        column: The column that they come from.

    Raises:
        RowError: A directive has a value that is not allowed, or asks for loss on another's message.

    Example:
        >>> said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho", "weight": 0}]
        >>> [type(message).__name__ for message in take_directives(said, "messages")]
        ['dict', 'Untrained']
    """
    return [
        message if _KEYS.isdisjoint(message) else _taken(message, f"column `{column}`: message {index}")
        for index, message in enumerate(messages)
    ]


def _taken(message: Message, where: str) -> Message:
    given = [key for key in (_WEIGHT, *_FLAGS, *_DETAILS) if key in message]
    trained = True
    for key in given:
        value = message[key]
        if key in _DETAILS:
            raise RowError(f"{where} has `{key}`: loss on parts of a message is not supported, only on whole messages")
        # Numbers in JSON text may be floats, and booleans may be numbers.
        if value not in (0, 1):
            raise RowError(f"{where}: `{key}` must be {'0 or 1' if key == _WEIGHT else 'true or false'}, got {value!r}")
        if value and key in _FLAGS and message["role"] != ASSISTANT:
            raise RowError(
                f"{where} ({message['role']}) has {key}=true: only the assistant's messages carry loss; drop the key, "
                "or train on every token with loss='all'"
            )
        trained = trained and bool(value)
    rest = {key: value for key, value in message.items() if key not in given}
    return rest if trained or message["role"] != ASSISTANT else Untrained(rest)


def template_variables(value: Any) -> dict[str, Any]:
    """Return the variables that a row gives to the chat template.

    Args:
        value: The row's `chat_template_kwargs`: an object or JSON text of one, or None.

    Raises:
        RowError: It is no object, or sets what decides how a row is rendered.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError as error:
            raise RowError(f"column `{TEMPLATE_VARIABLES}` is not JSON: {error}") from error
    elif isinstance(value, list):  # an Arrow map
        value = dict(value)
    else:
        value = without_nulls(value)  # keys of other rows
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowError(f"column `{TEMPLATE_VARIABLES}` must hold an object, got {type(value).__name__}")
    wrong = sorted(_RESERVED & value.keys())
    if wrong:
        raise RowError(
            f"column `{TEMPLATE_VARIABLES}` sets `{wrong[0]}`, which is no variable of a template: remove it"
        )
    return value

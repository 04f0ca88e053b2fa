"""Conversations in the words of other formats, as messages with `role` and `content`.

ShareGPT has `from` and `value` and roles of its own. OpenAI's older rows have `function_call` in place of `tool_calls`.
Both may come as JSON text, whole or message by message.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from packsort.tokenization.messages import Message, RowError, without_nulls

_ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "system": "system",
    "developer": "developer",
    "tool": "tool",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "ipython": "tool",
}
_FUNCTION = "function"
_FOREIGN = {"from", "function_call"}
# Their value is the JSON text of calls.
_CALLS = ("function_call", "tool_call", "tool_calls")


def read_messages(value: Any, column: str) -> list[Message] | None:
    """Return the messages of one row.

    Args:
        value: The messages: objects with `role` and `content` or with `from` and `value`, or JSON text of them.
        column: The column that they come from.

    Raises:
        RowError: They are no messages, or have a role that is not known.
    """
    # A struct column gives each object every key, null where a row had none. Nulls in JSON text are the row's own.
    value = _parsed(value, f"column `{column}`") if isinstance(value, str) else without_nulls(value)
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowError(f"column `{column}` must hold a list of messages, got {_short(value)}")
    return [
        one
        if type(one) is dict and "role" in one and _FOREIGN.isdisjoint(one) and one["role"] != _FUNCTION
        # Most messages need nothing, and a name for each would cost more than the rest.
        else _read(one, f"column `{column}`: message {index}")
        for index, one in enumerate(value)
    ]


def _read(one: Any, where: str) -> Any:
    """Return one message with `role` and `content`, or None for a null."""
    message = _parsed(one, where) if isinstance(one, str) else one
    if message is None:
        return None
    if not isinstance(message, dict):
        raise RowError(f"{where} must be an object with `role` and `content`, got {_short(message)}")
    if message.get("role") is None and message.get("from") is not None:
        message = _from_sharegpt(message, where)
    if message.get("function_call"):
        calls = [*(message.get("tool_calls") or ()), {"type": "function", "function": message["function_call"]}]
        message = {key: value for key, value in message.items() if key != "function_call"} | {"tool_calls": calls}
    if message.get("role") == _FUNCTION:
        message = {**message, "role": "tool"}
    return message


def _from_sharegpt(message: Message, where: str) -> Message:
    given = message["from"]
    rest = {key: value for key, value in message.items() if key not in ("role", "content", "from", "value")}
    name = str(given).strip().lower()
    if name in _CALLS:
        return {"role": "assistant", "content": None, **rest, "tool_calls": _calls(message.get("value"), where)}
    if name not in _ROLES:
        known = ", ".join(f"`{role}`" for role in (*_ROLES, *_CALLS))
        raise RowError(f"{where} is from {given!r}, which is no known role: rename it to one of {known}")
    return {"role": _ROLES[name], "content": message.get("value"), **rest}


def _calls(value: Any, where: str) -> list[dict[str, Any]]:
    """Return the tool calls that a ShareGPT message holds as JSON text."""
    found = _parsed(value, where) if isinstance(value, str) else value
    calls = found if isinstance(found, list) else [found]
    if not all(isinstance(call, dict) and "name" in (call.get("function") or call) for call in calls):
        raise RowError(f"{where} must be the JSON text of a call, an object with `name` and `arguments`")
    return [call if "function" in call else {"type": "function", "function": call} for call in calls]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise RowError(f"{where} is text, but not JSON ({error}): write it with `json.dumps`") from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

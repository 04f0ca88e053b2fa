"""Conversations of rows as a chat template takes them, checked and without what Arrow added."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Message = dict[str, Any]


class RowError(Exception):
    """Fault of a row; the message does not name the row."""


@dataclass(frozen=True)
class Conversation:
    """One conversation to render.

    Attributes:
        messages: The messages, without nulls.
        tools: Tools for the template, or None.
        variables: Other variables of the template, by name.
    """

    messages: Sequence[Message]
    tools: list[Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)

    def with_messages(self, messages: Sequence[Message]) -> Conversation:
        """Return a conversation of other messages, with the same tools and variables."""
        return replace(self, messages=messages)


def clean_messages(messages: Any, column: str) -> list[Message]:
    """Check one conversation and drop the keys that Arrow added.

    A struct column gives every message every key, null where the row had none. transformers drops null keys of messages
    but not deeper ones, as in `tool_calls`: they would appear in the text as `"key": null`.

    Args:
        messages: The messages of a row.
        column: The column that they come from.

    Raises:
        RowError: There is no message, or one has no role, or neither content nor tool calls.
    """
    if messages is None:
        raise RowError(f"column `{column}` is null")
    if not messages:
        raise RowError(f"column `{column}` is an empty conversation")
    cleaned: list[Message] = []
    for index, message in enumerate(messages):
        if message is None:
            raise RowError(f"column `{column}`: message {index} is null")
        if not message["role"]:
            raise RowError(f"column `{column}`: message {index} has no role")
        if message.get("content") is None and not message.get("tool_calls"):
            role = message["role"]
            raise RowError(f"column `{column}`: message {index} ({role}) has neither content nor tool_calls")
        cleaned.append(without_nulls(message))
    return cleaned


def clean_tools(tools: Any) -> list[Any] | None:
    """Return a row's tools as the template takes them, from structs, a JSON list, or a list of JSON objects.

    Raises:
        RowError: They are text, but not JSON.
    """
    try:
        if isinstance(tools, str):
            tools = json.loads(tools) if tools.strip() else None
        tools = [json.loads(tool) if isinstance(tool, str) else without_nulls(tool) for tool in tools or []]
    except (ValueError, TypeError) as error:
        raise RowError(f"column `tools` is not a JSON list: {error}") from error
    return tools or None


def without_nulls(value: Any) -> Any:
    """Return a value without the null members of its objects, at any depth.

    Example:
        >>> without_nulls({"name": "add", "strict": None, "parts": [{"a": None}]})
        {'name': 'add', 'parts': [{}]}
    """
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value

"""Conversations of rows as a chat template takes them, checked and without what Arrow added."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Message = dict[str, Any]

ASSISTANT = "assistant"
"""Role whose messages carry loss."""

TOOL = "tool"
"""Role of answers of tools."""

# Names of text in parts of contents: of chat templates, and of OpenAI's responses.
_TEXT_PARTS = ("text", "input_text", "output_text")


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


class EmptyConversationError(RowError):
    """A row has no messages."""


def clean_messages(messages: Any, column: str) -> list[Message]:
    """Check one conversation and drop null keys of its messages, as transformers does.

    Args:
        messages: The messages of a row.
        column: The column that they come from.

    Raises:
        RowError: There is no message, or one has no role, neither content nor tool calls, or content that is not text.
    """
    if messages is None:
        raise RowError(f"column `{column}` is null")
    if not messages:
        raise EmptyConversationError(f"column `{column}` is an empty conversation")
    cleaned: list[Message] = []
    for index, message in enumerate(messages):
        if message is None:
            raise RowError(f"column `{column}`: message {index} is null")
        role = message.get("role")
        if not role:
            raise RowError(f"column `{column}`: message {index} has no role")
        content = message.get("content")
        if content is None and not message.get("tool_calls"):
            raise RowError(f"column `{column}`: message {index} ({role}) has neither content nor tool_calls")
        if None in message.values():
            message = {key: value for key, value in message.items() if value is not None}
        if content is not None and not isinstance(content, str):
            message = {**message, "content": _parts(content, f"column `{column}`: message {index} ({role})")}
        cleaned.append(message)
    return cleaned


def _parts(content: Any, where: str) -> list[Message]:
    """Return the parts of a content, all of them text."""
    if not isinstance(content, list):
        raise RowError(f"{where} has content that is neither text nor a list of parts, but {type(content).__name__}")
    parts: list[Message] = []
    for part in content:
        if isinstance(part, str):
            parts.append({"type": "text", "text": part})
            continue
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        if kind not in _TEXT_PARTS or not isinstance(part.get("text"), str):
            raise RowError(f"{where} has a part of type {kind!r}: only text can be packed, so leave such rows out")
        parts.append({**part, "type": "text"})
    return parts


def clean_tools(tools: Any) -> list[Any] | None:
    """Return a row's tools as the template takes them, from structs, a JSON list, or a list of JSON objects.

    Raises:
        RowError: They are no list, or text that is not JSON.
    """
    try:
        if isinstance(tools, str):
            tools = json.loads(tools) if tools.strip() else None
        if tools is not None and not isinstance(tools, (list, tuple)):
            raise RowError(f"column `tools` must hold a list of tools, got {type(tools).__name__}")
        tools = [json.loads(tool) if isinstance(tool, str) else without_nulls(tool) for tool in tools or []]
    except (ValueError, TypeError) as error:
        raise RowError(f"column `tools` is not a JSON list: {error}") from error
    return tools or None


def as_tools(functions: list[Any] | None) -> list[Any] | None:
    """Return functions, as OpenAI's older rows have them, as tools.

    Example:
        >>> as_tools([{"name": "get"}])
        [{'type': 'function', 'function': {'name': 'get'}}]
    """
    return functions and [{"type": "function", "function": function} for function in functions]


def without_nulls(value: Any) -> Any:
    """Return a value without the null members of its objects, at any depth.

    Example:
        >>> without_nulls({"name": "add", "strict": None, "parts": [{"a": None}]})
        {'name': 'add', 'parts': [{}]}
    """
    if isinstance(value, dict):
        # Most members are text, which needs no call.
        return {
            key: item if type(item) is str else without_nulls(item) for key, item in value.items() if item is not None
        }
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value

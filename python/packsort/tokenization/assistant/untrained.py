"""Turns without those of messages that carry no loss.

Turns come in the order of the assistant's messages, but a template may mark a message twice or not at all. So each turn
that is taken away is checked: a change of its message must change the text there and nowhere else.
"""

from __future__ import annotations

from typing import Any

from packsort.tokenization.directives import Untrained
from packsort.tokenization.messages import ASSISTANT, Conversation, Message, RowError
from packsort.tokenization.spans import Span
from packsort.tokenization.template import ChatTemplate

# Any text that a template keeps at the end of a content.
_MORE = "z"


def trained_turns(template: ChatTemplate, conversation: Conversation, text: str, turns: list[Span]) -> list[Span]:
    """Return the turns of messages that carry loss.

    Args:
        template: The chat template.
        conversation: The conversation.
        text: Its whole text.
        turns: All turns of the assistant in it.

    Raises:
        RowError: Nothing tells which turn belongs to a message without loss.
    """
    untrained = {index for index, message in enumerate(conversation.messages) if isinstance(message, Untrained)}
    if not untrained:
        return turns
    places = [index for index, message in enumerate(conversation.messages) if message["role"] == ASSISTANT]
    if len(turns) != len(places):
        raise RowError(
            f"message {min(untrained)} is to carry no loss, but there are {len(turns)} turns for {len(places)} "
            "messages of the assistant, so nothing tells which is its turn: leave such rows out"
        )
    for index in untrained:
        start, end = turns[places.index(index)]
        changed = [*conversation.messages]
        changed[index] = _changed(changed[index])
        try:
            other = template.render(conversation.with_messages(changed))
        except RowError:
            other = text
        inside = other.startswith(text[:start]) and other.endswith(text[end:])
        if other == text or not inside or len(other) < start + len(text) - end:
            raise RowError(
                f"message {index} is to carry no loss, but nothing tells where the chat template writes it: leave such "
                "rows out"
            )
    return [turn for index, turn in zip(places, turns, strict=True) if index not in untrained]


def _changed(message: Message) -> Message:
    """Return a message that says a little more."""
    content: Any = message.get("content")
    if isinstance(content, str) and content.strip():
        return {**message, "content": content.rstrip() + _MORE}
    if isinstance(content, list) and content:
        return {**message, "content": [*content[:-1], {**content[-1], "text": content[-1]["text"].rstrip() + _MORE}]}
    if message.get("tool_calls"):
        first, *others = message["tool_calls"]
        called = first.get("function", first)
        renamed = {**called, "name": f"{called.get('name', '')}{_MORE}"}
        return {**message, "tool_calls": [{**first, "function": renamed} if "function" in first else renamed, *others]}
    return {**message, "content": _MORE}

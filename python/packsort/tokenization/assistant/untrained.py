"""Turns without those of messages that carry no loss.

Turns come in the order of the assistant's messages, but a template may mark a message in several parts, twice, or not
at all. Parts that touch are one turn. Each turn that is taken away is checked: a change of its message must change the
text there and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
        turns = _joined(turns)
    if len(turns) != len(places):
        raise RowError(
            f"message {min(untrained)} is to carry no loss, but there are {len(turns)} turns for {len(places)} "
            "messages of the assistant, so nothing tells which is its turn: leave such rows out"
        )
    for index in untrained:
        turn = turns[places.index(index)]
        changes = _changes(conversation.messages[index])
        if not any(_changes_turn(template, conversation, index, change, text, turn) for change in changes):
            raise RowError(
                f"message {index} is to carry no loss, but nothing tells where the chat template writes it: leave such "
                "rows out"
            )
    return [turn for index, turn in zip(places, turns, strict=True) if index not in untrained]


def _joined(turns: Sequence[Span]) -> list[Span]:
    """Return turns without empty ones, those that touch as one."""
    joined: list[Span] = []
    for start, end in turns:
        if start == end:
            continue
        if joined and joined[-1][1] == start:
            start = joined.pop()[0]
        joined.append((start, end))
    return joined


def _changes_turn(
    template: ChatTemplate, conversation: Conversation, index: int, change: Message, text: str, turn: Span
) -> bool:
    """Return whether another message `index` changes the text in a turn and nowhere else."""
    start, end = turn
    messages = [*conversation.messages]
    messages[index] = change
    try:
        other = template.render(conversation.with_messages(messages))
    except RowError:
        return False
    inside = other.startswith(text[:start]) and other.endswith(text[end:])
    return other != text and inside and len(other) >= start + len(text) - end


def _changes(message: Message) -> Iterator[Message]:
    """Yield messages that say a little more; a template may not write all that a message has, or write it twice."""
    content: Any = message.get("content")
    if isinstance(content, str) and content.strip():
        yield {**message, "content": content.rstrip() + _MORE}
    elif isinstance(content, list) and content:
        yield {**message, "content": [*content[:-1], {**content[-1], "text": content[-1]["text"].rstrip() + _MORE}]}
    if message.get("tool_calls"):
        first, *others = message["tool_calls"]
        called = first.get("function", first)
        # The answer of a tool may repeat the name of the call.
        for change in ({"name": f"{called.get('name', '')}{_MORE}"}, {"arguments": {_MORE: _MORE}}):
            more = {**called, **change}
            yield {**message, "tool_calls": [{**first, "function": more} if "function" in first else more, *others]}
    if not content or (isinstance(content, str) and not content.strip()):
        yield {**message, "content": _MORE}

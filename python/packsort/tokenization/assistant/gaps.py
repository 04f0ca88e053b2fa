"""Texts between contents, remembered so that most rows are rendered once.

A conversation's text is its contents with gaps between them, and a template has few gaps: one for each pair of roles.
Where a row's text is exactly its contents with gaps that are known, the division of those gaps gives its turns. A row
whose text is anything else is searched in full, and its gaps are remembered.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate

from packsort.tokenization.messages import ASSISTANT, Conversation
from packsort.tokenization.spans import Span

# Roles before and after the gap (None at the ends), whether the message after it is the last one, and the scope.
_Key = tuple[str | None, str | None, bool, str]


@dataclass(frozen=True)
class _Gap:
    """Text between two contents.

    Attributes:
        text: The text.
        after: Number of its first characters that belong to the turn before it.
        before: Number of its last characters that belong to the turn after it.
    """

    text: str
    after: int
    before: int


class KnownGaps:
    """Gaps of one chat template."""

    def __init__(self) -> None:
        self._gaps: dict[_Key, _Gap] = {}

    def copy(self) -> KnownGaps:
        """Return gaps of the same template, to which others can be added."""
        copied = KnownGaps()
        copied._gaps = dict(self._gaps)
        return copied

    def turns(self, conversation: Conversation, text: str) -> list[Span] | None:
        """Return the assistant's turns, or None if the text is not contents with known gaps.

        Args:
            conversation: The conversation.
            text: Its whole text.
        """
        contents = _contents(conversation)
        if contents is None:
            return None
        gaps = [self._gaps.get(key) for key in _keys(conversation)]
        if gaps[0] is None and conversation.messages[0]["role"] != ASSISTANT:
            gaps[0] = _Gap("", 0, 0)
            anywhere = True  # What comes before the first message belongs to no turn.
        else:
            anywhere = False
        if any(gap is None for gap in gaps):
            return None
        known = [gap for gap in gaps if gap is not None]
        for found in (contents, [content.strip() for content in contents]):
            parts = [known[0].text]
            for content, gap in zip(found, known[1:], strict=True):
                parts += [content, gap.text]
            expected = "".join(parts)
            if text.endswith(expected) and (anywhere or len(text) == len(expected)):
                return _turns(conversation, [len(part) for part in parts], known, len(text) - len(expected))
        return None

    def remember(self, conversation: Conversation, text: str, places: list[Span], turns: list[Span]) -> None:
        """Remember the gaps of a conversation.

        Args:
            conversation: The conversation.
            text: Its whole text.
            places: Where the content of each message is.
            turns: The assistant's turns.
        """
        contents = _contents(conversation)
        if contents is None or any(not content or content != content.strip() for content in contents):
            return  # White space around a content would become part of a gap, and an empty content lies on its edge.
        of_message = iter(turns)
        turn_of = [next(of_message) if one["role"] == ASSISTANT else None for one in conversation.messages]
        keys = _keys(conversation)
        starts, ends = [0, *(end for _, end in places)], [*(start for start, _ in places), len(text)]
        for number, (key, start, end) in enumerate(zip(keys, starts, ends, strict=True)):
            earlier = turn_of[number - 1] if number else None
            later = turn_of[number] if number < len(turn_of) else None
            if number == 0 and later is None:
                continue
            after = 0 if earlier is None else earlier[1] - start
            before = 0 if later is None else end - later[0]
            if min(after, before) >= 0 and after + before <= end - start:
                self._gaps[key] = _Gap(text[start:end], after, before)


def _contents(conversation: Conversation) -> list[str] | None:
    """Return the contents of all messages, or None if a message is more than a role and a text."""
    contents: list[str] = []
    for message in conversation.messages:
        content = message.get("content")
        if not isinstance(content, str) or len(message) != 2:
            return None
        contents.append(content)
    return contents


def _keys(conversation: Conversation) -> list[_Key]:
    """Return the keys of the gaps before, between and after the messages."""
    scope = "tools " if conversation.tools else ""
    if conversation.variables:
        scope += json.dumps(conversation.variables, sort_keys=True, default=repr)
    roles = [None, *(message["role"] for message in conversation.messages), None]
    last = len(roles) - 2
    return [(roles[at - 1], roles[at], at == last, scope) for at in range(1, len(roles))]


def _turns(conversation: Conversation, lengths: list[int], gaps: list[_Gap], start: int) -> list[Span]:
    """Return the turns of a text of gaps and contents of these lengths that begins at `start`."""
    edges = list(accumulate(lengths, initial=start))
    return [
        (edges[2 * number + 1] - gaps[number].before, edges[2 * number + 2] + gaps[number + 1].after)
        for number, message in enumerate(conversation.messages)
        if message["role"] == ASSISTANT
    ]

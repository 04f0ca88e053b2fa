"""Turns found by the places of the messages' contents.

Some templates render the end of a conversation otherwise than its middle, so that prefixes fail: they add a token after
the last message, or leave out earlier reasoning. The contents are then rendered between marks. If the text without the
marks is the text itself, the places of all contents are known, and with them the gaps between them. A gap holds the end
of one turn and the opening of the next. The same rule as for prefixes divides it, but only the gap must agree.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from packsort.tokenization.messages import ASSISTANT, Conversation, Message, RowError
from packsort.tokenization.spans import Span
from packsort.tokenization.template import ChatTemplate

# Private-use characters: no text of a template has them, and a row that does is not searched.
_OPEN, _CLOSE = "\ue0b5", "\ue0b6"
_MARK = re.compile(f"[{_OPEN}{_CLOSE}]")


@dataclass(frozen=True)
class _Marked:
    """A text, and the place of each content in it, without outer white space."""

    text: str
    places: list[Span]

    def after_last(self) -> str:
        """Return the text after the last content."""
        return self.text[self.places[-1][1] :] if self.places else self.text


def content_places(template: ChatTemplate, conversation: Conversation, text: str) -> list[Span] | None:
    """Return where the content of each message is, or None if that cannot be told.

    Args:
        template: The chat template.
        conversation: The conversation.
        text: Its whole text.
    """
    marked = _marked(template, conversation)
    return None if marked is None or marked.text != text else marked.places


def turns_by_contents(
    template: ChatTemplate,
    conversation: Conversation,
    text: str,
    places: list[Span] | None,
    special: re.Pattern[str],
) -> list[Span] | None:
    """Return the assistant's turns, or None if they cannot be told exactly.

    Args:
        template: The chat template.
        conversation: The conversation.
        text: Its whole text.
        places: Where the content of each message is, or None if that cannot be told.
        special: Pattern of the tokenizer's added tokens.
    """
    messages = conversation.messages
    if places is None:
        return None
    turns: list[Span] = []
    for index, message in enumerate(messages):
        if message["role"] != ASSISTANT:
            continue
        start = places[index - 1][1] if index else 0
        begin = _opening(template, conversation, index, text[start : places[index][0]])
        end: int | None = len(text)
        if index < len(messages) - 1:
            stop = places[index + 1][0]
            cut = _ending(template, conversation, index, text[places[index][1] : stop], special)
            end = None if cut is None else places[index][1] + cut
        if begin is None or end is None:
            return None
        turns.append((start + begin, end))
    return turns


def _marked(template: ChatTemplate, conversation: Conversation, *, prompt: bool = False) -> _Marked | None:
    """Render a conversation with marks around each content; return None if the template loses or moves one."""
    wrapped = [_wrapped(message) for message in conversation.messages]
    if any(message is None for message in wrapped):
        return None
    try:
        text = template.render(conversation.with_messages([one for one in wrapped if one]), prompt=prompt)
    except RowError:
        return None
    marks = list(_MARK.finditer(text))
    if [mark[0] for mark in marks] != [_OPEN, _CLOSE] * len(wrapped):
        return None
    ends = [mark.start() - number for number, mark in enumerate(marks)]
    return _Marked(_MARK.sub("", text), list(zip(ends[::2], ends[1::2], strict=True)))


def _wrapped(message: Message) -> Message | None:
    """Return a message with marks inside the white space of its content, or None if it has no text to mark."""
    content = message.get("content")
    if not isinstance(content, str) or _MARK.search(content) or message.get("tool_calls"):
        return None
    core = content.strip()
    start = content.find(core)
    return {**message, "content": content[:start] + _OPEN + core + _CLOSE + content[start + len(core) :]}


def _opening(template: ChatTemplate, conversation: Conversation, index: int, gap: str) -> int | None:
    """Return where in the gap before message `index` the assistant begins to write."""
    messages = conversation.messages
    expected = _prompt(template, conversation, messages[:index])
    if expected is None:
        # No text ends before the first message, or the template refuses it. Any other place shows the opening.
        later = (_header(template, conversation, at) for at in range(index + 1, len(messages) + 1))
        header = next((one for one in later if one), None)
        return len(gap) if header is not None and gap.endswith(header) else None
    if gap.startswith(expected):
        return len(expected)
    # The prompt may go on, as with `<think>`, where the conversation has no such part.
    return len(gap) if gap and expected.startswith(gap) else None


def _prompt(template: ChatTemplate, conversation: Conversation, messages: Sequence[Message]) -> str | None:
    """Return what follows the last content where the assistant speaks next."""
    marked = _marked(template, conversation.with_messages(messages), prompt=True)
    return None if marked is None else marked.after_last()


def _header(template: ChatTemplate, conversation: Conversation, stop: int) -> str | None:
    """Return what the template adds to the first `stop` messages so that the assistant speaks next."""
    part = conversation.with_messages(conversation.messages[:stop])
    try:
        without, prompted = template.render(part), template.render(part, prompt=True)
    except RowError:
        return None
    return prompted.removeprefix(without) if prompted.startswith(without) else None


def _ending(
    template: ChatTemplate, conversation: Conversation, index: int, gap: str, special: re.Pattern[str]
) -> int | None:
    """Return where in the gap after message `index` its turn ends."""
    marked = _marked(template, conversation.with_messages(conversation.messages[: index + 1]))
    if marked is None:
        return None
    ending = marked.after_last()
    if gap.startswith(ending):
        return len(ending)
    # The end of the conversation may add a token, or lack one. Up to there both agree, token by token.
    shared = 0
    found = 0
    for one, other in zip(_atoms(gap, special), _atoms(ending, special), strict=False):
        if one != other:
            break
        shared += len(one)
        found += special.fullmatch(one) is not None
    rests = [text[shared:] for text in (gap, ending)]
    return shared if found and all(not rest or special.match(rest) for rest in rests) else None


def _atoms(text: str, special: re.Pattern[str]) -> list[str]:
    """Split a text into added tokens and the texts between them."""
    atoms, start = [], 0
    for match in special.finditer(text):
        atoms += [text[start : match.start()], match[0]]
        start = match.end()
    return [atom for atom in [*atoms, text[start:]] if atom]

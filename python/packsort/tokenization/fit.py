"""Forms that a chat template takes: contents in parts or as text, arguments of tool calls as objects or as JSON text.

transformers documents objects for arguments, and hands to the template what it is given. Many templates write one form
wrongly, or not at all: parts as Python's text of a list, JSON text in quotes. Which one, a template's own output tells:
the first conversation that has either is rendered both ways. All others are then given as the template takes them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from packsort.tokenization.messages import Conversation, Message, RowError
from packsort.tokenization.notes import NoteKind
from packsort.tokenization.template import ChatTemplate

# A template that writes neither form never tells. It is asked this often.
_MOST_TRIES = 20
_PART_MARKS = ("'type': 'text'", '"type": "text"')
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class _Change:
    """One change of conversations.

    Attributes:
        kind: Kind of the note about it.
        make: Returns the changed conversation, and the number of changes.
        is_needed: Whether a template needs the change, from the conversation and its text without and with the change,
            None where the template refuses it. Returns None if that tells nothing.
    """

    kind: NoteKind
    make: Callable[[Conversation], tuple[Conversation, int]]
    is_needed: Callable[[Conversation, str | None, str | None], bool | None]


@dataclass
class _Choice:
    """Whether conversations are changed for a template; None until one has told."""

    change: bool | None = None
    tries: int = 0


class TemplateFit:
    """Changes conversations to what their chat template takes."""

    def __init__(self) -> None:
        self._choices: dict[tuple[str, NoteKind], _Choice] = {}

    @property
    def learned(self) -> dict[tuple[str, NoteKind], Any]:
        """Choices so far."""
        return {key: replace(choice) for key, choice in self._choices.items()}

    @learned.setter
    def learned(self, choices: dict[tuple[str, NoteKind], Any]) -> None:
        self._choices = {key: replace(choice) for key, choice in choices.items()}

    def __call__(self, template: ChatTemplate, conversation: Conversation, counts: Counter[NoteKind]) -> Conversation:
        """Return a conversation as its template takes it.

        Args:
            template: The chat template.
            conversation: The conversation.
            counts: Gets the number of changes, by the kind of their note.
        """
        if _has_contents(conversation, list):
            conversation = self._fit(template, conversation, _JOINED, counts)
        if _has_contents(conversation, str):
            conversation = self._fit(template, conversation, _DIVIDED, counts)
        arguments = list(_arguments(conversation))
        if any(isinstance(one, str) for one in arguments):
            fitted = self._fit(template, conversation, _OBJECTS, counts)
            if fitted is not conversation:
                counts["tool_arguments_kept"] += sum(isinstance(one, str) for one in _arguments(fitted))
            return fitted
        return self._fit(template, conversation, _JSON_TEXT, counts) if arguments else conversation

    def _fit(
        self, template: ChatTemplate, conversation: Conversation, change: _Change, counts: Counter[NoteKind]
    ) -> Conversation:
        choice = self._choices.setdefault((template.text, change.kind), _Choice())
        if choice.change is False:
            return conversation
        other, number = change.make(conversation)
        if choice.change is None:
            texts = _rendered(template, conversation), _rendered(template, other)
            choice.change = change.is_needed(conversation, *texts)
            choice.tries += 1
            if choice.change is None and choice.tries == _MOST_TRIES:
                choice.change = False
        if not choice.change:
            return conversation
        counts[change.kind] += number
        return other


def _rendered(template: ChatTemplate, conversation: Conversation) -> str | None:
    try:
        return template.render(conversation)
    except RowError:
        return None


# Contents


def _has_contents(conversation: Conversation, kind: type) -> bool:
    """Return whether any content is of a kind, text or a list of parts."""
    return any(isinstance(message.get("content"), kind) for message in conversation.messages)


def _texts(message: Message) -> list[str]:
    """Return the texts of a message's content."""
    content = message.get("content")
    if isinstance(content, list):
        return [part["text"] for part in content]
    return [content] if isinstance(content, str) else []


def _joined(conversation: Conversation) -> tuple[Conversation, int]:
    """Join the parts of contents by line feeds."""
    return _with_contents(conversation, lambda content: "\n".join(_texts({"content": content})), list)


def _divided(conversation: Conversation) -> tuple[Conversation, int]:
    """Make each content a part."""
    return _with_contents(conversation, lambda content: [{"type": "text", "text": content}], str)


def _with_contents(
    conversation: Conversation, change: Callable[[Any], Any], kind: type[list[Any] | str]
) -> tuple[Conversation, int]:
    messages, number = [], 0
    for message in conversation.messages:
        if isinstance(message.get("content"), kind):
            message = _with(message, content=change(message["content"]))
            number += 1
        messages.append(message)
    return conversation.with_messages(messages), number


def _needs_other_contents(conversation: Conversation, text: str | None, changed: str | None) -> bool | None:
    said = [words.strip() for message in conversation.messages for words in _texts(message)]
    marks = [mark for mark in _PART_MARKS if not any(mark in words for words in said)]

    def shown(found: str | None) -> bool:
        return found is not None and all(one in found for one in said) and not any(mark in found for mark in marks)

    return False if shown(text) else True if shown(changed) else None


# Arguments of tool calls


def _arguments(conversation: Conversation) -> Iterator[Any]:
    """Yield the arguments of all tool calls."""
    for message in conversation.messages:
        for call in message.get("tool_calls") or ():
            function = call.get("function", call) if isinstance(call, dict) else None
            if isinstance(function, dict) and "arguments" in function:
                yield function["arguments"]


def _as_objects(conversation: Conversation) -> tuple[Conversation, int]:
    """Parse arguments that are JSON text of objects."""

    def parsed(arguments: Any) -> Any:
        if not isinstance(arguments, str):
            return arguments
        try:
            found = json.loads(arguments) if arguments.strip() else {}
        except ValueError:
            return arguments
        return found if isinstance(found, dict) else arguments

    return _with_arguments(conversation, parsed)


def _needs_objects(conversation: Conversation, text: str | None, changed: str | None) -> bool | None:
    """Return whether JSON text comes in quotes, is refused, or differs in more than white space from its object."""
    if text is None or changed is None:
        return None if text == changed else text is None
    given = [one for one in _arguments(conversation) if isinstance(one, str)]
    quoted = [json.dumps(one, ensure_ascii=ascii_only) for one in given for ascii_only in (True, False)]
    if any(one in text and one not in changed for one in quoted):
        return True
    given = [one for one in given if one.strip()]
    if not given or not all(one in text for one in given):
        return None
    return _dense(text) != _dense(changed)


def _dense(text: str) -> str:
    """Return a text without white space, and without escapes of JSON."""
    return _SPACE.sub("", _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text))


def _as_json_text(conversation: Conversation) -> tuple[Conversation, int]:
    """Write arguments that are objects as JSON text."""
    return _with_arguments(conversation, lambda one: json.dumps(one, ensure_ascii=False))


def _needs_json_text(conversation: Conversation, text: str | None, changed: str | None) -> bool | None:
    return False if text is not None else True if changed is not None else None


def _with_arguments(conversation: Conversation, change: Callable[[Any], Any]) -> tuple[Conversation, int]:
    messages, number = [], 0
    for message in conversation.messages:
        calls = []
        for call in message.get("tool_calls") or ():
            function = call.get("function", call) if isinstance(call, dict) else None
            if isinstance(function, dict) and "arguments" in function:
                arguments = change(function["arguments"])
                if arguments is not function["arguments"]:
                    number += 1
                    function = {**function, "arguments": arguments}
                    call = {**call, "function": function} if "function" in call else function
            calls.append(call)
        messages.append(_with(message, tool_calls=calls) if calls else message)
    return conversation.with_messages(messages), number


def _with(message: Message, **values: Any) -> Message:
    """Return a message of the same kind with other values."""
    return type(message)({**message, **values})


_JOINED = _Change("parts_joined", _joined, _needs_other_contents)
_DIVIDED = _Change("parts_made", _divided, _needs_other_contents)
_OBJECTS = _Change("tool_arguments_parsed", _as_objects, _needs_objects)
_JSON_TEXT = _Change("tool_arguments_as_text", _as_json_text, _needs_json_text)

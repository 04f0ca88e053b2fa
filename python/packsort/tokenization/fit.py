"""What a chat template takes: contents in parts or as text, arguments of tool calls as objects or as JSON text.

transformers documents parts and objects, and hands to the template what it is given. Many templates write one of the
two wrongly: parts as Python's text of a list, JSON text in quotes. Which one, a template's own output tells: the first
conversation that has either is rendered both ways. All others are then given as the template takes them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from packsort.tokenization.messages import Conversation, Message, RowError
from packsort.tokenization.notes import Note, NoteKind
from packsort.tokenization.template import ChatTemplate

# A template that writes neither form never tells. It is asked this often.
_MOST_TRIES = 20
_PART_MARKS = ("'type': 'text'", '"type": "text"')


@dataclass(frozen=True)
class _Change:
    """One change of conversations.

    Attributes:
        kind: Kind of the note about it.
        make: Returns the changed conversation, and the number of changes.
        shows: Whether a text shows the conversation rightly without the change; None if nothing tells.
        shows_changed: Whether the text of the changed conversation shows the one before the change rightly.
    """

    kind: NoteKind
    make: Callable[[Conversation], tuple[Conversation, int]]
    shows: Callable[[Conversation, str], bool | None]
    shows_changed: Callable[[Conversation, str], bool | None]


@dataclass
class _Choice:
    """Whether conversations are changed for a template; None until one has told."""

    change: bool | None = None
    tries: int = 0


class TemplateFit:
    """Changes conversations to what their chat template takes."""

    def __init__(self) -> None:
        self._choices: dict[tuple[str, NoteKind], _Choice] = {}
        self._counts: Counter[NoteKind] = Counter()

    @property
    def notes(self) -> list[Note]:
        """What was changed so far."""
        return [Note(kind, {"number": number}) for kind, number in self._counts.items() if number]

    def __call__(self, template: ChatTemplate, conversation: Conversation, *, count: bool = True) -> Conversation:
        """Return a conversation as its template takes it.

        Args:
            template: The chat template.
            conversation: The conversation.
            count: Whether its changes are counted.
        """
        counts = self._counts if count else Counter()
        if any(isinstance(message.get("content"), list) for message in conversation.messages):
            conversation = self._fit(template, conversation, _PARTS, counts)
        arguments = list(_arguments(conversation))
        if any(isinstance(one, str) for one in arguments):
            fitted = self._fit(template, conversation, _OBJECTS, counts)
            if fitted is not conversation:
                counts["tool_arguments_kept"] += sum(isinstance(one, str) for one in _arguments(fitted))
            return fitted
        return self._fit(template, conversation, _TEXT, counts) if arguments else conversation

    def _fit(
        self, template: ChatTemplate, conversation: Conversation, change: _Change, counts: Counter[NoteKind]
    ) -> Conversation:
        choice = self._choices.setdefault((template.text, change.kind), _Choice())
        if choice.change is False:
            return conversation
        other, number = change.make(conversation)
        if choice.change is None:
            shown = _shown(template, conversation, lambda text: change.shows(conversation, text))
            if shown is False and _shown(template, other, lambda text: change.shows_changed(conversation, text)):
                choice.change = True
            elif shown or choice.tries == _MOST_TRIES:
                choice.change = False
            choice.tries += 1
        if not choice.change:
            return conversation
        counts[change.kind] += number
        return other


def _shown(template: ChatTemplate, conversation: Conversation, shows: Callable[[str], bool | None]) -> bool | None:
    """Return whether a template writes a conversation rightly: False if it refuses it, None if nothing tells."""
    try:
        text = template.render(conversation)
    except RowError:
        return False
    return shows(text)


def _whatever(conversation: Conversation, text: str) -> bool | None:
    """Return True: that a template takes a conversation is enough."""
    return True


# Contents in parts


def _joined(conversation: Conversation) -> tuple[Conversation, int]:
    """Join the parts of contents by line feeds."""
    messages, number = [], 0
    for message in conversation.messages:
        content = message.get("content")
        if isinstance(content, list):
            message = _with(message, content="\n".join(part["text"] for part in content))
            number += 1
        messages.append(message)
    return conversation.with_messages(messages), number


def _shows_parts(conversation: Conversation, text: str) -> bool | None:
    parts = [part for one in conversation.messages if isinstance(one.get("content"), list) for part in one["content"]]
    said = [part["text"].strip() for part in parts]
    return all(words in text for words in said) and not any(
        mark in text for mark in _PART_MARKS if not any(mark in words for words in said)
    )


# Arguments of tool calls


def _arguments(conversation: Conversation) -> Iterator[Any]:
    """Yield the arguments of all tool calls."""
    for message in conversation.messages:
        for call in message.get("tool_calls") or ():
            function = call.get("function", call) if isinstance(call, dict) else None
            if isinstance(function, dict) and "arguments" in function:
                yield function["arguments"]


def _shows_arguments(conversation: Conversation, text: str) -> bool | None:
    given = [one for one in _arguments(conversation) if isinstance(one, str) and one.strip()]
    if any(json.dumps(one, ensure_ascii=ascii_only) in text for one in given for ascii_only in (True, False)):
        return False
    return True if given and all(one in text for one in given) else None


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


def _as_text(conversation: Conversation) -> tuple[Conversation, int]:
    """Write arguments that are objects as JSON text."""
    return _with_arguments(conversation, lambda one: json.dumps(one, ensure_ascii=False))


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


_PARTS = _Change("parts_joined", _joined, _shows_parts, _shows_parts)
_OBJECTS = _Change("tool_arguments_parsed", _as_objects, _shows_arguments, _whatever)
_TEXT = _Change("tool_arguments_as_text", _as_text, _whatever, _whatever)

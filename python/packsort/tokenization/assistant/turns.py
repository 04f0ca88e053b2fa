"""Choice of the method that finds the assistant's turns, and the turns of each row.

A template that marks generation says itself where the turns are. For any other, the turns of a conversation are found
by rendering it message by message, and where that fails, by the places of its contents. Both are checked on each row.
Where the template fails on a plain conversation, and TRL knows it, TRL's training template takes its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from packsort.errors import TokenizerError
from packsort.tokenization.assistant.contents import content_places, turns_by_contents
from packsort.tokenization.assistant.gaps import KnownGaps
from packsort.tokenization.assistant.prefixes import turns_by_prefixes
from packsort.tokenization.assistant.training import training_template
from packsort.tokenization.loss import LossRule
from packsort.tokenization.messages import ASSISTANT, Conversation, RowError
from packsort.tokenization.spans import Span
from packsort.tokenization.tally import Tally
from packsort.tokenization.template import ChatTemplate


class FindTurns(Protocol):
    """Renders a conversation and returns its text and the assistant's turns in it."""

    @property
    def template(self) -> ChatTemplate:
        """The chat template that renders."""
        ...

    def __call__(self, conversation: Conversation, tally: Tally) -> tuple[str, list[Span]]:
        """Render a conversation and find the assistant's turns; count in `tally` how they were found.

        Raises:
            RowError: The template refuses the conversation, or the turns cannot be told exactly.
        """
        ...


@dataclass(frozen=True)
class MarkedTurns:
    """Assistant turns of a chat template that marks them."""

    template: ChatTemplate

    def __call__(self, conversation: Conversation, tally: Tally) -> tuple[str, list[Span]]:
        """Render a conversation and return the parts that the template marks."""
        return self.template.render_marked(conversation)


WAYS_OUT = (
    "use a chat template that marks them with {% generation %}, such as TRL has for many models, or train on every "
    "token with loss='all'"
)

_ASKED = {"role": "user", "content": "What is it?"}
_THANKED = {"role": "user", "content": "And then?"}
# Conversations that a template must render message by message, if it is to be trained with as it is.
_PROBES = [
    [_ASKED, first, _THANKED, second]
    for first, second in (
        ({"role": "assistant", "content": "A tree."}, {"role": "assistant", "content": "It falls."}),
        (
            {"role": "assistant", "content": "A tree.", "reasoning_content": "It has leaves."},
            {"role": "assistant", "content": "It falls.", "reasoning_content": "It is old."},
        ),
        (
            {"role": "assistant", "content": "<think>\nIt has leaves.\n</think>\n\nA tree."},
            {"role": "assistant", "content": "<think>\nIt is old.\n</think>\n\nIt falls."},
        ),
    )
]


class SearchedTurns:
    """Assistant turns of a chat template that marks none.

    Args:
        template: The chat template.
        tokenizer: Its tokenizer.

    Attributes:
        template: The chat template.
    """

    def __init__(self, template: ChatTemplate, tokenizer: Any) -> None:
        self.template = template
        added = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, added)) or "(?!)")
        self._known, self._known_by_contents = KnownGaps(), KnownGaps()

    @property
    def learned(self) -> tuple[KnownGaps, KnownGaps]:
        """Gaps that conversations have shown so far."""
        return self._known.copy(), self._known_by_contents.copy()

    @learned.setter
    def learned(self, gaps: tuple[KnownGaps, KnownGaps]) -> None:
        self._known, self._known_by_contents = (one.copy() for one in gaps)

    def __call__(self, conversation: Conversation, tally: Tally) -> tuple[str, list[Span]]:
        """Render a conversation and search it."""
        text = self.template.render(conversation)
        turns = self._known.turns(conversation, text)
        if turns is not None:
            return text, turns
        turns = self._known_by_contents.turns(conversation, text)
        if turns is not None:
            tally.by_contents += 1
            return text, turns
        known = self._known
        places = content_places(self.template, conversation, text)
        turns = turns_by_prefixes(self.template, conversation, text)
        if turns is None or _holds_others(conversation, places, turns):
            known = self._known_by_contents
            turns = turns_by_contents(self.template, conversation, text, places, self._special)
            tally.by_contents += turns is not None
        if turns is None:
            raise RowError(
                f"nothing tells the assistant's turns in the rendered conversation from the rest: {WAYS_OUT}"
            )
        if places is not None:
            known.remember(conversation, text, places, turns)
        return text, turns


def find_turns(templates: list[ChatTemplate], tokenizer: Any) -> tuple[list[FindTurns], LossRule]:
    """Choose how the assistant's turns are found.

    Args:
        templates: The tokenizer's chat templates, one for each kind of rows.
        tokenizer: The tokenizer.

    Returns:
        Finder of each template; and the rule that names the method.
    """
    if all(template.marked for template in templates):
        return [MarkedTurns(template) for template in templates], LossRule.GENERATION
    if len(templates) == 1 and not _renders_parts_alike(templates[0]):
        text = training_template(tokenizer)
        if text is not None:
            return [MarkedTurns(templates[0].with_text(text))], LossRule.TRAINING_TEMPLATE
    if any(_opens_turns_unasked(template) for template in templates):
        raise TokenizerError(
            "the chat template opens the assistant's turn at the end of every conversation, so turns cannot be told "
            f"from what prompts them: {WAYS_OUT}"
        )
    searched: list[FindTurns] = [
        MarkedTurns(template) if template.marked else SearchedTurns(template, tokenizer) for template in templates
    ]
    return searched, LossRule.ASSISTANT


def _renders_parts_alike(template: ChatTemplate) -> bool:
    """Return whether the template renders the start of each probe as the start of the whole."""
    for messages in _PROBES:
        conversation = Conversation(messages)
        try:
            text = template.render(conversation)
        except RowError:
            continue  # The rows may be of another form, such as contents in parts.
        if turns_by_prefixes(template, conversation, text) is None:
            return False
    return True


def _holds_others(conversation: Conversation, places: list[Span] | None, turns: list[Span]) -> bool:
    """Return whether a turn holds words of another role, as where a system prompt is written into the next message."""
    others = [
        place
        for message, place in zip(conversation.messages, places or (), strict=False)
        if message["role"] != ASSISTANT
    ]
    return any(begin < end and start < end and begin < stop for start, stop in others for begin, end in turns)


def _opens_turns_unasked(template: ChatTemplate) -> bool:
    """Return whether the template ends every text where the assistant speaks next, asked for it or not."""
    asked, answered, thanked = _PROBES[0][:3]
    try:
        short = template.render(Conversation([asked, answered]))
        long = template.render(Conversation([asked, answered, thanked]))
    except RowError:
        return False
    _, _, after_asked = short.partition(asked["content"])
    opening, _, ending = after_asked.partition(answered["content"])
    _, _, after_answered = long.partition(answered["content"])
    return ending != "" and ending == opening and not after_answered.startswith(ending)

"""Counts of what a chat template makes of conversations: what it leaves out, and turns whose end is not trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from packsort.tokenization.directives import Untrained
from packsort.tokenization.loss import LossRule
from packsort.tokenization.messages import ASSISTANT, Conversation
from packsort.tokenization.notes import Note, NoteKind
from packsort.tokenization.spans import Span
from packsort.tokenization.tokenizer import special_tokens


class ShownCounts:
    """Counts over rendered conversations.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        rule: Tokens that carry loss.
    """

    def __init__(self, tokenizer: Any, rule: LossRule) -> None:
        self._rule = rule
        # A tokenizer that splits special tokens reads them as letters, so no turn ends in one.
        split = getattr(tokenizer, "split_special_tokens", False)
        self._ends = () if split else tuple(filter(None, special_tokens(tokenizer).values()))
        self._last_end = self._ends[:1]
        self._counts: Counter[NoteKind] = Counter()

    @property
    def notes(self) -> list[Note]:
        """The counts above 0."""
        return [Note(kind, {"number": number}) for kind, number in self._counts.items() if number]

    def __call__(self, conversation: Conversation, text: str, turns: Sequence[Span]) -> None:
        """Count one conversation.

        Args:
            conversation: The conversation.
            text: Its whole text.
            turns: The parts of it that carry loss, if turns do.
        """
        calls = [call for one in conversation.messages for call in one.get("tool_calls") or ()]
        if calls:
            self._counts["tool_calls_not_written"] += not all(name in text for name in _names(calls))
        if conversation.tools is not None:
            self._counts["tools_not_written"] += not all(name in text for name in _names(conversation.tools))
        self._counts["words_not_written"] += not all(words in text for words in _said(conversation))
        if self._rule.by_turns:
            self._counts["messages_without_loss"] += sum(isinstance(one, Untrained) for one in conversation.messages)
        if turns or not self._rule.by_turns:
            trained = (text[slice(*turns[-1])] if turns else text).rstrip()
            self._counts["end_of_turn_without_loss"] += not self._ends_turn(trained)

    def _ends_turn(self, trained: str) -> bool:
        """Return whether a text ends in a special token; most end in the same one."""
        if self._last_end and trained.endswith(self._last_end[0]):
            return True
        found = next((token for token in self._ends if trained.endswith(token)), None)
        if found is not None:
            self._last_end = (found,)
        return found is not None


def _said(conversation: Conversation) -> Iterator[str]:
    """Yield what the assistant says and thinks, without outer white space."""
    for message in conversation.messages:
        if message["role"] != ASSISTANT:
            continue
        for words in (message.get("content"), message.get("reasoning_content")):
            for part in words if isinstance(words, list) else [words]:
                text = part.get("text") if isinstance(part, dict) else part
                if isinstance(text, str):
                    yield text.strip()


def _names(functions: Iterable[Any]) -> Iterator[str]:
    """Yield the names of tools, or of the functions that are called."""
    for one in functions:
        function = one.get("function", one) if isinstance(one, dict) else None
        if isinstance(function, dict):
            yield str(function.get("name", ""))

"""Counts of what a chat template makes of conversations: what it leaves out, and turns whose end is not trained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from packsort.tokenization.directives import Untrained
from packsort.tokenization.loss import LossRule
from packsort.tokenization.messages import ASSISTANT, TOOL, Conversation
from packsort.tokenization.spans import Span
from packsort.tokenization.tally import Tally
from packsort.tokenization.tokenizer import special_tokens

_WORD = re.compile(r"\w+")
# Keys of what a message says, and of what it thinks, by the names that transformers knows.
_SAID = ("content", "reasoning_content", "thinking", "reasoning")


class ShownCounter:
    """Counter of what is shown of rendered conversations.

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

    def __call__(self, conversation: Conversation, text: str, turns: Sequence[Span], tally: Tally) -> None:
        """Count one conversation.

        Args:
            conversation: The conversation.
            text: Its whole text.
            turns: The parts of it that carry loss, if turns do.
            tally: Gets the counts.
        """
        if not _written_plainly(conversation, text):
            self._count_unwritten(conversation, text, tally)
        if turns or not self._rule.by_turns:
            trained = (text[slice(*turns[-1])] if turns else text).rstrip()
            tally.noted["end_of_turn_without_loss"] += not self._ends_turn(trained)

    def _count_unwritten(self, conversation: Conversation, text: str, tally: Tally) -> None:
        calls = [call for one in conversation.messages for call in one.get("tool_calls") or ()]
        if calls:
            tally.noted["tool_calls_not_written"] += not all(name in text for name in _names(calls))
        if conversation.tools is not None:
            tally.noted["tools_not_written"] += not all(name in text for name in _names(conversation.tools))
        tally.noted["words_not_written"] += not all(words in text for words in _said(conversation))
        tally.unwritten.update(_unwritten(conversation, text))
        if self._rule.by_turns:
            tally.noted["messages_without_loss"] += sum(isinstance(one, Untrained) for one in conversation.messages)

    def _ends_turn(self, trained: str) -> bool:
        """Return whether a text ends in a special token; most end in the same one."""
        if self._last_end and trained.endswith(self._last_end[0]):
            return True
        found = next((token for token in self._ends if trained.endswith(token)), None)
        if found is not None:
            self._last_end = (found,)
        return found is not None


def _written_plainly(conversation: Conversation, text: str) -> bool:
    """Return whether all messages are a role and a text, and the text is written as it is: most are."""
    return conversation.tools is None and all(
        type(one) is dict and len(one) == 2 and type(one.get("content")) is str and one["content"] in text
        for one in conversation.messages
    )


def _said(conversation: Conversation) -> Iterator[str]:
    """Yield what the assistant says and thinks, without outer white space."""
    for message in conversation.messages:
        if message["role"] == ASSISTANT:
            yield from chain.from_iterable(_texts(message.get(key)) for key in _SAID)


def _unwritten(conversation: Conversation, text: str) -> Iterator[str]:
    """Yield the roles of others whose messages are not in a text as they are, one for each message."""
    for message in conversation.messages:
        role = message["role"]
        if role == ASSISTANT:
            continue
        for words in _texts(message.get("content")):
            # A template may write the answer of a tool in a form of its own, but not without any of its words.
            found = words in text or (role == TOOL and any(word in text for word in _WORD.findall(words)))
            if not found:
                yield role
                break


def _texts(content: Any) -> Iterator[str]:
    """Yield the texts of a content, without outer white space."""
    for part in content if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            yield text.strip()


def _names(functions: Iterable[Any]) -> Iterator[str]:
    """Yield the names of tools, or of the functions that are called."""
    for one in functions:
        function = one.get("function", one) if isinstance(one, dict) else None
        if isinstance(function, dict):
            yield str(function.get("name", ""))

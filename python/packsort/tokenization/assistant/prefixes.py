"""Turns found by rendering a conversation message by message.

The text up to where the assistant speaks must start the text that ends after its message, and that must start the whole
text. What lies between them is what the model is to write, with the end of its turn. Two texts are rendered for each
turn, so the cost grows with the square of the number of messages.
"""

from __future__ import annotations

from packsort.tokenization.messages import ASSISTANT, Conversation, RowError
from packsort.tokenization.spans import Span
from packsort.tokenization.template import ChatTemplate


def turns_by_prefixes(template: ChatTemplate, conversation: Conversation, text: str) -> list[Span] | None:
    """Return the assistant's turns, or None if the template renders the start of a conversation otherwise.

    Args:
        template: The chat template.
        conversation: The conversation.
        text: Its whole text.
    """
    messages = conversation.messages
    turns = []
    for index, message in enumerate(messages):
        if message["role"] != ASSISTANT:
            continue
        last = index == len(messages) - 1
        try:
            before = template.render(conversation.with_messages(messages[:index]), prompt=True)
            after = text if last else template.render(conversation.with_messages(messages[: index + 1]))
        except RowError:  # Many templates refuse a conversation without a user message.
            return None
        if not (after.startswith(before) and text.startswith(after)):
            return None
        turns.append((len(before), len(after)))
    return turns

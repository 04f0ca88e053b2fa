"""Rules that decide which tokens carry loss, as identifiers, and the words for them.

Files and programs store and compare the identifiers. `describe_loss` renders one for people.
"""

from __future__ import annotations

from enum import StrEnum


class LossRule(StrEnum):
    """Tokens that carry loss."""

    GENERATION = "generation"
    """Tokens between the chat template's `{% generation %}` marks."""

    ASSISTANT = "assistant"
    """Tokens of assistant turns, found in the text because the chat template has no marks."""

    TRAINING_TEMPLATE = "training_template"
    """Tokens between the marks of the training template that TRL has in place of the chat template."""

    COMPLETION = "completion"
    """Tokens of the completion, after the prompt."""

    ALL = "all"
    """Every token of a text."""

    ALL_UNMARKED_TEMPLATE = "all_unmarked_template"
    """Every token of a conversation, because the chat template has no `{% generation %}` marks. Of older versions."""

    ALL_NO_OFFSETS = "all_no_offsets"
    """Every token of a conversation, because the tokenizer gives no character offsets. Of older versions."""

    @property
    def by_turns(self) -> bool:
        """Whether assistant turns carry loss."""
        return self in (LossRule.GENERATION, LossRule.ASSISTANT, LossRule.TRAINING_TEMPLATE)


_WORDS = {
    LossRule.GENERATION: "assistant turns, as the chat template marks them",
    LossRule.ASSISTANT: "assistant turns, found in the rendered text",
    LossRule.TRAINING_TEMPLATE: "assistant turns, as TRL's training template renders and marks them",
    LossRule.COMPLETION: "completions only",
    LossRule.ALL: "every token",
    LossRule.ALL_UNMARKED_TEMPLATE: "every token: the chat template has no generation marks",
    LossRule.ALL_NO_OFFSETS: "every token: the tokenizer gives no character offsets",
}

# Manifests and token files of earlier builds hold these sentences in place of identifiers.
_OLD_WORDS = {
    "assistant turns, where the chat template marks generation": LossRule.GENERATION,
    "every token: the chat template marks no generation": LossRule.ALL_UNMARKED_TEMPLATE,
    "every token: the tokenizer cannot tell which text its tokens come from": LossRule.ALL_NO_OFFSETS,
    "completion only": LossRule.COMPLETION,
    "every token": LossRule.ALL,
}


def describe_loss(rule: LossRule) -> str:
    """Render a loss rule in words.

    Example:
        >>> describe_loss(LossRule.COMPLETION)
        'completions only'
    """
    return _WORDS[rule]


def parse_loss_rule(text: str) -> LossRule:
    """Return the loss rule that a file names, by its identifier or by the sentence of an older version.

    Args:
        text: An identifier, or a sentence of an older version.

    Raises:
        ValueError: `text` names no loss rule.

    Example:
        >>> parse_loss_rule("completion only")
        <LossRule.COMPLETION: 'completion'>
    """
    return _OLD_WORDS.get(text) or LossRule(text)

"""A chat template of a tokenizer: from a conversation to its text.

transformers' own function renders, in its own environment, so the text equals that of `apply_chat_template`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from packsort._install import pip_install
from packsort.errors import TokenizerError
from packsort.tokenization.clock import Clock
from packsort.tokenization.limits import Limits, TemplateLimitError
from packsort.tokenization.messages import Conversation, RowError
from packsort.tokenization.spans import Span

if TYPE_CHECKING:
    from packsort.tokenization.bounded import BoundedTemplate

# The pattern that transformers searches for.
_GENERATION = re.compile(r"\{\%-?\s*generation\s*-?\%\}")


class ChatTemplate:
    """One chat template, with the special tokens of its tokenizer.

    Args:
        text: The Jinja template.
        special: Special tokens by the names under which the template knows them.
        clock: What the template reads the date from.

    Attributes:
        text: The Jinja template.
        special: Special tokens by name.
        marked: Whether the template marks generation.
        reads_clock: Whether the template may read the date.
    """

    def __init__(self, text: str, special: Mapping[str, Any], clock: Clock) -> None:
        self.text = text
        self.special = special
        self.marked = _GENERATION.search(text) is not None
        self.reads_clock = "strftime_now" in text
        self._clock = clock
        self._direct: dict[bool, bool] = {}  # with marks or without, once a conversation has told
        self._limits = Limits()
        self._bounded: BoundedTemplate | None = None

    def with_text(self, text: str) -> ChatTemplate:
        """Return another template, with the same special tokens and clock."""
        return ChatTemplate(text, self.special, self._clock)

    def render(self, conversation: Conversation, *, prompt: bool = False) -> str:
        """Render one conversation.

        Args:
            conversation: The conversation.
            prompt: Whether the text ends where the assistant speaks next.

        Raises:
            RowError: The template refuses the conversation.
            TokenizerError: The chat template is not valid.
        """
        return self._render(conversation, prompt=prompt, marks=False)[0]

    def render_marked(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """Render one conversation, and return its text and the parts that the template marks.

        Raises:
            RowError: The template refuses the conversation.
            TokenizerError: The chat template is not valid.
        """
        return self._render(conversation, prompt=False, marks=True)

    def _render(self, conversation: Conversation, *, prompt: bool, marks: bool) -> tuple[str, list[Span]]:
        from jinja2 import TemplateError

        bounded = self._bounded or self._compile()
        self._limits.start()
        # transformers keeps the marks in the compiled template, so two threads must not render at the same time.
        try:
            direct = None
            if self._direct.get(marks, True) and _is_plain(conversation):
                direct = self._directly(bounded, conversation, prompt=prompt, marks=marks)
            if direct is not None and marks in self._direct:
                return direct
            found = self._by_transformers(bounded, conversation, prompt=prompt, marks=marks)
            if direct is not None:
                self._direct[marks] = direct == found
            return found
        except TemplateLimitError:
            raise
        except RecursionError as error:
            raise TemplateLimitError("the chat template calls itself too often") from error
        except MemoryError as error:
            raise TemplateLimitError("the chat template takes more memory than there is") from error
        except OverflowError as error:  # of a `range` above all, whose length the sandbox limits
            raise TemplateLimitError(f"the chat template cannot be rendered: {error}") from error
        # A template is foreign code. It may raise any of these for a conversation that it does not expect.
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
            raise RowError(f"the chat template refuses the conversation: {error}") from error

    def _by_transformers(
        self, bounded: BoundedTemplate, conversation: Conversation, *, prompt: bool, marks: bool
    ) -> tuple[str, list[Span]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        if not bounded.is_installed:
            bounded = self._compile()
        # transformers annotates the result as a string, but returns a pair.
        result: Any = render_jinja_template(
            conversations=[conversation.messages],
            tools=conversation.tools,
            chat_template=bounded.key,
            return_assistant_tokens_mask=marks,
            add_generation_prompt=prompt,
            **{**self.special, **conversation.variables},
        )
        rendered, spans = result
        return rendered[0], spans[0] if marks else []

    def _directly(
        self, bounded: BoundedTemplate, conversation: Conversation, *, prompt: bool, marks: bool
    ) -> tuple[str, list[Span]] | None:
        """Render a plain conversation by the parts of transformers' function, without the copies that it makes first.

        A plain conversation is what the copies make of it. The first one is rendered both ways, and where a version of
        transformers has other parts, or gives another text, all are rendered by its function.
        """
        from transformers.utils import chat_template_utils as parts

        compiled = bounded.template
        with_marks: Any = getattr(parts, "_render_with_assistant_indices", None)
        if with_marks is None:
            return None
        given = {"messages": conversation.messages, "tools": None, "documents": None, "add_generation_prompt": prompt}
        if marks:
            text, spans = with_marks(compiled_template=compiled, **given, **self.special)
            return text, spans
        return compiled.render(**given, **self.special), []

    def _compile(self) -> BoundedTemplate:
        try:
            from jinja2 import TemplateSyntaxError

            from packsort.tokenization.bounded import BoundedTemplate
        except ImportError as error:
            raise TokenizerError(
                f"rendering a chat template needs jinja2 ({error}): {pip_install('packsort[hf]')}"
            ) from error
        try:
            self._bounded = BoundedTemplate(self.text, self._limits, strftime_now=self._clock.strftime_now)
            return self._bounded
        except TemplateSyntaxError as error:
            raise TokenizerError(f"the chat template is not valid (line {error.lineno}): {error.message}") from error
        # Of Python's compiler: too many nested loops or parentheses.
        except (SyntaxError, RecursionError, MemoryError, OverflowError, ValueError) as error:
            raise TokenizerError(f"the chat template cannot be compiled: {error}") from error


def _is_plain(conversation: Conversation) -> bool:
    """Return whether a conversation is nothing but messages of a role and a text."""
    return (
        conversation.tools is None
        and not conversation.variables
        and type(conversation.messages) is list
        and all(
            type(one) is dict and len(one) == 2 and type(one.get("content")) is str and type(one["role"]) is str
            for one in conversation.messages
        )
    )


def chat_templates(tokenizer: Any, column: str, clock: Clock, *, tools: bool) -> list[ChatTemplate]:
    """Return the chat templates of a tokenizer: for rows without tools, and last for rows with tools.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        column: The column that needs a template.
        clock: What the templates read the date from.
        tools: Whether rows may have tools. A tokenizer may have a separate template for them.

    Raises:
        TokenizerError: There is no chat template, or none to use.
    """
    if type(tokenizer).__name__.startswith("MistralCommon"):
        raise TokenizerError(
            f"a tokenizer of mistral-common renders no chat template, which column `{column}` needs: pass a folder "
            "with the model's tokenizer.json and chat template"
        )
    if not getattr(tokenizer, "chat_template", None):
        raise TokenizerError(
            f"the tokenizer has no chat template, which column `{column}` needs: set its `chat_template`"
        )
    try:
        texts = [tokenizer.get_chat_template(None, tools=None)]
        if tools:
            texts.append(tokenizer.get_chat_template(None, tools=[]))
    except ValueError as error:
        raise TokenizerError(f"the tokenizer has no chat template to use: {error}") from error
    special = dict(tokenizer.special_tokens_map)
    return [ChatTemplate(text, special, clock) for text in dict.fromkeys(texts)]

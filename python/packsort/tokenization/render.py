"""Text of rows, ready to tokenize: conversations by the chat template, prompts with completions, and plain text.

transformers' own function renders the template, so the text equals that of `apply_chat_template`. Rows are checked
here, because file and row are still known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import types

from packsort._arrow import described, is_list, is_messages, is_text
from packsort.errors import SourceError, TokenizerError
from packsort.sources.source import Source
from packsort.tokenization.loss import LossRule

Message = dict[str, Any]

# The pattern that transformers searches for.
_GENERATION = re.compile(r"\{\%-?\s*generation\s*-?\%\}")


@dataclass
class Rendered:
    """Text of some rows.

    Attributes:
        texts: Text of each row.
        turns: First and end character of each assistant turn of each row. Empty if the template marks none.
        prompts: Text at the start of each row that carries no loss, or None if rows have no such part.
    """

    texts: list[str] = field(default_factory=list)
    turns: list[list[tuple[int, int]]] = field(default_factory=list)
    prompts: list[str] | None = None


class Renderer:
    """Renderer of one kind of rows: conversations, prompts with completions, or text.

    Args:
        source: The rows. Their columns decide the kind.
        tokenizer: A `transformers.PreTrainedTokenizerBase`.

    Attributes:
        columns: Columns that are rendered.
        loss_rule: Tokens that carry loss.
        plain: Whether the rows are plain text, which has no special tokens yet. A chat template writes them itself.

    Raises:
        SourceError: The source has no usable column.
        TokenizerError: The tokenizer has no chat template, but the rows are conversations.
    """

    def __init__(self, source: Source, tokenizer: Any) -> None:
        schema = source.schema
        kinds = {name: schema.field(name).type for name in schema.names}
        self.plain = False
        self._tokenizer = tokenizer
        self._has_tools = "tools" in kinds and (is_list(kinds["tools"]) or is_text(kinds["tools"]))
        pair = [kinds[name] for name in ("prompt", "completion") if name in kinds]
        self._render: Callable[..., None]
        if "messages" in kinds and is_messages(kinds["messages"]):
            self.columns = ["messages"]
            self._render = self._conversation
        elif len(pair) == 2 and all(is_messages(kind) for kind in pair):
            self.columns = ["prompt", "completion"]
            self._render = self._prompted_conversation
            self.loss_rule = LossRule.COMPLETION
        elif len(pair) == 2 and all(is_text(kind) for kind in pair):
            self.plain = True
            self.columns = ["prompt", "completion"]
            self._render = self._prompted_text
            self.loss_rule = LossRule.COMPLETION
        elif "text" in kinds and is_text(kinds["text"]):
            self.plain = True
            self.columns = ["text"]
            self._render = self._text
            self.loss_rule = LossRule.ALL
        else:
            raise SourceError(
                f"no usable column: there are {described(schema)}; `messages` (lists of structs with `role` and "
                "`content`), `prompt` and `completion` (strings or such lists), or `text` (strings) is needed"
            )
        if not self.plain:
            self._prepare_chat()

    def _prepare_chat(self) -> None:
        if self._has_tools:
            self.columns.append("tools")
        if not getattr(self._tokenizer, "chat_template", None):
            raise TokenizerError(
                f"the tokenizer has no chat template, which column `{self.columns[0]}` needs: set its `chat_template`"
            )
        try:
            # A tokenizer may have a separate template for rows with tools.
            self._templates = [self._tokenizer.get_chat_template(None, tools=None)]
            if self._has_tools:
                self._templates.append(self._tokenizer.get_chat_template(None, tools=[]))
        except ValueError as error:
            raise TokenizerError(f"the tokenizer has no chat template to use: {error}") from error
        self._special = dict(self._tokenizer.special_tokens_map)
        if self.columns[0] == "messages":
            marked = all(_GENERATION.search(template) for template in self._templates)
            self.loss_rule = LossRule.GENERATION if marked else LossRule.ALL_UNMARKED_TEMPLATE

    def __call__(self, batch: pa.RecordBatch, where: Callable[[int], str]) -> Rendered:
        """Render rows.

        Args:
            batch: The rows, with at least `columns`.
            where: Names a row of the batch in a message.

        Raises:
            SourceError: A row cannot be rendered: null, empty, without role or content, or refused by the template.
            TokenizerError: The chat template is not valid.
        """
        columns = [_to_python(batch.column(name), name, where) for name in self.columns]
        rendered = Rendered(prompts=[] if self.loss_rule is LossRule.COMPLETION else None)
        for row, values in enumerate(zip(*columns, strict=True)):
            try:
                self._render(rendered, *values)
            except RowError as error:
                raise SourceError(f"{where(row)}: {error}") from error.__cause__
        return rendered

    def _text(self, rendered: Rendered, text: str | None) -> None:
        if text is None:
            raise RowError("column `text` is null")
        rendered.texts.append(text)

    def _prompted_text(self, rendered: Rendered, prompt: str | None, completion: str | None) -> None:
        if prompt is None or completion is None:
            raise RowError(f"column `{'prompt' if prompt is None else 'completion'}` is null")
        assert rendered.prompts is not None
        rendered.prompts.append(prompt)
        rendered.texts.append(prompt + completion)

    def _conversation(self, rendered: Rendered, messages: Any, tools: Any = None) -> None:
        text, turns = self.chat(_messages(messages, "messages"), _tools(tools))
        rendered.texts.append(text)
        rendered.turns.append(turns)

    def _prompted_conversation(self, rendered: Rendered, prompt: Any, completion: Any, tools: Any = None) -> None:
        start, end = _messages(prompt, "prompt"), _messages(completion, "completion")
        given = _tools(tools)
        assert rendered.prompts is not None
        rendered.prompts.append(self.chat(start, given, prompt=True)[0])
        rendered.texts.append(self.chat(start + end, given)[0])

    def conversation(self, batch: pa.RecordBatch, row: int) -> tuple[list[Message], list[Any] | None]:
        """Return messages and tools of a row that `__call__` has rendered, as `chat` takes them."""
        messages, *tools = (batch.column(name)[row].as_py() for name in self.columns)
        return _messages(messages, "messages"), _tools(*tools or [None])

    def chat(
        self, messages: list[Message], tools: list[Any] | None, *, prompt: bool = False
    ) -> tuple[str, list[tuple[int, int]]]:
        """Render one conversation.

        Args:
            messages: The messages, without nulls.
            tools: Tools for the template, or None.
            prompt: Whether the text ends where the assistant speaks next.

        Returns:
            The text; and first and end character of each assistant turn if the template marks them.

        Raises:
            RowError: The template refuses the conversation.
            TokenizerError: The chat template is not valid.
        """
        from jinja2 import TemplateError, TemplateSyntaxError
        from transformers.utils.chat_template_utils import render_jinja_template

        # transformers keeps the marks in the compiled template, so two threads must not render at the same time.
        marked = self.loss_rule is LossRule.GENERATION
        try:
            # transformers annotates the result as a string, but returns a pair.
            result: Any = render_jinja_template(
                conversations=[messages],
                tools=tools,
                chat_template=self._templates[0 if tools is None else -1],
                return_assistant_tokens_mask=marked,
                add_generation_prompt=prompt,
                **self._special,
            )
            rendered, spans = result
        except ImportError as error:
            raise TokenizerError(
                f"rendering a chat template needs jinja2 ({error}): pip install 'packsort[hf]'"
            ) from error
        except TemplateSyntaxError as error:
            raise TokenizerError(f"the chat template is not valid (line {error.lineno}): {error.message}") from error
        # A template is foreign code. It may raise any of these for a conversation that it does not expect.
        except (TemplateError, TypeError, ValueError, LookupError) as error:
            raise RowError(f"the chat template refuses the conversation: {error}") from error
        return rendered[0], spans[0] if marked else []


class RowError(Exception):
    """Fault of a row; the message does not name the row."""


def _messages(messages: Any, column: str) -> list[Message]:
    """Check one conversation and drop the keys that Arrow added.

    A struct column gives every message every key, null where the row had none. transformers drops null keys of messages
    but not deeper ones, as in `tool_calls`: they would appear in the text as `"key": null`.
    """
    if messages is None:
        raise RowError(f"column `{column}` is null")
    if not messages:
        raise RowError(f"column `{column}` is an empty conversation")
    cleaned: list[Message] = []
    for index, message in enumerate(messages):
        if message is None:
            raise RowError(f"column `{column}`: message {index} is null")
        if not message["role"]:
            raise RowError(f"column `{column}`: message {index} has no role")
        if message.get("content") is None and not message.get("tool_calls"):
            role = message["role"]
            raise RowError(f"column `{column}`: message {index} ({role}) has neither content nor tool_calls")
        cleaned.append(_without_nulls(message))
    return cleaned


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _tools(tools: Any) -> list[Any] | None:
    """Return a row's tools as the template takes them, from structs, a JSON list, or a list of JSON objects."""
    try:
        if isinstance(tools, str):
            tools = json.loads(tools) if tools.strip() else None
        tools = [json.loads(tool) if isinstance(tool, str) else _without_nulls(tool) for tool in tools or []]
    except (ValueError, TypeError) as error:
        raise RowError(f"column `tools` is not a JSON list: {error}") from error
    return tools or None


def _to_python(column: pa.Array, name: str, where: Callable[[int], str]) -> Sequence[Any]:
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        for row, value in enumerate(column):
            try:
                value.as_py()
            except UnicodeDecodeError as error:
                raise SourceError(f"{where(row)}: column `{name}` is not valid UTF-8: {error.reason}") from error
        raise

"""Text of rows, ready to tokenize: conversations by the chat template, prompts with completions, and plain text.

Rows are checked here, because file and row are still known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from pyarrow import types

from packsort import _checks
from packsort._arrow import described, is_list, is_messages, is_text
from packsort._options import InputConfig
from packsort.errors import SourceError
from packsort.sources.source import Source
from packsort.tokenization.assistant.turns import FindTurns, SearchedTurns, find_turns
from packsort.tokenization.loss import LossRule
from packsort.tokenization.messages import Conversation, RowError, clean_messages, clean_tools
from packsort.tokenization.notes import Note
from packsort.tokenization.template import ChatTemplate, Span, chat_templates


@dataclass
class Rendered:
    """Text of some rows.

    Attributes:
        texts: Text of each row.
        turns: First and end character of each assistant turn of each row. Empty unless they carry the loss.
        prompts: Text at the start of each row that is its prompt. None, or without texts, if that does not matter.
    """

    texts: list[str] = field(default_factory=list)
    turns: list[list[Span]] = field(default_factory=list)
    prompts: list[str] | None = None


class Renderer:
    """Renderer of one kind of rows: conversations, prompts with completions, or text.

    Args:
        source: The rows. Their columns decide the kind.
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        config: Its `loss` says which tokens are to carry loss.

    Attributes:
        columns: Columns that are rendered.
        loss_rule: Tokens that carry loss.
        plain: Whether the rows are plain text, which has no special tokens yet. A chat template writes them itself.

    Raises:
        OptionError: Rows of this kind have no such loss.
        SourceError: The source has no usable column.
        TokenizerError: The tokenizer has no chat template, but the rows are conversations.
    """

    def __init__(self, source: Source, tokenizer: Any, config: InputConfig) -> None:
        schema = source.schema
        kinds = {name: schema.field(name).type for name in schema.names}
        self.plain = False
        self._find: list[FindTurns] = []
        self._tokenizer = tokenizer
        self._has_tools = "tools" in kinds and (is_list(kinds["tools"]) or is_text(kinds["tools"]))
        pair = [kinds[name] for name in ("prompt", "completion") if name in kinds]
        self._render: Callable[..., None]
        if "messages" in kinds and is_messages(kinds["messages"]):
            self.columns = ["messages"]
            self._render = self._conversation
            choice = "assistant"
        elif len(pair) == 2 and all(is_messages(kind) for kind in pair):
            self.columns = ["prompt", "completion"]
            self._render = self._prompted_conversation
            choice = "completion"
        elif len(pair) == 2 and all(is_text(kind) for kind in pair):
            self.plain = True
            self.columns = ["prompt", "completion"]
            self._render = self._prompted_text
            choice = "completion"
        elif "text" in kinds and is_text(kinds["text"]):
            self.plain = True
            self.columns = ["text"]
            self._render = self._text
            choice = "all"
        else:
            raise SourceError(
                f"no usable column: there are {described(schema)}; `messages` (lists of structs with `role` and "
                "`content`), `prompt` and `completion` (strings or such lists), or `text` (strings) is needed"
            )
        self.loss_rule = self._rule(choice if config.loss == "auto" else config.loss)
        if not self.plain:
            self._prepare_chat()

    def _rule(self, loss: str) -> LossRule:
        """Return the rule of a choice that is not "auto", checked against the kind of rows."""
        rows = "rows of " + " and ".join(f"`{name}`" for name in self.columns)
        if loss == "assistant" and self.plain:
            raise _checks.clash("loss='assistant'", rows, "text has no assistant turns; ask for loss='auto'")
        if loss == "completion" and len(self.columns) < 2:
            other = "all" if self.plain else "assistant"
            raise _checks.clash(
                "loss='completion'", rows, f"it needs `prompt` and `completion`; ask for loss='{other}'"
            )
        return {"assistant": LossRule.ASSISTANT, "completion": LossRule.COMPLETION, "all": LossRule.ALL}[loss]

    def _prepare_chat(self) -> None:
        if self._has_tools:
            self.columns.append("tools")
        self._templates = chat_templates(self._tokenizer, self.columns[0], tools=self._has_tools)
        if self.loss_rule is LossRule.ASSISTANT:
            self._find, self.loss_rule = find_turns(self._templates, self._tokenizer)
            self._templates = [find.template for find in self._find]

    @property
    def notes(self) -> list[Note]:
        """Facts that a user should know about the rows rendered so far."""
        by_contents = sum(find.by_contents for find in self._find if isinstance(find, SearchedTurns))
        return [Note("turns_by_contents", {"conversations": by_contents})] if by_contents else []

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
        rendered = Rendered(prompts=[] if self.columns[0] == "prompt" else None)
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
        text, turns = self.chat(Conversation(clean_messages(messages, "messages"), clean_tools(tools)))
        rendered.texts.append(text)
        rendered.turns.append(turns)

    def _prompted_conversation(self, rendered: Rendered, prompt: Any, completion: Any, tools: Any = None) -> None:
        start, end = clean_messages(prompt, "prompt"), clean_messages(completion, "completion")
        whole = Conversation(start + end, clean_tools(tools))
        text, turns = self.chat(whole)
        rendered.texts.append(text)
        rendered.turns.append(turns)
        if self.loss_rule is LossRule.COMPLETION:
            assert rendered.prompts is not None
            rendered.prompts.append(self._template(whole).render(whole.with_messages(start), prompt=True))

    def conversation(self, batch: pa.RecordBatch, row: int) -> Conversation:
        """Return the conversation of a row that `__call__` has rendered, as `chat` takes it."""
        messages, *tools = (batch.column(name)[row].as_py() for name in self.columns)
        return Conversation(clean_messages(messages, "messages"), clean_tools(*tools or [None]))

    def text(self, conversation: Conversation) -> str:
        """Render one conversation without looking for turns; raises as `chat` does."""
        return self._template(conversation).render(conversation)

    def chat(self, conversation: Conversation) -> tuple[str, list[Span]]:
        """Render one conversation.

        Args:
            conversation: The conversation.

        Returns:
            The text; and first and end character of each assistant turn if they carry the loss.

        Raises:
            RowError: The template refuses the conversation, or its turns cannot be found.
            TokenizerError: The chat template is not valid.
        """
        if self._find:
            return self._find[0 if conversation.tools is None else -1](conversation)
        return self.text(conversation), []

    def _template(self, conversation: Conversation) -> ChatTemplate:
        """Return the template of a conversation. A tokenizer may have a separate one for rows with tools."""
        return self._templates[0 if conversation.tools is None else -1]


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

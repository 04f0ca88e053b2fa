"""Text of rows, ready to tokenize: conversations by the chat template, prompts with completions, and plain text.

Rows are checked here, because file and row are still known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import pyarrow as pa
from pyarrow import types

from packsort import _checks
from packsort._arrow import is_list, is_text
from packsort._options.input import InputConfig
from packsort.errors import OptionError, SourceError
from packsort.tokenization.assistant.turns import FindTurns, SearchedTurns, find_turns
from packsort.tokenization.assistant.untrained import trained_turns
from packsort.tokenization.clock import Clock
from packsort.tokenization.directives import TEMPLATE_VARIABLES, Untrained, take_directives, template_variables
from packsort.tokenization.fit import TemplateFit
from packsort.tokenization.forms.find import find_form, is_json
from packsort.tokenization.forms.form import RowKind
from packsort.tokenization.limits import TemplateLimitError, of_row
from packsort.tokenization.loss import LossRule
from packsort.tokenization.messages import (
    Conversation,
    EmptyConversationError,
    RowError,
    as_tools,
    clean_messages,
    clean_tools,
)
from packsort.tokenization.notes import Note, counted_notes
from packsort.tokenization.shown import ShownCounter
from packsort.tokenization.spans import Span
from packsort.tokenization.tally import Tally
from packsort.tokenization.template import ChatTemplate, chat_templates


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
        schema: Columns of the rows, which decide the kind.
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        config: `loss` says which tokens are to carry loss, `columns` which columns were named, and `template_date`
            which date the template reads.

    Attributes:
        form: Form of the rows.
        kind: Kind of row that the form gives.
        columns: Columns that are rendered.
        loss_rule: Tokens that carry loss.
        date: Date that the chat template may read, `YYYY-MM-DD`, or None if it cannot.

    Raises:
        OptionError: Rows of this kind have no such loss; or a date is given for a template that reads none.
        SourceError: There is no usable column.
        TokenizerError: The tokenizer has no chat template, but the rows are conversations.
    """

    def __init__(self, schema: pa.Schema, tokenizer: Any, config: InputConfig) -> None:
        kinds = {name: schema.field(name).type for name in schema.names}
        form, self._other_forms = find_form(schema, config.columns or ())
        self.form, self.kind = form, form.kind
        self.columns = list(form.columns)
        self._find: list[FindTurns] = []
        self._tokenizer = tokenizer
        self._empty = config.empty
        self._judged = form.kind.is_prompted and pa.types.is_boolean(kinds.get("label", pa.null()))
        self._fit = TemplateFit()
        self._clock = Clock(config.template_date)
        self._templates: list[ChatTemplate] = []
        choice = {RowKind.CONVERSATION: "assistant", RowKind.TEXT: "all"}.get(form.kind, "completion")
        self.loss_rule = self._rule(choice if config.loss == "auto" else config.loss)
        if form.kind.is_chat:
            self._prepare_chat(kinds)
        self._shown = ShownCounter(tokenizer, self.loss_rule)
        self._tally = Tally()
        self.date = self._clock.day if any(template.reads_clock for template in self._templates) else None
        if config.template_date is not None and self.date is None:
            raise OptionError(
                f"template_date={config.template_date!r} has no effect, because "
                + ("the chat template does not read the date" if form.kind.is_chat else "no chat template is used")
                + ": leave it out"
            )

    def _rule(self, loss: str) -> LossRule:
        """Return the rule of a choice that is not "auto", checked against the kind of rows."""
        rows = "rows of " + " and ".join(f"`{name}`" for name in self.columns)
        if loss == "assistant" and not self.kind.is_chat:
            raise _checks.clash("loss='assistant'", rows, "text has no assistant turns; ask for loss='auto'")
        if loss == "completion" and not self.kind.is_prompted:
            other = "assistant" if self.kind.is_chat else "all"
            raise _checks.clash(
                "loss='completion'", rows, f"it needs `prompt` and `completion`; ask for loss='{other}'"
            )
        return {"assistant": LossRule.ASSISTANT, "completion": LossRule.COMPLETION, "all": LossRule.ALL}[loss]

    def _prepare_chat(self, kinds: Mapping[str, pa.DataType]) -> None:
        given = [name for name in ("tools", "functions") if name in kinds and _holds_objects(kinds[name])]
        given += [name for name in (TEMPLATE_VARIABLES,) if name in kinds]
        self.columns += given
        self._templates = chat_templates(self._tokenizer, self.columns[0], self._clock, tools=bool(given))
        if self.loss_rule is LossRule.ASSISTANT:
            self._find, self.loss_rule = find_turns(self._templates, self._tokenizer)
            self._templates = [find.template for find in self._find]

    @property
    def notes(self) -> list[Note]:
        """Facts that a user should know about the rows rendered so far."""
        return self.notes_of(self._tally)

    def take_tally(self) -> Tally:
        """Return the counts of what was rendered since the last call."""
        taken, self._tally = self._tally, Tally()
        taken.dated += self._clock.was_read
        return taken

    @property
    def learned(self) -> Any:
        """Facts about the chat template that the rows so far have shown, by which later rows are rendered."""
        searched = [find.learned for find in self._find if isinstance(find, SearchedTurns)]
        return self._fit.learned, searched

    @learned.setter
    def learned(self, found: Any) -> None:
        self._fit.learned, searched = found
        finders = [find for find in self._find if isinstance(find, SearchedTurns)]
        for find, gaps in zip(finders, searched, strict=True):
            find.learned = gaps

    def notes_of(self, tally: Tally) -> list[Note]:
        """Return facts that a user should know about rows that were counted."""
        form, notes = self.form, []
        columns = ", ".join(form.columns)
        if not form.own:
            notes.append(Note("form", {"form": form.name, "columns": columns, "becomes": form.becomes}))
        if self._other_forms:
            others = "; ".join(", ".join(other.columns) for other in self._other_forms)
            notes.append(Note("other_forms", {"columns": columns, "others": others}))
        if self.kind.is_chat and getattr(self._tokenizer, "split_special_tokens", False):
            notes.append(Note("template_tokens_in_letters"))
        if self._judged:
            notes.append(Note("completions_judged"))
        if self._clock.was_read or tally.dated:
            notes.append(Note("template_date", {"date": self._clock.day}))
        notes += counted_notes(tally.noted, tally.unwritten)
        if tally.by_contents:
            notes.append(Note("turns_by_contents", {"conversations": tally.by_contents}))
        return notes

    @property
    def template_date(self) -> str | None:
        """Date that the chat template has read, `YYYY-MM-DD`, or None if it has read none."""
        return self._clock.day if self._clock.was_read else None

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
        return self.rows((dict(zip(self.columns, values, strict=True)) for values in zip(*columns, strict=True)), where)

    def rows(self, rows: Iterable[Mapping[str, Any]], where: Callable[[int], str]) -> Rendered:
        """Render rows that are given as values by column; see `__call__`."""
        rendered = Rendered(prompts=[] if self.kind.is_prompted else None)
        for number, row in enumerate(rows):
            try:
                self._render(rendered, row)
            except (RowError, TemplateLimitError) as error:
                raise of_row(error, where(number)) from error.__cause__
        return rendered

    def _render(self, rendered: Rendered, row: Mapping[str, Any]) -> None:
        """Render one row, given by column."""
        if self.kind.is_chat:
            self._chat_row(rendered, row)
            return
        parts = self.form.convert(row)
        for name, part in zip(self.form.columns, parts, strict=True):
            if part is None:
                raise RowError(f"column `{name}` is null")
        if rendered.prompts is not None:
            rendered.prompts.append(parts[0])
        rendered.texts.append("".join(parts))

    def _chat_row(self, rendered: Rendered, row: Mapping[str, Any]) -> None:
        try:
            conversation, prompt = self._conversation(row)
        except EmptyConversationError as error:
            if any(self.form.convert(row)):
                raise
            if self._empty == "error":
                raise RowError(f"{error}: pass empty='drop' to leave such rows out") from None
            self._add_nothing(rendered)
            return
        text, turns = self.chat(conversation)
        rendered.texts.append(text)
        rendered.turns.append(turns)
        if self.loss_rule is LossRule.COMPLETION:
            assert rendered.prompts is not None
            start = conversation.with_messages(conversation.messages[:prompt])
            rendered.prompts.append(self._template(conversation).render(start, prompt=True))
        self._shown(conversation, text, turns, self._tally)

    def _add_nothing(self, rendered: Rendered) -> None:
        """Add a row without text."""
        rendered.texts.append("")
        rendered.turns.append([])
        if self.loss_rule is LossRule.COMPLETION:
            assert rendered.prompts is not None
            rendered.prompts.append("")

    def _conversation(self, row: Mapping[str, Any], *, count: bool = True) -> tuple[Conversation, int]:
        """Return the conversation of a row, given by column, and the number of messages of its prompt."""
        names = ("prompt", "completion") if self.kind.is_prompted else self.form.columns[:1]
        parts = [
            take_directives(clean_messages(part, name), name)
            for part, name in zip(self.form.convert(row), names, strict=True)
        ]
        variables = template_variables(row.get(TEMPLATE_VARIABLES))
        tools = clean_tools(variables.pop("tools", None) or row.get("tools"))
        if tools is None:
            tools = as_tools(clean_tools(row.get("functions")))
        conversation = Conversation(list(chain.from_iterable(parts)), tools, variables)
        counts = self._tally.noted if count else Counter()
        fitted = self._fit(self._template(conversation), conversation, counts)
        if not self.loss_rule.by_turns:
            first = len(parts[0]) if self.loss_rule is LossRule.COMPLETION else 0
            untrained = [index for index, one in enumerate(fitted.messages) if isinstance(one, Untrained)]
            if untrained and untrained[-1] >= first:
                raise RowError(
                    f"message {untrained[-1]} is to carry no loss, which loss={self.loss_rule.value!r} cannot do: ask "
                    "for loss='assistant'"
                )
        return fitted, len(parts[0])

    def conversation(self, batch: pa.RecordBatch, row: int) -> Conversation:
        """Return the conversation of a row that `__call__` has rendered, as `chat` takes it."""
        return self._conversation({name: batch.column(name)[row].as_py() for name in self.columns}, count=False)[0]

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
            find = self._find[0 if conversation.tools is None else -1]
            text, turns = find(conversation, self._tally)
            return text, trained_turns(find.template, conversation, text, turns)
        return self.text(conversation), []

    def _template(self, conversation: Conversation) -> ChatTemplate:
        """Return the template of a conversation. A tokenizer may have a separate one for rows with tools."""
        return self._templates[0 if conversation.tools is None else -1]


def _holds_objects(kind: pa.DataType) -> bool:
    """Return whether a column can hold a list of tools: structs, or JSON text of them."""
    return is_list(kind) or is_text(kind) or is_json(kind)


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

"""Record of how rows were tokenized, as a manifest keeps it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xxhash

from packsort._record import Record
from packsort.tokenization.forms.form import FormName
from packsort.tokenization.loss import LossRule, parse_loss_rule
from packsort.tokenization.notes import Note


@dataclass(frozen=True, eq=False)
class TokenizerInfo(Record):
    """Record of how the rows of a source were tokenized; attributes are also items, as in `info["name"]`.

    Attributes:
        name: Folder or Hub name of the tokenizer.
        columns: Columns that were tokenized.
        loss_rule: Tokens that carry loss.
        loss_tokens: Number of tokens that carry loss.
        without_loss: Number of sequences in which no token carries loss.
        notes: Facts that a user should know.
        chat_template: 32 hexadecimal digits that identify the chat template, or None if there is none.
        form: Form of the rows, or None in manifests of older versions.
        template_date: Date that the chat template has read, `YYYY-MM-DD`, or None if it has read none.
    """

    name: str
    columns: tuple[str, ...]
    loss_rule: LossRule
    loss_tokens: int
    without_loss: int
    notes: tuple[Note, ...]
    chat_template: str | None
    form: FormName | None = None
    template_date: str | None = None

    @property
    def of_conversations(self) -> bool:
        """Whether the rows are conversations, which can be cut between turns."""
        return self.columns[0] == "messages" or self.form not in (None, "prompt_completion", "text")

    @property
    def noun(self) -> str:
        """Word for one row in messages: `conversation` where it can be cut between turns, else `sequence`."""
        return "conversation" if self.of_conversations else "sequence"

    def remarks(self) -> list[str]:
        """Say what a user should know about the tokens, one sentence each."""
        said = [str(note) for note in self.notes]
        if self.without_loss:
            rows = "1 sequence has" if self.without_loss == 1 else f"{self.without_loss:,} sequences have"
            said.append(f"{rows} no token that carries loss")
        return said

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> TokenizerInfo:
        """Return the record that a manifest holds; `dataclasses.asdict` is the inverse.

        Manifests of older versions hold sentences in `loss_rule` and `notes`; they are read as well.

        Raises:
            KeyError, TypeError, ValueError: `facts` is not such a record.
        """
        return cls(
            name=facts["name"],
            columns=tuple(facts["columns"]),
            loss_rule=parse_loss_rule(facts["loss_rule"]),
            loss_tokens=facts["loss_tokens"],
            without_loss=facts["without_loss"],
            notes=tuple(Note.from_json(note) for note in facts["notes"]),
            chat_template=facts["chat_template"],
            form=facts.get("form"),
            template_date=facts.get("template_date"),
        )


def digest(text: str | Mapping[str, str]) -> str:
    """Return 32 hexadecimal digits that identify a text, or texts by name."""
    return xxhash.xxh3_128(json.dumps(text, sort_keys=True).encode()).hexdigest()

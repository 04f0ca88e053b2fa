"""Tokens of rows that come one after another, as in a stream, which has no schema."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort._arrow import empty_table
from packsort._options.input import InputConfig
from packsort.errors import OptionError, PacksortError, SourceError
from packsort.sources.formats.memory import MemoryReader
from packsort.sources.renamed import rename_columns
from packsort.tokenization.choice import TokenizerChoice
from packsort.tokenization.directives import TEMPLATE_VARIABLES
from packsort.tokenization.encode import Encoder
from packsort.tokenization.info import digest
from packsort.tokenization.notes import Note, NoteKind
from packsort.tokenization.render import Renderer

# Columns that rows may lack, with a type that holds their values: the first rows may have none.
_OPTIONAL = {
    "tools": pa.list_(pa.string()),
    "functions": pa.list_(pa.string()),
    TEMPLATE_VARIABLES: pa.string(),
    "system": pa.string(),
}
# Columns that would have been read, had the first rows had them.
_LATE = frozenset(
    {*_OPTIONAL, "messages", "conversations", "prompt", "completion", "text", "history", "input", "context"}
)

TokenPair = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Token ids and labels of one row, (tokens,) each."""


class RowTokenizer:
    """Tokenizer of rows whose columns the first of them decide.

    Args:
        choice: The tokenizer.
        config: Options of what goes in.
        state: What `state` was when tokenizing stopped, or None at the beginning.

    Raises:
        OptionError: The state is of another tokenizer.
    """

    def __init__(self, choice: TokenizerChoice, config: InputConfig, state: Mapping[str, Any] | None = None) -> None:
        self._choice = choice
        self._config = config
        self._render: Renderer | None = None
        self._counts: Counter[NoteKind] = Counter()
        self._merged = 0
        if state is not None:
            self._restore(state)
            if state["tokenizer"] != self._fingerprint():
                raise OptionError(
                    "state is of a stream with another tokenizer, chat template or loss than this one: pass the ones "
                    "it was taken with"
                )

    @property
    def state(self) -> dict[str, Any] | None:
        """State from which a later `RowTokenizer` continues: strings by name; None before the first rows."""
        if self._render is None:
            return None
        return {
            "schema": self._schema.serialize().to_pybytes().hex(),
            "template_date": self._render.template_date,
            "tokenizer": self._fingerprint(),
        }

    @property
    def notes(self) -> list[Note]:
        """Facts that a user should know about the rows so far."""
        if self._render is None:
            return []
        special = self._encode.special_tokens
        notes = [*self._render.notes, *([] if special is None else special.notes(self._counts))]
        return [*notes, Note("merged_prompts", {"sequences": self._merged})] if self._merged else notes

    def __call__(self, rows: Sequence[Any], where: Callable[[int], str]) -> list[TokenPair]:
        """Tokenize rows.

        Args:
            rows: Values by column of each row, as many rows as are at hand: the first call decides by them which
                columns there are.
            where: Names a row of the call in a message.

        Raises:
            SourceError: A row cannot be tokenized, or has a column that those before did not have.
            TokenizerError: The tokenizer cannot be loaded, has no chat template, or fails.
        """
        for number, row in enumerate(rows):
            if not isinstance(row, Mapping):
                raise SourceError(
                    f"{where(number)}: a dict with `messages`, `prompt` and `completion`, or `text` is needed, got a "
                    f"{type(row).__name__}"
                )
        if self._render is None:
            self._open(_schema_of([_plain(row) for row in rows]))
        assert self._render is not None
        rendered = self._render.rows((self._named(row, number, where) for number, row in enumerate(rows)), where)
        encoded = self._encode(rendered, self._render.loss_rule)
        self._counts += encoded.counts
        self._merged += encoded.merged
        ends = np.cumsum(encoded.lengths)[:-1]
        pairs = zip(np.split(encoded.input_ids, ends), np.split(encoded.labels, ends), strict=True)
        return [(ids.copy(), labels.copy()) for ids, labels in pairs]  # none keeps the others in memory

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Decide as the rows did that the state was taken with.

        Raises:
            OptionError: The state holds no schema of rows.
        """
        try:
            # Another day must not change the rest of the pass.
            self._config = replace(self._config, template_date=state["template_date"] or self._config.template_date)
            self._open(pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(state["schema"]))))
        except PacksortError:
            raise
        except (pa.ArrowException, KeyError, OSError, TypeError, ValueError) as error:
            raise OptionError(f"state must be one that `state_dict` returned: it holds no schema ({error})") from None

    def _open(self, schema: pa.Schema) -> None:
        """Decide by the columns what is rendered, and how."""
        self._schema = schema
        self._old: dict[str, str] = dict(self._config.columns or {})
        (reader,) = rename_columns([MemoryReader(empty_table(schema))], self._old)
        tokenizer = self._choice.load()
        self._render = Renderer(reader.schema, tokenizer, self._config)
        self._encode = Encoder.of(self._render, tokenizer)
        self._known = set(schema.names)

    def _named(self, row: Mapping[str, Any], number: int, where: Callable[[int], str]) -> dict[str, Any]:
        """Return the values of a row that are rendered, by the names that they are rendered under."""
        assert self._render is not None
        for name, value in row.items():
            if value is not None and name not in self._known and name in _LATE:
                raise SourceError(
                    f"{where(number)}: column `{name}` appears, which the rows before did not have; all need the same "
                    "columns: add it to all of them, or remove it"
                )
        named = {}
        for name in self._render.columns:
            old = self._old.get(name, name)
            if old not in row and name not in _OPTIONAL:
                raise SourceError(f"{where(number)}: there is no column `{old}`, which the rows before had")
            named[name] = _plain(row.get(old))
        return named

    def _fingerprint(self) -> str:
        """Return a digest of what decides the tokens, which is the same on another machine."""
        assert self._render is not None
        tokenizer = self._choice.load()
        template = getattr(tokenizer, "chat_template", None)
        facts = {"template": str(template), "tokens": str(len(tokenizer)), "special": str(tokenizer.special_tokens_map)}
        return digest({**facts, "loss": self._render.loss_rule.value})


def _plain(value: Any) -> Any:
    """Return a NumPy array, as rows in the format "numpy" have for lists, or a tensor as lists."""
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


def _schema_of(rows: Sequence[Mapping[str, Any]]) -> pa.Schema:
    """Return the columns of rows; a column without a value has the type null."""
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row[name] for row in rows if row.get(name) is not None] for name in names}
    kinds = {name: _type_of(found) for name, found in values.items()}
    for name, kind in _OPTIONAL.items():
        if name in ("tools", TEMPLATE_VARIABLES) or name in kinds:  # others say which form the rows have
            kinds[name] = kind if pa.types.is_null(kinds.get(name, pa.null())) else kinds[name]
    return pa.schema(list(kinds.items()))


def _type_of(values: Sequence[Any]) -> pa.DataType:
    """Return a type that tells text, lists and structs apart; their numbers do not matter."""
    if not values:
        return pa.null()
    if all(isinstance(value, str) for value in values):
        return pa.string()
    if all(isinstance(value, Mapping) for value in values):
        names = dict.fromkeys(str(name) for value in values for name in value)
        return pa.struct([(name, pa.string()) for name in names])
    if all(isinstance(value, (list, tuple)) for value in values):
        return pa.list_(_type_of([one for value in values for one in value if one is not None]))
    return pa.int64()

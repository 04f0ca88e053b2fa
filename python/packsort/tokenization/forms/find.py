"""The form of a source, by the names and types of its columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
from pyarrow import types

from packsort._arrow import described, is_list, is_text
from packsort.errors import SourceError
from packsort.tokenization.forms.form import Form, FormName, RowKind
from packsort.tokenization.forms.instructions import exchange
from packsort.tokenization.forms.messages import read_messages

# Columns of one exchange: form, columns that ask, and the column that answers.
_EXCHANGES: tuple[tuple[FormName, tuple[str, ...], str], ...] = (
    ("alpaca", ("instruction", "input"), "output"),
    ("instruction_response", ("instruction", "context"), "response"),
    ("question_answer", ("question", "context"), "answer"),
    ("prompt_response", ("prompt", "context"), "response"),
)
_NEEDED = (
    "`messages` (lists of structs with `role` and `content`), `prompt` and `completion` (strings or such lists), or "
    "`text` (strings) is needed, or columns={'text': ...} that names one"
)


_MESSAGES = pa.list_(pa.struct({"role": pa.string()}))


def find_form(schema: pa.Schema, wanted: Collection[str] = ()) -> tuple[Form, list[Form]]:
    """Find the form of rows.

    Args:
        schema: Columns of the source.
        wanted: Columns that the user has named. A form that is known by one of them comes before others.

    Returns:
        The form, and others that would do.

    Raises:
        SourceError: There is none.

    Example:
        >>> import pyarrow as pa
        >>> form, others = find_form(pa.schema({"question": pa.string(), "answer": pa.string(), "text": pa.string()}))
        >>> form.name, [other.name for other in others]
        ('text', ['question_answer'])
    """
    kinds = {field.name: field.type for field in schema}
    # Rows without any message do not tell what theirs would be.
    found = list(_forms(kinds)) or list(
        _forms({name: _MESSAGES if _is_blank(kind) else kind for name, kind in kinds.items()})
    )
    if not found:
        raise SourceError(f"no usable column: there are {described(schema)}; {_NEEDED}")
    chosen = next((form for form in found if not set(wanted).isdisjoint(form.columns)), found[0])
    return chosen, [form for form in found if form is not chosen and form.columns[0] != chosen.columns[0]]


def _forms(kinds: Mapping[str, pa.DataType]) -> Iterator[Form]:
    """Yield the forms that rows with these columns have, the likeliest first."""
    system = tuple(name for name in ("system",) if name in kinds and is_text(kinds[name]))

    def conversations(name: FormName, column: str) -> Form:
        # TRL reads no system prompt beside `messages`.
        columns = (column, *(() if column == "messages" and name != "sharegpt" else system))
        return Form(name, RowKind.CONVERSATION, columns, partial(_conversation, column))

    if "messages" in kinds and (name := _chat(kinds["messages"], text=True)):
        openai = {"functions", "parallel_tool_calls"} & kinds.keys() or _is_openai(kinds["messages"])
        yield conversations("openai" if openai and name != "sharegpt" else name, "messages")
    if {"prompt", "completion"} <= kinds.keys():
        pair = [kinds["prompt"], kinds["completion"]]
        if all(_chat(kind) for kind in pair):
            yield Form("prompt_completion", RowKind.PROMPTED_CONVERSATION, ("prompt", "completion"), _prompted)
        elif all(is_text(kind) for kind in pair):
            columns = ("prompt", "completion")
            yield Form("prompt_completion", RowKind.PROMPTED_TEXT, columns, lambda row: tuple(map(row.get, columns)))
    if "text" in kinds and is_text(kinds["text"]):
        yield Form("text", RowKind.TEXT, ("text",), lambda row: (row["text"],))
    for column in ("conversations", "conversation"):
        if column in kinds and (name := _chat(kinds[column], text=column == "conversations")):
            yield conversations("conversations" if name == "messages" else name, column)
    for name, asked, answered in _EXCHANGES:
        if all(column in kinds and is_text(kinds[column]) for column in (asked[0], answered)):
            # A null column says nothing. One of another type says what nobody would read.
            more = {column: kinds[column] for column in (*asked[1:], "history") if column in kinds}
            more = {column: kind for column, kind in more.items() if not types.is_null(kind)}
            if not all(_is_history(kind) if column == "history" else is_text(kind) for column, kind in more.items()):
                continue
            asking = (asked[0], *(column for column in more if column != "history"))
            history = tuple(column for column in more if column == "history")
            convert: Callable[[Mapping[str, Any]], tuple[Any, ...]] = exchange(asking, answered)
            yield Form(name, RowKind.CONVERSATION, (*asking, answered, *system, *history), convert)


def _conversation(column: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    messages = read_messages(row[column], column)
    if messages and row.get("system") and (messages[0] or {}).get("role") not in ("system", "developer"):
        messages = [{"role": "system", "content": row["system"]}, *messages]
    return (messages,)


def _prompted(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(read_messages(row[column], column) for column in ("prompt", "completion"))


def _chat(kind: pa.DataType, *, text: bool = False) -> FormName | None:
    """Return the form of a column of conversations, or None if it has none.

    Args:
        kind: Type of the column.
        text: Whether text is taken for JSON. A column of Arrow's JSON type always is.
    """
    if is_json(kind) or (text and is_text(kind)):
        return "json_messages"
    if not is_list(kind):
        return None
    value = kind.value_type
    if is_json(value) or (text and is_text(value)):
        return "json_messages"
    names = {field.name for field in value} if types.is_struct(value) else set()
    if {"from", "value"} <= names:
        return "sharegpt"
    return "messages" if "role" in names else None


def is_json(kind: pa.DataType) -> bool:
    """Return whether a type is Arrow's type of JSON text."""
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json"


def _is_openai(kind: pa.DataType) -> bool:
    """Return whether messages have fields that only OpenAI's rows for fine-tuning have."""
    value = kind.value_type if is_list(kind) else kind
    return types.is_struct(value) and bool({"weight", "function_call"} & {field.name for field in value})


def _is_blank(kind: pa.DataType) -> bool:
    return is_list(kind) and types.is_null(kind.value_type)


def _is_history(kind: pa.DataType) -> bool:
    return is_list(kind) and is_list(kind.value_type) and is_text(kind.value_type.value_type)

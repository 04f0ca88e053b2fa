"""The state of a stream, checked as a whole when it is loaded.

Everything that resuming uses is checked: types, the lengths of columns against their values, numbers against each
other. The source's own state is the source's to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from packsort import _checks
from packsort.errors import OptionError
from packsort.schema import INPUT_IDS, INT32_COLUMNS, MAX_TOKEN_ID
from packsort.sources.sequence_columns import MOST_TEXTS
from packsort.torch._state_checks import LARGEST, flag, integer, mapping, text, texts, wrong
from packsort.torch._stream.feed import COUNTS, FeedConfig

VERSION = 1
_KEYS = ("version", "max_length", "buffer_size", "overlong", "taken", "ended", "source", "counts", "waiting", "packs")
_LATER_KEYS = ("epoch", "columns", "exhausted", "rows", "tokenized", "last", "kept", "strategy", "window")
"""Keys that version 0.1 did not write."""
_BEFORE = {"strategy": "ffd", "window": 0}
"""Options of streams that did not have them."""
_MOST_FAILED = 2**20  # sequences that were read and could not be used, each of which ended a pass
_KINDS = ("bool", "int64", "float16", "float32", "float64")
_Columns = dict[str, torch.dtype]


def check_state(state: Any, config: FeedConfig) -> dict[str, Any]:
    """Check the state of a stream.

    Args:
        state: What `StreamPacker.state` returned, perhaps.
        config: Options of the stream that is to go on from it.

    Returns:
        The state.

    Raises:
        OptionError: It is not one of a stream, or of a stream with other options.
    """
    facts = mapping("it", state, _KEYS, _LATER_KEYS)
    if integer("version", facts["version"]) != VERSION:
        raise wrong(f"it has version {facts['version']}, and this packsort reads version {VERSION}")
    _compare_options(facts, config)
    if facts.get("epoch") is not None:
        integer("epoch", facts["epoch"])
    flag("ended", facts["ended"])
    flag("exhausted", facts.get("exhausted", False))
    _check_columns(facts.get("columns"))
    _check_rows(facts.get("rows"))
    parts = [facts["waiting"], *_list("packs", facts["packs"])]
    # Version 0.1 kept masks as columns: its sequences are read again, and checked then.
    is_read = "columns" in facts
    most = config.max_length if is_read else LARGEST
    columns = [_check_sequences(part, 1, most, f"part {place}", is_read) for place, part in enumerate(parts)]
    used = [one for one in columns if one]
    if any(one != used[0] for one in used):
        raise wrong("its sequences have different columns")
    for name, least in (("tokenized", 0), ("last", 1)):
        if facts.get(name) is not None:
            _check_sequences(facts[name], least, LARGEST if name == "tokenized" else most, name, is_read)
    for place, pack in enumerate(facts["packs"]):
        if not 0 < sum(pack["lengths"].tolist()) <= most:
            raise wrong(f"pack {place} must have 1 to {most} tokens")
    _check_numbers(facts)
    _check_kept(facts.get("kept"), config.keep, _waiting_numbers(facts))
    return facts


def _compare_options(state: Mapping[str, Any], config: FeedConfig) -> None:
    integer("max_length", state["max_length"], 1)
    integer("buffer_size", state["buffer_size"], 1)
    text("overlong", state["overlong"])
    text("strategy", state.get("strategy", "ffd"))
    integer("window", state.get("window", 0))
    for name in ("max_length", "strategy", "window", "buffer_size", "overlong"):
        found = state.get(name, _BEFORE.get(name))
        if found != getattr(config, name):
            raise OptionError(
                f"state is of a stream with {name}={found!r}, this one has {name}={getattr(config, name)!r}"
            )
    of_text = state.get("rows") is not None
    if of_text != (config.choice is not None) and (of_text or state.get("columns") is not None):
        taken, given = ("with", "without") if of_text else ("without", "with")
        raise OptionError(f"state is of a stream {taken} a tokenizer, this one is {given}: pass the same `tokenizer`")


def _check_columns(columns: Any) -> None:
    """Check the names of columns that are read and that are left out."""
    if columns is None:
        return
    names = mapping("columns", columns, ("read", "left_out"))
    read = texts("columns.read", names["read"])
    texts("columns.left_out", names["left_out"])
    if read[:1] != [INPUT_IDS] or len(set(read)) != len(read):
        raise wrong(f"columns.read must begin with {INPUT_IDS!r} and have each column once, got {read}")


def _check_rows(rows: Any) -> None:
    if rows is not None:
        facts = mapping("rows", rows, ("schema", "template_date", "tokenizer"))
        text("rows.schema", facts["schema"])
        text("rows.tokenizer", facts["tokenizer"])
        if facts["template_date"] is not None:
            text("rows.template_date", facts["template_date"])


def _check_sequences(part: Any, shortest: int, longest: int, name: str, is_read: bool) -> _Columns:
    """Check numbered sequences; returns the type of each column.

    Args:
        part: What `numbered_state` returned, perhaps.
        shortest: Least tokens of a sequence.
        longest: Most tokens of a sequence.
        name: Names the part in messages.
        is_read: Whether `input_ids` and `labels` are int32, as they are once they were read.
    """
    if not isinstance(part, Mapping):
        raise wrong(f"{name} must be a mapping, got a {type(part).__name__}")
    numbers = _list(f"{name}.numbers", part.get("numbers"))
    for number in numbers:
        integer(f"a number of {name}", number, 0, 2**63 - 1)
    if len(set(numbers)) != len(numbers):
        raise wrong(f"{name} has a number twice")
    lengths = _tensor(f"{name}.lengths", part.get("lengths"), torch.int64)
    if len(lengths) != len(numbers):
        raise wrong(f"{name} has {len(numbers)} numbers and {len(lengths)} lengths")
    if len(lengths) and not shortest <= int(lengths.min()) <= int(lengths.max()) <= longest:
        raise wrong(f"{name} has a length that is not between {shortest} and {longest}")
    tokens = sum(lengths.tolist())  # integers of Python, which do not overflow
    columns: _Columns = {}
    for column, values in part.items():
        if column in ("numbers", "lengths"):
            continue
        text(f"a column of {name}", column)
        values = _tensor(f"{name}.{column}", values, torch.int32 if is_read and column in INT32_COLUMNS else None)
        if len(values) != tokens:
            raise wrong(f"{name}.{column} has {len(values)} values, its sequences {tokens} tokens")
        columns[column] = values.dtype
    if numbers and INPUT_IDS not in columns:
        raise wrong(f"{name} has no {INPUT_IDS!r}")
    if tokens and not 0 <= int(part[INPUT_IDS].min()) <= int(part[INPUT_IDS].max()) <= MAX_TOKEN_ID:
        raise wrong(f"{name} has a token id that is not between 0 and {MAX_TOKEN_ID}")
    return columns


def _waiting_numbers(state: Mapping[str, Any]) -> list[int]:
    """Return the numbers of all sequences that were read and not received."""
    parts = (state["waiting"], *state["packs"], state.get("tokenized") or {"numbers": []})
    return [number for part in parts for number in part["numbers"]]


def _check_numbers(state: Mapping[str, Any]) -> None:
    """Check the counts, and the numbers of sequences, against what was read."""
    counts = mapping("counts", state["counts"], (), COUNTS)
    for name, count in counts.items():
        integer(f"counts.{name}", count)
    waiting = _waiting_numbers(state)
    used = [counts.get(name, 0) for name in ("sequences", "dropped", "empty")]
    known = len(waiting) + sum(used)
    taken = integer("taken", state["taken"])
    if not known <= taken <= known + _MOST_FAILED:
        raise wrong(f"taken must be the {known} sequences that it has or counts, got {taken}")
    if len(set(waiting)) != len(waiting):
        raise wrong("it has a sequence twice")
    numbers = [*waiting, *((state.get("last") or {"numbers": []})["numbers"])]
    if any(number >= taken for number in numbers):
        raise wrong(f"it has a sequence that is not among the {taken} that were read")
    own = state["waiting"]["numbers"]
    if list(own) != sorted(own):
        raise wrong("the numbers of waiting must ascend")


def _check_kept(kept: Any, keep: Sequence[str], waiting: Sequence[int]) -> None:
    """Check the values of columns that are kept, one for each sequence."""
    facts = None if kept is None else mapping("kept", kept, ("numbers", "kinds", "values", "dictionaries", "columns"))
    names = [] if facts is None else texts("kept.columns", facts["columns"])
    if names != list(keep):
        raise OptionError(f"state is of a stream with keep={names}, this one has keep={list(keep)}")
    if facts is None:
        return
    numbers = _list("kept.numbers", facts["numbers"])
    for number in numbers:
        integer("a number of kept", number, 0, 2**63 - 1)
    if missing := set(waiting) - set(numbers):
        raise wrong(f"kept has no value of sequence {min(missing)}")
    kinds = mapping("kept.kinds", facts["kinds"], (), names)
    dictionaries = mapping("kept.dictionaries", facts["dictionaries"], (), names)
    values = mapping("kept.values", facts["values"], names if numbers else (), names)
    for name, column in values.items():
        kind = kinds.get(name)
        if kind not in _KINDS:
            raise wrong(f"the kind of kept column {name!r} must be one of {_checks.listed(_KINDS)}, got a {kind!r}")
        if len(_tensor(f"kept.values.{name}", column, getattr(torch, str(kind)))) != len(numbers):
            raise wrong(f"kept column {name!r} has {len(column)} values, and there are {len(numbers)} sequences")
    for name, kind in kinds.items():
        if kind not in _KINDS:
            raise wrong(f"the kind of kept column {name!r} must be one of {_checks.listed(_KINDS)}")
    for name, known in dictionaries.items():
        _check_codes(name, texts(f"the dictionary of {name!r}", known), kinds.get(name), values.get(name))


def _check_codes(name: str, known: Sequence[str], kind: Any, codes: torch.Tensor | None) -> None:
    if len(set(known)) != len(known) or len(known) > MOST_TEXTS or kind != "int64":
        raise wrong(f"the dictionary of {name!r} must have up to {MOST_TEXTS} different texts for codes int64")
    if codes is not None and len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < len(known):
        raise wrong(f"kept column {name!r} has a code that its dictionary has not")


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise wrong(f"{name} must be a list, got a {type(value).__name__}")
    return list(value)


def _tensor(name: str, value: Any, kind: torch.dtype | None) -> torch.Tensor:
    """Return a tensor of one dimension, on the CPU, of a type that NumPy has."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.ndim != 1:
        raise wrong(f"{name} must be a tensor of one dimension, got a {type(value).__name__}")
    if value.device.type != "cpu" or value.requires_grad or value.is_complex() or value.dtype == torch.bfloat16:
        raise wrong(f"{name} must be on the CPU and of numbers, got {value.dtype} on {value.device}")
    if kind is not None and value.dtype != kind:
        raise wrong(f"{name} must be {kind}, got {value.dtype}")
    return value

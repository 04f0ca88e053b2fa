"""JSON objects as files hold them, without what Python reads in addition."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any


def parse_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that a file holds.

    Raises:
        ValueError: It is no JSON in UTF-8, names a key twice, or holds a number that JSON does not have.
        TypeError: It is no object.
    """
    try:
        facts = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(facts, dict):
        raise TypeError("it is no object")
    return facts


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    facts = dict(pairs)
    if len(facts) != len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:60]!a} comes twice")
    return facts


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")

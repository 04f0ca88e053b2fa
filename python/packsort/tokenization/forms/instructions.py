"""Columns that are one exchange, as messages: an instruction with its input, a question, and what answers them.

They become one user message and one assistant message, as in Axolotl's and LLaMA-Factory's chat forms of Alpaca: an
input follows its instruction after a line feed. `system` comes first, and `history` (pairs of earlier user and
assistant texts) before the instruction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from packsort.tokenization.messages import Message, RowError


def exchange(asked: Sequence[str], answered: str) -> Callable[[Mapping[str, Any]], tuple[list[Message]]]:
    """Return the conversion of rows to conversations.

    Args:
        asked: Columns of the user's message, joined by line feeds. All but the first may be null or empty.
        answered: Column of the assistant's message.
    """

    def convert(row: Mapping[str, Any]) -> tuple[list[Message]]:
        for name in (asked[0], answered):
            if row[name] is None:
                raise RowError(f"column `{name}` is null")
        words = [row[name] for name in asked if row.get(name)]
        messages = [{"role": "system", "content": row["system"]}] if row.get("system") else []
        for number, turn in enumerate(row.get("history") or ()):
            if turn is None or len(turn) != 2 or None in turn:
                raise RowError(f"column `history`: turn {number} must be a user's text and its answer, got {turn!r}")
            messages += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
        messages += [
            {"role": "user", "content": "\n".join(words)},
            {"role": "assistant", "content": row[answered]},
        ]
        return (messages,)

    return convert

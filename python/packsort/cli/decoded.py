"""Text of tokens, with marks around what carries loss."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from packsort.tokenization.tokenizer import special_tokens

if TYPE_CHECKING:
    from rich.text import Text

# Control characters, 8-bit ones too, and those that turn the direction of text, as characters that show them.
_SHOWN = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_SHOWN |= dict.fromkeys([0x61C, 0x200E, 0x200F, *range(0x80, 0xA0), *range(0x2028, 0x202F)], 0xFFFD)
_SHOWN |= dict.fromkeys([*range(0x2066, 0x206A), *range(0xD800, 0xE000)], 0xFFFD)


def decoded_runs(tokenizer: Any, ids: Any, labels: Any, *, special: bool = False) -> list[dict[str, Any]]:
    """Return the text of tokens in runs that carry loss or do not.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        ids: Token ids, (tokens,).
        labels: Labels, (tokens,), or None where every token is its own.
        special: Whether special tokens have runs of their own, which say so.
    """
    import numpy as np

    with_loss = np.ones(len(ids), bool) if labels is None else np.asarray(labels) >= 0
    kinds = with_loss.astype(np.int64)
    if special:
        kinds += 2 * np.isin(ids, list(special_tokens(tokenizer)))
    if not len(ids):
        return []
    edges = [0, *(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(ids)]
    runs = []
    for a, b in pairwise(edges):
        text = tokenizer.decode(ids[a:b].tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        runs.append({"loss": bool(with_loss[a]), **({"special": bool(kinds[a] >= 2)} if special else {}), "text": text})
    return runs


def marked_text(runs: list[dict[str, Any]]) -> Text:
    """Return runs as text, what carries loss in brackets and in colour: a pipe has no colours."""
    from rich.text import Text

    text, inside = Text(), False
    for run in [*runs, {"loss": False, "text": ""}]:
        if run["loss"] != inside:
            inside = run["loss"]
            text.append("⟦" if inside else "⟧", style="bold green")
        style = "bold green" if run["loss"] else "dim"
        # What a row holds must not command the terminal.
        text.append(run["text"].translate(_SHOWN), style=f"{style} italic" if run.get("special") else style)
    return text


def shortened(text: Text, most: int = 600) -> Text:
    """Cut the middle out of a long text."""
    from rich.text import Text

    if len(text) <= most:
        return text
    half = most // 2
    return Text.assemble(text[:half], (f" ... {len(text) - most:,} characters ... ", "yellow"), text[-half:])

"""From characters to tokens: which tokens of a text belong to parts of it.

transformers decides that for the parts that a chat template marks. Its rule changed with version 5.24, so the installed
version is asked once which rule it follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Span = tuple[int, int]
"""First and end character of a part of a text."""


def overlapping(
    starts: NDArray[np.int64], ends: NDArray[np.int64], spans: Sequence[Span] | NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Return which tokens overlap a span, as transformers decides it since version 5.24.

    transformers walks tokens and spans side by side: a token is compared with the first span that ends after every
    token so far has begun. For spans in order, which do not overlap, these are all tokens that overlap one.

    Args:
        starts: First character of each token: int64, (tokens,).
        ends: End character of each token: int64, (tokens,).
        spans: First and end character of each span: (spans, 2).

    Returns:
        True for each token that overlaps a span: bool, (tokens,).

    Example:
        >>> overlapping(np.array([0, 2, 4]), np.array([2, 4, 6]), [(3, 4)]).tolist()
        [False, True, False]
    """
    parts = np.asarray(spans, dtype=np.int64).reshape(-1, 2)
    if not len(parts):
        return np.zeros(len(starts), dtype=np.bool_)
    passed = np.searchsorted(np.maximum.accumulate(parts[:, 1]), np.maximum.accumulate(starts), side="right")
    first = parts[np.minimum(passed, len(parts) - 1), 0]
    result: NDArray[np.bool_] = (passed < len(parts)) & (ends > first)
    return result


def between_edges(encoding: Any, spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Return which tokens lie in a span, as transformers decides it before version 5.24.

    It looks up the tokens of the first and of the last character. A first character without a token ends the search. If
    the last character has no token, or token 0, which reads as none, the rest of the text belongs to the span.

    Args:
        encoding: A `tokenizers.Encoding`.
        spans: First and end character of each span.

    Returns:
        True for each token that lies in a span: bool, (tokens,).
    """
    inside = np.zeros(len(encoding), dtype=np.bool_)
    for begin, end in spans:
        if end == 0:
            continue  # An empty turn before any text; transformers fails on it.
        first, last = encoding.char_to_token(begin), encoding.char_to_token(end - 1)
        if first is None:
            break
        inside[first : last + 1 if last else None] = True
    return inside


@cache
def transformers_marks_overlaps() -> bool:
    """Return whether the installed transformers follows `overlapping`, and not `between_edges`.

    A turn that ends in white space, which has no token, tells: with the older rule it reaches to the end of the text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"one": 0, "two": 1, "end": 2}, "end"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words)
    tokenizer.chat_template = "one {% generation %}two {% endgeneration %}end"
    made = tokenizer.apply_chat_template(
        [{"role": "user", "content": ""}], tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    return list(made["assistant_masks"]) == [0, 1, 0]

"""Offsets of byte-level tokens, from the tokens alone.

The Rust tokenizer takes half as long again when it computes offsets. A byte-level tokenizer needs none: the vocabulary
says how many bytes a token has, and the bytes of a text's tokens are the bytes of the text. Where the sum is another,
the tokenizer changed the text, and the row is not done here.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from packsort.tokenization.spans import Span

NormalForm = Literal["NFC", "NFD", "NFKC", "NFKD"]
"""Unicode normal form."""

# A byte-level vocabulary writes a space as this letter.
_SPACE = "\u0120"
_PROBES = (
    "  two  words \n\n\t end ",
    " \u00e9\u4e2d\U0001f600 e\u0301 x  ",
    "def f(x):\n    return  x ** 2\r\n",
    "1234567 don't we'll  ",
)


@dataclass(frozen=True)
class ByteOffsets:
    """Bytes of the tokens of a vocabulary.

    Attributes:
        sizes: Number of bytes of each token: int64, (vocabulary,).
        leading: Number of leading spaces of each token that offsets leave out: int64, (vocabulary,).
        trailing: Number of trailing spaces of each token that offsets leave out: int64, (vocabulary,).
        keeps_first: Whether one leading space of a text counts, because the tokenizer may have put it there.
        normal_form: Unicode normal form that the tokenizer gives texts, or "".
    """

    sizes: NDArray[np.int64]
    leading: NDArray[np.int64]
    trailing: NDArray[np.int64]
    keeps_first: bool
    normal_form: NormalForm | Literal[""]

    @classmethod
    def of(cls, backend: Any) -> ByteOffsets | None:
        """Return the bytes of a tokenizer's vocabulary, or None if it is of another kind.

        Args:
            backend: A `tokenizers.Tokenizer`.
        """
        from tokenizers import models, pre_tokenizers

        trimming = _trimming(backend)
        normal_form = _normal_form(backend)
        vocabulary = backend.get_vocab(with_added_tokens=True)
        bytes_known = all(letter in vocabulary for letter in pre_tokenizers.ByteLevel.alphabet())
        if trimming is None or normal_form is None or not bytes_known or not isinstance(backend.model, models.BPE):
            return None
        trims, keeps_first = trimming
        ids = np.fromiter(vocabulary.values(), dtype=np.int64, count=len(vocabulary))
        sizes, leading, trailing = (np.zeros(int(ids.max()) + 1, dtype=np.int64) for _ in range(3))
        sizes[ids] = np.fromiter(map(len, vocabulary), dtype=np.int64, count=len(vocabulary))
        for token, index in vocabulary.items() if trims else ():
            leading[index] = len(token) - len(token.lstrip(_SPACE))
            trailing[index] = len(token) - len(token.rstrip(_SPACE))
        for index, added in backend.get_added_tokens_decoder().items():
            sizes[index] = len(added.content.encode())
            leading[index] = trailing[index] = 0
            if trims and added.content != added.content.strip():
                return None
        found = cls(sizes, leading, trailing, keeps_first, normal_form)
        return found if all(found._agrees(backend, probe) for probe in _PROBES) else None

    def _agrees(self, backend: Any, text: str) -> bool:
        """Return whether the tokenizer gives a text the same offsets; it counts whole characters."""
        if self.normal_form:
            text = unicodedata.normalize(self.normal_form, text)
        encoding = backend.encode(text, add_special_tokens=False)
        ids = np.array(encoding.ids, dtype=np.int64)
        if self.sizes[ids].sum() != len(text.encode()):
            return False
        edges = np.array(list(accumulate((len(character.encode()) for character in text), initial=0)))
        starts, ends = self(ids, np.zeros(1, dtype=np.int64))
        first, last = np.searchsorted(edges, starts, side="right") - 1, np.searchsorted(edges, ends)
        return bool(list(zip(first.tolist(), last.tolist(), strict=True)) == encoding.offsets)

    def fits(self, text: str) -> bool:
        """Return whether the tokenizer leaves a text as it is."""
        return not self.normal_form or unicodedata.is_normalized(self.normal_form, text)

    def __call__(
        self, ids: NDArray[np.integer[Any]], rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return first and end byte of tokens, counted from the start of the first text.

        Args:
            ids: Token ids of texts, one text after another: (tokens,).
            rows: First byte of each text: int64, (texts,).

        Returns:
            Two arrays, int64 (tokens,).
        """
        ends = np.cumsum(self.sizes[ids])
        starts = ends - self.sizes[ids]
        if self.leading.any() or self.trailing.any():
            leading = self.leading[ids]
            if self.keeps_first:
                leading = np.maximum(leading - np.isin(starts, rows), 0)
            starts = np.minimum(starts + leading, ends)
            ends = np.maximum(ends - self.trailing[ids], starts)
        return starts, ends


def byte_spans(text: str, spans: Sequence[Span], start: int) -> list[Span]:
    """Return spans of characters as spans of bytes, counted from `start`.

    Example:
        >>> byte_spans("\u00e9a", [(1, 2)], 10)
        [(12, 13)]
    """
    if text.isascii():
        return [(start + begin, start + end) for begin, end in spans]
    edges = sorted({edge for span in spans for edge in span})
    places, at, place = {}, 0, start
    for edge in edges:
        place += len(text[at:edge].encode())
        places[edge], at = place, edge
    return [(places[begin], places[end]) for begin, end in spans]


def _parts(component: Any, name: str) -> list[dict[str, Any]]:
    """Return the parts of a component of a tokenizer, which may be a sequence."""

    def flat(part: dict[str, Any]) -> list[dict[str, Any]]:
        return [one for each in part[name] for one in flat(each)] if part["type"] == "Sequence" else [part]

    return [] if component is None else flat(json.loads(component.__getstate__()))


def _normal_form(backend: Any) -> NormalForm | Literal[""] | None:
    """Return the Unicode normal form that the tokenizer gives texts, "" for none, or None if it changes them more."""
    forms = [part["type"] for part in _parts(backend.normalizer, "normalizers")]
    if not forms:
        return ""
    return next((one for one in get_args(NormalForm) if forms == [one]), None)


def _trimming(backend: Any) -> tuple[bool, bool] | None:
    """Return whether offsets leave out spaces, and whether the first space of a text is kept; or None if unknown."""
    byte_level = [part for part in _parts(backend.pre_tokenizer, "pretokenizers") if part["type"] == "ByteLevel"]
    if len(byte_level) != 1 or byte_level[0].get("add_prefix_space", True):
        return None
    processors = _parts(backend.post_processor, "processors")
    if any(part["type"] not in ("ByteLevel", "TemplateProcessing") for part in processors):
        return None
    trimming = [part for part in processors if part["type"] == "ByteLevel" and part.get("trim_offsets", True)]
    if len(trimming) > 1:
        return None
    return bool(trimming), bool(trimming) and bool(trimming[0].get("add_prefix_space", True))

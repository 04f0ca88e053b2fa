"""Special tokens at the ends of plain text, as ids: one at the start and one at the end, wherever they come from.

A tokenizer may add tokens by itself, text may hold them because a chat template rendered it, and the end-of-sequence
token is appended here. Put together as text they come twice, or spelled in letters by tokenizers that read no special
tokens in text. So text is encoded bare, and the ids that are missing are added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from packsort.errors import TokenizerError
from packsort.tokenization.notes import Note, NoteKind

# A tokenizer of whole words may know neither text. Its own vocabulary then gives some.
_PROBES = ("a", "7 b")
_PROBED_WORDS = 50
# Bytes, and so tokens, of one space character at most.
_TOKENS_A_SPACE = 4


@dataclass(frozen=True)
class SpecialTokens:
    """Tokens that belong at the ends of a sequence of plain text.

    Attributes:
        head: Tokens that the tokenizer puts before a text.
        tail: Tokens after a text: those that the tokenizer adds, and the end-of-sequence token.
        first: Text of the last token of `head`, such as `<s>` or `[CLS]`; empty without a head.
        bos: Text and id of the beginning-of-sequence token, or None if the tokenizer has none.
        eos: Text and id of the end-of-sequence token, or None if the tokenizer has none.
    """

    head: list[int]
    tail: list[int]
    first: str
    bos: tuple[str, int] | None
    eos: tuple[str, int] | None

    @classmethod
    def of(cls, tokenizer: Any, encode: Callable[[str, bool], Sequence[int]]) -> SpecialTokens:
        """Find what a tokenizer adds to text.

        Args:
            tokenizer: A `transformers.PreTrainedTokenizerBase`.
            encode: Returns the ids of a text, with or without the tokenizer's special tokens.

        Raises:
            TokenizerError: The tokenizer adds tokens elsewhere than at the ends of a text.
        """
        probes = (text for text in chain(_PROBES, _words(tokenizer)) if _known(text, encode))
        ends = [_around(encode(text, False), encode(text, True)) for text in islice(probes, 2)]
        head, suffix = ends[0] if ends and ends[0] is not None else ([], [])
        if any(found != (head, suffix) for found in ends) or (not ends and encode("", True)):
            raise TokenizerError("the tokenizer adds special tokens inside a text, and not only at its ends")
        bos, eos = _token(tokenizer, "bos_token"), _token(tokenizer, "eos_token")
        # A tokenizer may end text with another token, such as `[SEP]`. The end of the sequence comes before it, as in a
        # text that ends with it.
        tail = suffix if eos is None or eos[1] in suffix else [eos[1], *suffix]
        return cls(head, tail, str(tokenizer.convert_ids_to_tokens(head[-1])) if head else "", bos, eos)

    def begin(self, ids: list[int]) -> list[int]:
        """Return ids with the tokens of `head` that they do not start with."""
        return [*self.head[: len(self.head) - _overlap(self.head, ids)], *ids]

    def complete(self, ids: list[int], text: str, last: str, counts: Counter[NoteKind]) -> list[int]:
        """Return ids with the tokens that are missing at both ends.

        Args:
            ids: Ids of `text` alone.
            text: The text.
            last: The part of the text that may hold the end of the sequence: the text itself, or its completion.
            counts: Gets what the text already has.
        """
        counts["bos_in_text"] += _overlap(self.head, ids) > 0
        if self.bos is not None:
            token, token_id = self.bos
            counts["bos_repeated"] += ids[:2] == [token_id] * 2
            counts["bos_in_letters"] += text.startswith(token) and ids[:1] != [token_id]
        return [*self.begin(ids), *self._missing(ids, last, counts)]

    def _missing(self, ids: list[int], last: str, counts: Counter[NoteKind]) -> list[int]:
        """Return the tokens of `tail` that a text does not end with."""
        if self.eos is None:
            return self.tail[_overlap(ids, self.tail) :]
        token, token_id = self.eos
        # A template may write a line feed after the end of a sequence. It ends there all the same.
        bare = last.rstrip()
        if not bare.endswith(token):
            return self.tail
        if token_id not in ids[-1 - _TOKENS_A_SPACE * (len(last) - len(bare)) :]:
            counts["eos_in_letters"] += 1
            return self.tail
        counts["eos_in_text"] += 1
        return self.tail[self.tail.index(token_id) + 1 :]

    def notes(self, counts: Mapping[NoteKind, int]) -> list[Note]:
        """Return what a user should know about texts that `complete` has counted."""
        notes = [] if self.eos else [Note("no_end_of_sequence")]
        bos, eos = (self.bos or ("", 0))[0], (self.eos or ("", 0))[0]
        tokens: dict[NoteKind, str] = {
            "bos_in_text": self.first,
            "bos_repeated": bos,
            "bos_in_letters": bos,
            "eos_in_text": eos,
            "eos_in_letters": eos,
        }
        found = {kind: counts.get(kind, 0) for kind in tokens}
        return notes + [Note(kind, {"sequences": n, "token": tokens[kind]}) for kind, n in found.items() if n]


def _words(tokenizer: Any) -> Iterator[str]:
    """Yield some words of a tokenizer's vocabulary that are no special tokens."""
    special = set(getattr(tokenizer, "all_special_tokens", ()))
    yield from islice((word for word in tokenizer.get_vocab() if word not in special), _PROBED_WORDS)


def _known(text: str, encode: Callable[[str, bool], Sequence[int]]) -> bool:
    try:
        return len(encode(text, False)) > 0
    except TokenizerError:
        return False  # A vocabulary of words without one for all others fails on those.


def _around(bare: Sequence[int], whole: Sequence[int]) -> tuple[list[int], list[int]] | None:
    """Return the tokens before and after `bare` in `whole`, or None if it is not there in one piece."""
    bare, whole = list(bare), list(whole)
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return whole[:start], whole[start + len(bare) :]
    return None


def _token(tokenizer: Any, name: str) -> tuple[str, int] | None:
    token, token_id = getattr(tokenizer, name, None), getattr(tokenizer, f"{name}_id", None)
    return None if token is None or token_id is None else (str(token), int(token_id))


def _overlap(first: Sequence[int], second: Sequence[int]) -> int:
    """Count the most tokens that both end `first` and start `second`."""
    most = min(len(first), len(second))
    return next((count for count in range(most, 0, -1) if [*first[-count:]] == [*second[:count]]), 0)

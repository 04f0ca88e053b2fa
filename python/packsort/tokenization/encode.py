"""Token ids and labels of texts, encoded many texts a call so that the tokenizer's threads have work."""

from __future__ import annotations

import copy
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.errors import TokenizerError
from packsort.schema import NO_LOSS
from packsort.tokenization.byte_offsets import ByteOffsets, byte_spans
from packsort.tokenization.loss import LossRule
from packsort.tokenization.notes import NoteKind
from packsort.tokenization.render import Rendered, Renderer
from packsort.tokenization.spans import Span, between_edges, overlapping, transformers_marks_overlaps
from packsort.tokenization.special_tokens import SpecialTokens

# The backend holds about 100 bytes for each token that it returns (text, offsets, masks). This limit keeps a call over
# long texts at about 100 MB.
_CHARACTERS_A_CALL = 4_000_000

# Token ids of texts, int32 (tokens,); number of tokens of each text, int64 (texts,); and which tokens carry loss.
_Trained = tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.bool_]]


@dataclass
class Encoded:
    """Tokens of some rows, one row after another.

    Attributes:
        input_ids: Token ids: int32, (tokens,).
        labels: `input_ids`, or `NO_LOSS` where a token carries no loss: int32, (tokens,).
        lengths: Number of tokens of each row: int64, (rows,).
        merged: Number of rows whose prompt alone has other tokens than the start of their sequence.
        counts: Number of rows by what their text already has at its ends.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    lengths: NDArray[np.int64]
    merged: int = 0
    counts: Counter[NoteKind] = field(default_factory=Counter)


class Encoder:
    """Tokenizer without truncation and padding, for use from any thread.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase`. It is not changed.
        plain: Whether texts are plain, so that special tokens belong at their ends. A chat template writes them itself.

    Attributes:
        has_offsets: Whether the tokenizer tells which characters a token covers.
        special_tokens: Tokens at the ends of plain texts, or None for texts of a chat template.

    Raises:
        TokenizerError: The tokenizer fails, or adds special tokens inside a text.
    """

    def __init__(self, tokenizer: Any, *, plain: bool) -> None:
        self._tokenizer = tokenizer
        self._backend = _own_backend(tokenizer)
        self.has_offsets = self._backend is not None
        self.special_tokens = SpecialTokens.of(tokenizer, self._encode_one) if plain else None

    @classmethod
    def of(cls, render: Renderer, tokenizer: Any) -> Encoder:
        """Return the encoder of what a renderer renders.

        Raises:
            TokenizerError: The tokenizer does not tell which characters a token covers, but the loss depends on it.
        """
        encoder = cls(tokenizer, plain=not render.kind.is_chat)
        if render.loss_rule.by_turns and not encoder.has_offsets:
            raise TokenizerError(
                "the tokenizer does not tell which characters a token covers, so assistant turns cannot be told from "
                "the rest: use a fast tokenizer, or train on every token with loss='all'"
            )
        return encoder

    def __call__(self, rendered: Rendered, rule: LossRule) -> Encoded:
        """Tokenize rows and mark the tokens that carry loss.

        Args:
            rendered: Text of the rows.
            rule: Tokens that carry loss.

        Raises:
            TokenizerError: The tokenizer fails on a text.
        """
        if rule.by_turns:
            return self._turns(rendered, rule)
        texts, prompts, special = rendered.texts, rendered.prompts, self.special_tokens
        counts: Counter[NoteKind] = Counter()
        found: Iterable[list[int]] = self._encode(texts)
        if special is not None:
            last = texts if not prompts else [text[len(p) :] for text, p in zip(texts, prompts, strict=True)]
            found = [special.complete(*row, counts) for row in zip(found, texts, last, strict=True)]
        ids, lengths = _flat(found)
        if rule is LossRule.COMPLETION:
            assert prompts is not None
            found = self._encode(prompts)
            encoded = _after_prompts(ids, lengths, *_flat(found if special is None else map(special.begin, found)))
        else:
            encoded = Encoded(ids, ids, lengths)
        encoded.counts = counts
        return encoded

    def ids(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Tokenize texts without labels.

        Args:
            texts: The texts.

        Returns:
            Token ids of all texts, int32 (tokens,); and the number of tokens of each text, int64 (texts,).

        Raises:
            TokenizerError: The tokenizer fails on a text.
        """
        return _flat(self._encode(texts))

    def _encode(self, texts: Sequence[str]) -> Iterator[list[int]]:
        """Yield the ids of each text, without special tokens that the tokenizer adds."""
        for part in _calls(texts):
            with _failing():
                if self._backend is None:
                    yield from self._tokenizer(
                        part, add_special_tokens=False, padding=False, truncation=False, verbose=False
                    )["input_ids"]
                else:
                    # The fast call computes no offsets. Only assistant turns need them.
                    encodings = self._backend.encode_batch_fast(part, add_special_tokens=False)
                    yield from (encoding.ids for encoding in encodings)

    def _encode_one(self, text: str, special_tokens: bool) -> list[int]:
        with _failing():
            if self._backend is None:
                return list(self._tokenizer(text, add_special_tokens=special_tokens, verbose=False)["input_ids"])
            return list(self._backend.encode(text, add_special_tokens=special_tokens).ids)

    def _turns(self, rendered: Rendered, rule: LossRule) -> Encoded:
        """Label assistant turns; turns that a template marks, as the installed transformers does."""
        overlaps = rule is LossRule.ASSISTANT or transformers_marks_overlaps()
        all_ids: list[NDArray[np.int32]] = []
        all_labels: list[NDArray[np.int32]] = []
        all_lengths: list[NDArray[np.int64]] = []
        done = 0
        for part in _calls(rendered.texts):
            turns = rendered.turns[done : done + len(part)]
            done += len(part)
            if overlaps and self._byte_offsets is not None:
                ids, lengths, trained = self._by_bytes(part, turns, self._byte_offsets)
            else:
                ids, lengths, trained = self._by_offsets(part, turns, overlaps)
            all_ids.append(ids)
            all_labels.append(np.where(trained, ids, np.int32(NO_LOSS)))
            all_lengths.append(lengths)
        return Encoded(np.concatenate(all_ids), np.concatenate(all_labels), np.concatenate(all_lengths))

    def _by_offsets(self, texts: list[str], turns: list[list[Span]], overlaps: bool) -> _Trained:
        """Tokenize texts and ask the tokenizer which characters a token covers."""
        with _failing():
            encodings = self._backend.encode_batch(texts, add_special_tokens=False)
        ids, lengths = _flat(encoding.ids for encoding in encodings)
        trained = [np.zeros(0, dtype=np.bool_)]
        for encoding, spans in zip(encodings, turns, strict=True):
            if overlaps:
                offsets = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
                trained.append(overlapping(offsets[:, 0], offsets[:, 1], spans))
            else:
                trained.append(between_edges(encoding, spans))
        return ids, lengths, np.concatenate(trained)

    def _by_bytes(self, texts: list[str], turns: list[list[Span]], offsets: ByteOffsets) -> _Trained:
        """Tokenize texts and compute offsets from the bytes of tokens, where these are the bytes of the text."""
        ids, lengths = self.ids(texts)
        sizes = (len(text) if text.isascii() else len(text.encode()) for text in texts)
        rows = np.fromiter(sizes, dtype=np.int64, count=len(texts))
        stops = np.cumsum(lengths)
        bytes_before = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(offsets.sizes[ids])])
        same = bytes_before[stops] - bytes_before[stops - lengths] == rows
        begins = bytes_before[stops - lengths]
        spans: list[Span] = []
        changed: list[int] = []
        for row, (text, begin) in enumerate(zip(texts, begins.tolist(), strict=True)):
            if same[row] and offsets.fits(text):
                spans += byte_spans(text, turns[row], begin)
            else:
                changed.append(row)
        trained = overlapping(*offsets(ids, begins), spans)
        for row in changed:
            stop = int(stops[row])
            trained[stop - int(lengths[row]) : stop] = self._by_offsets([texts[row]], [turns[row]], True)[2]
        return ids, lengths, trained

    @cached_property
    def _byte_offsets(self) -> ByteOffsets | None:
        return ByteOffsets.of(self._backend)


@contextmanager
def _failing() -> Iterator[None]:
    """Turn a tokenizer's failure into a `TokenizerError`; the Rust backend raises a bare `Exception`."""
    try:
        yield
    except Exception as error:
        raise TokenizerError(f"the tokenizer failed: {error}") from error


def _own_backend(tokenizer: Any) -> Any:
    """Copy the Rust tokenizer so that neither side's settings reach the other; return None if there is none."""
    import tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, tokenizers.Tokenizer) or not isinstance(tokenizer, PreTrainedTokenizerFast):
        return None
    # A class that overrides encoding must be called itself.
    if type(tokenizer)._encode_plus is not PreTrainedTokenizerFast._encode_plus:
        return None
    backend = _copy(backend)
    # A tokenizer.json may set both. They would cut and pad sequences in silence.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(tokenizer.split_special_tokens)
    return backend


def _copy(backend: Any) -> Any:
    """Copy a Rust tokenizer, without its vocabulary where the added tokens keep their ids.

    A deep copy writes and reads the vocabulary as JSON, which takes half a second for 130,000 tokens.
    """
    import tokenizers

    added = backend.get_added_tokens_decoder()
    copied = tokenizers.Tokenizer(backend.model)
    for name in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        component = getattr(backend, name)
        if component is not None:
            setattr(copied, name, component)
    in_order = [added[index] for index in sorted(added)]
    for special, tokens in groupby(in_order, key=lambda token: token.special):
        (copied.add_special_tokens if special else copied.add_tokens)(list(tokens))
    same = {index: str(token) for index, token in copied.get_added_tokens_decoder().items()}
    return copied if same == {index: str(token) for index, token in added.items()} else copy.deepcopy(backend)


def _calls(texts: Sequence[str]) -> Iterator[list[str]]:
    """Yield the texts in parts of a bounded number of characters; no texts give one empty part."""
    part: list[str] = []
    characters = 0
    for text in texts:
        if part and characters + len(text) > _CHARACTERS_A_CALL:
            yield part
            part, characters = [], 0
        part.append(text)
        characters += len(text)
    yield part


def _flat(rows: Iterable[list[int]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Join the ids of rows: int32, (tokens,); and count them: int64, (rows,)."""
    ids: array[int] = array("i")
    lengths: array[int] = array("q")
    for row in rows:
        ids.fromlist(row)  # twice as fast as `extend`
        lengths.append(len(row))
    return np.frombuffer(ids, dtype=np.int32), np.frombuffer(lengths, dtype=np.int64)


def _after_prompts(
    ids: NDArray[np.int32], lengths: NDArray[np.int64], prompt_ids: NDArray[np.int32], prompt_lengths: NDArray[np.int64]
) -> Encoded:
    """Label tokens from the first one in which sequence and prompt differ, as TRL does.

    Tokens may merge across the end of the prompt, so the prompt alone may have other tokens than the start of the
    sequence. The tokens that both start with are the prompt.
    """
    labels = ids.copy()
    start = prompt_start = merged = 0
    for length, prompt_length in zip(lengths.tolist(), prompt_lengths.tolist(), strict=True):
        shared = shared_tokens(ids[start : start + length], prompt_ids[prompt_start : prompt_start + prompt_length])
        merged += shared < prompt_length
        labels[start : start + shared] = NO_LOSS
        start += length
        prompt_start += prompt_length
    return Encoded(ids, labels, lengths, merged)


def shared_tokens(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """Count the tokens that two sequences both start with.

    Example:
        >>> shared_tokens(np.array([1, 2, 3], np.int32), np.array([1, 2, 4, 5], np.int32))
        2
    """
    most = min(len(one), len(other))
    differ = one[:most] != other[:most]
    return int(differ.argmax()) if differ.any() else most

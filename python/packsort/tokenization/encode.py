"""Token ids and labels of texts, encoded many texts a call so that the tokenizer's threads have work."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort.errors import TokenizerError
from packsort.schema import NO_LOSS
from packsort.tokenization.loss import LossRule
from packsort.tokenization.render import Rendered

# The backend holds about 100 bytes for each token that it returns (text, offsets, masks). This limit keeps a call over
# long texts at about 100 MB.
_CHARACTERS_A_CALL = 4_000_000


@dataclass
class Encoded:
    """Tokens of some rows, one row after another.

    Attributes:
        input_ids: Token ids: int32, (tokens,).
        labels: `input_ids`, or `NO_LOSS` where a token carries no loss: int32, (tokens,).
        lengths: Number of tokens of each row: int64, (rows,).
        merged: Number of rows whose prompt alone has other tokens than the start of their sequence.
    """

    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    lengths: NDArray[np.int64]
    merged: int = 0


class Encoder:
    """Tokenizer without truncation and padding, for use from any thread.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase`. It is not changed.
        special_tokens: Whether the tokenizer adds its special tokens.

    Attributes:
        has_offsets: Whether the tokenizer tells which characters a token covers.
    """

    def __init__(self, tokenizer: Any, *, special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._special_tokens = special_tokens
        self._backend = _own_backend(tokenizer)
        self.has_offsets = self._backend is not None

    def __call__(self, rendered: Rendered, rule: LossRule) -> Encoded:
        """Tokenize rows and mark the tokens that carry loss.

        Args:
            rendered: Text of the rows.
            rule: Tokens that carry loss.

        Raises:
            TokenizerError: The tokenizer fails on a text.
        """
        if rule.by_turns:
            return self._marked_turns(rendered)
        ids, lengths = self.ids(rendered.texts)
        if rule is LossRule.COMPLETION:
            assert rendered.prompts is not None
            prompt_ids, prompt_lengths = self.ids(rendered.prompts)
            return _after_prompts(ids, lengths, prompt_ids, prompt_lengths)
        return Encoded(ids, ids, lengths)

    def ids(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Tokenize texts without labels.

        Args:
            texts: The texts.

        Returns:
            Token ids of all texts, int32 (tokens,); and the number of tokens of each text, int64 (texts,).

        Raises:
            TokenizerError: The tokenizer fails on a text.
        """
        flat: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        for part in _calls(texts):
            if self._backend is None:
                with _failing():
                    found = self._tokenizer(
                        part, add_special_tokens=self._special_tokens, padding=False, truncation=False, verbose=False
                    )["input_ids"]
            else:
                # The fast call computes no offsets. Only assistant turns need them.
                with _failing():
                    encodings = self._backend.encode_batch_fast(part, add_special_tokens=self._special_tokens)
                found = [encoding.ids for encoding in encodings]
            counts = [len(ids) for ids in found]
            flat.append(np.fromiter(chain.from_iterable(found), dtype=np.int32, count=sum(counts)))
            lengths += counts
        return np.concatenate(flat), np.array(lengths, dtype=np.int64)

    def _marked_turns(self, rendered: Rendered) -> Encoded:
        """Label assistant turns exactly as `apply_chat_template(return_assistant_tokens_mask=True)` masks them."""
        assert self._backend is not None
        all_ids: list[NDArray[np.int32]] = []
        all_labels: list[NDArray[np.int32]] = []
        lengths: list[int] = []
        for part in _calls(rendered.texts):
            with _failing():
                encodings = self._backend.encode_batch(part, add_special_tokens=self._special_tokens)
            counts = [len(encoding) for encoding in encodings]
            ids = np.fromiter(
                chain.from_iterable(encoding.ids for encoding in encodings), dtype=np.int32, count=sum(counts)
            )
            labels = np.full_like(ids, NO_LOSS)
            start = 0
            for encoding, count, turns in zip(encodings, counts, rendered.turns[len(lengths) :], strict=False):
                for begin, end in turns:
                    if end == 0:
                        continue  # An empty turn before any text; transformers fails on it.
                    first = encoding.char_to_token(begin)
                    last = encoding.char_to_token(end - 1)
                    if first is None:
                        break
                    # If the last character has no token (or token 0, which reads as none), transformers labels the rest
                    # of the sequence.
                    stop = start + (last + 1 if last else count)
                    labels[start + first : stop] = ids[start + first : stop]
                start += count
            all_ids.append(ids)
            all_labels.append(labels)
            lengths += counts
        return Encoded(np.concatenate(all_ids), np.concatenate(all_labels), np.array(lengths, dtype=np.int64))


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
    backend = copy.deepcopy(backend)
    # A tokenizer.json may set both. They would cut and pad sequences in silence.
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = bool(tokenizer.split_special_tokens)
    return backend


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

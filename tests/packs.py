"""Packs with and without filler, for tests of layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

MAX_LENGTH = 24


def make_pack(lengths: list[int], ids: list[int], *, labels: bool, seed: int = 0) -> dict[str, Any]:
    """Make a pack as a shard gives it; `ids` are its `sequence_ids`, -1 for padding, -2 for separators."""
    random = np.random.default_rng(seed)
    tokens = random.integers(1, 90, sum(lengths), np.int32)
    pack = {
        "input_ids": tokens,
        "seq_lengths": np.array(lengths, np.int32),
        "sequence_ids": np.array(ids, np.int64),
    }
    if labels:
        pack["labels"] = np.where(random.random(len(tokens)) < 0.4, np.int32(-100), tokens)
    return pack


@st.composite
def packs(draw: Any, filler: bool = True) -> list[dict[str, Any]]:
    """Draw one to four packs of at most MAX_LENGTH tokens, with padding and separators between sequences."""
    labels = draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(1, 4))):
        lengths: list[int] = []
        ids: list[int] = []
        for number in range(draw(st.integers(1, 5))):
            for kind in (number, *([draw(st.sampled_from([-1, -2]))] if filler and draw(st.booleans()) else [])):
                length = draw(st.integers(1, 8))
                if sum(lengths) + length <= MAX_LENGTH:
                    lengths.append(length)
                    ids.append(kind)
        found.append(make_pack(lengths, ids, labels=labels, seed=draw(st.integers(0, 2**16))))
    return found


def pieces(pack: dict[str, Any]) -> list[tuple[list[int], list[int], int]]:
    """Return tokens, labels and id of each segment; first labels and those of filler are -100."""
    cuts = np.cumsum(pack["seq_lengths"])[:-1]
    found = []
    for tokens, labels, number in zip(
        np.split(pack["input_ids"], cuts),
        np.split(pack.get("labels", pack["input_ids"]), cuts),
        pack.get("sequence_ids", np.zeros(len(cuts) + 1)).tolist(),
        strict=True,
    ):
        kept = [-100] * len(tokens) if number < 0 else [-100, *labels[1:].tolist()]
        found.append((tokens.tolist(), kept, int(number)))
    return found


def shift(labels: list[int]) -> list[int]:
    return [*labels[1:], -100]

"""How a batch's tensors are shaped and named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from packsort import _core
from packsort.errors import OptionError

LAYOUTS = ("flat",)


class Batcher:
    """Makes batches of packs in a layout.

    Attributes:
        needs_step: whether a batch depends on the packs of the other ranks.
    """

    needs_step = False

    def __init__(self, layout: str = "flat", *, max_length: int, seq_idx: bool = False) -> None:
        if layout not in LAYOUTS:
            raise OptionError(f"layout is {layout!r}, allowed are {', '.join(map(repr, LAYOUTS))}")
        self.seq_idx = seq_idx

    def __call__(
        self, packs: Sequence[Any], *, step_packs: Callable[[], Sequence[Any]] | None = None, pin_memory: bool = False
    ) -> dict[str, Any]:
        """The batch of some packs."""
        return flat_batch(list(packs), seq_idx=self.seq_idx)


def flat_batch(packs: list[dict[str, Any]], *, seq_idx: bool = False) -> dict[str, Any]:
    """A batch of packs, one after another in one row; `PackedLoader` says what is in it.

    Args:
        packs: as `packsort.Shards` gives them: `input_ids`, `seq_lengths` and, all or none, `labels`.
        seq_idx: whether the batch has `seq_idx`.

    Raises:
        DamagedError: a pack's columns do not fit each other.

    Example:
        >>> import numpy as np
        >>> from packsort.torch import flat_batch
        >>> ids, lengths = np.array([7, 8, 9], np.int32), np.array([1, 2], np.int32)
        >>> flat_batch([{"input_ids": ids, "seq_lengths": lengths}], seq_idx=True)["seq_idx"]
        tensor([[0, 1, 1]], dtype=torch.int32)
    """
    parts = [(pack["input_ids"], pack.get("labels"), pack["seq_lengths"]) for pack in packs]
    tokens = sequences = 0
    for ids, _, lengths in parts:
        tokens += len(ids)
        sequences += len(lengths)
    input_ids = torch.empty((1, tokens), dtype=torch.int64)
    labels = torch.empty((1, tokens), dtype=torch.int64)
    position_ids = torch.empty((1, tokens), dtype=torch.int64)
    cu_seq_lens = torch.empty(sequences + 1, dtype=torch.int32)
    longest = _core.fill_flat(
        parts, input_ids.numpy()[0], labels.numpy()[0], position_ids.numpy()[0], cu_seq_lens.numpy()
    )
    batch = {
        "input_ids": input_ids,
        "labels": labels,
        "position_ids": position_ids,
        "cu_seq_lens_q": cu_seq_lens,
        "cu_seq_lens_k": cu_seq_lens,
        "max_length_q": longest,
        "max_length_k": longest,
    }
    if seq_idx:
        numbers = torch.arange(sequences, dtype=torch.int32)
        batch["seq_idx"] = numbers.repeat_interleave(cu_seq_lens.diff(), output_size=tokens)[None]
    return batch

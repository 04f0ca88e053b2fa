"""`flat`: the sequences of all packs one after another in one row, as transformers' padding-free path takes them.

- `input_ids` int64 (1, tokens).
- `labels` int64 (1, tokens): unshifted; -100 where no loss is taken, and at the first token of each sequence, which
  nothing predicts. With `labels="shifted"` the key is `shift_labels`, transformers' name for them: what shifts `labels`
  itself can't shift them twice.
- `position_ids` int64 (1, tokens): from 0 in each sequence.
- `cu_seq_lens_q`, `cu_seq_lens_k` int32 (sequences + 1,): where each sequence starts, and the end of the last. Both are
  the same tensor.
- `max_length_q`, `max_length_k` int: tokens of the longest sequence.

With `max_sequences` all shapes are fixed, for CUDA graphs: each pack is padded to `max_length`, its padding a sequence
of its own, so that there are packs x `max_length` tokens; `cu_seq_lens_*` are (packs x (`max_sequences` + 1) + 1,),
their end repeated, which is as many sequences of no tokens; `max_length_*` are `max_length`.

There is no `attention_mask`: flash attention takes the sequences from `cu_seq_lens_*`, and SDPA and eager attention
find them in `position_ids`. The latter they do only without a key-value cache, so train with
`model.config.use_cache = False`, as `transformers.Trainer` does; with a cache, sequences see each other.
"""

from __future__ import annotations

from typing import Any

from packsort.torch.layouts.filling import Filled


def arrange(filled: Filled) -> dict[str, Any]:
    """The batch."""
    return {
        "input_ids": filled.input_ids,
        "labels" if filled.labels_are == "unshifted" else "shift_labels": filled.labels,
        "position_ids": filled.position_ids,
        "cu_seq_lens_q": filled.cu_seqlens,
        "cu_seq_lens_k": filled.cu_seqlens,
        "max_length_q": filled.longest,
        "max_length_k": filled.longest,
    }

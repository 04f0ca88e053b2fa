"""Check that the sequences of a batch do not see each other in a model.

Models tell packed sequences apart by different means: `position_ids`, `cu_seq_lens_*`, `seq_idx`, a mask, or not at
all. The check does not ask how. It changes the tokens of some sequences and looks at the logits of the others: they
may not change. It then runs single sequences alone: their logits in the batch must be the same, which finds wrong
positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from packsort.torch._isolation.first_batch import first_batch
from packsort.torch._isolation.preserve import preserved
from packsort.torch._isolation.probe import probe
from packsort.torch._isolation.result import Cause, Isolation, Leak, Remedy
from packsort.torch._isolation.runs import Forward
from packsort.torch._slow_attention import warn_of_slow

__all__ = ["Cause", "Isolation", "Leak", "Remedy", "check_isolation"]


def check_isolation(
    model: torch.nn.Module, batches: Mapping[str, Any] | Iterable[Mapping[str, Any]], *, forward: Forward | None = None
) -> Isolation:
    """Check that the sequences of a batch do not see each other in a model.

    The tokens of some sequences are changed, and the logits of all others compared with those of the unchanged batch.
    They must be equal; where a model rounds differently once it groups tokens differently, they must be within the
    noise that equal runs and later sequences cause. Two sequences are also run alone, which finds wrong positions.

    The model gets the batch as a training loop passes it, without labels, in training mode and with the same random
    numbers in each run. Model and random numbers are as they were afterwards, and the loader is where it was. A model
    compiled by `torch.compile` runs uncompiled. It takes seven runs, or about twice as many if something is wrong, then
    also to try what would keep sequences apart. Where ranks share a model, each of them must call it.

    What is checked is this model, as it computes here: another attention, another device or kernels that are not
    installed here may differ. Models of linear attention, for example, need `seq_idx` and their kernels. A warning says
    if the model takes long flat batches through SDPA on an accelerator, which is slow.

    Args:
        model: The model, on the device and in the type in which it is trained.
        batches: A batch of any layout, or a loader, whose first batch with two sequences is taken.
        forward: Called with the model and a batch, where the model is not called as `model(**batch)`; returns logits
            (rows, tokens, vocabulary). Sequences are then not run alone, so positions are not checked.

    Returns:
        An `Isolation`, which is false if something is wrong. Its text names what mixes which sequences, and what of
        the things that were tried keeps them apart.

    Raises:
        OptionError: There is no batch with two sequences; a batch tells no sequences apart; `batches` is an iterator;
            the model takes no tokens by the batch's name, or returns no logits for each token.

    Example:
        >>> import pyarrow as pa
        >>> from packsort.torch import PackedLoader, check_isolation
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=32, use_cache=False, **size))
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8, 9]]})
        >>> print(check_isolation(model, PackedLoader(table, 16)))
        ok: 3 sequences of a batch do not see each other in LlamaForCausalLM (sdpa), and alone they give the same logits
    """
    with preserved(model), torch.no_grad():
        batch, segments = first_batch(batches)
        warn_of_slow(model, batch)
        return probe(model, batch, segments, forward)

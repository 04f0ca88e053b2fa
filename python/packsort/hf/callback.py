"""`IsolationCallback`: stops a trainer before its first step if sequences would see each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import torch
from transformers import TrainerCallback

from packsort._warn import warn
from packsort.errors import IsolationError, OptionError, PacksortError
from packsort.hf._first_batches import FirstBatch, random_numbers_kept
from packsort.hf.checking import look_at
from packsort.schema import INPUT_IDS, SEQ_LENGTHS
from packsort.torch import check_isolation
from packsort.torch._isolation.segments import number_segments
from packsort.torch._slow_attention import warn_of_slow

# Of one pack: the logits of whole batches could take more memory than a training step.
_LEAST_SEGMENTS: Final = 4
_LEAST_TOKENS: Final = 256


class IsolationCallback(TrainerCallback):  # type: ignore[misc]
    """Callback that checks a `Trainer` before its first step, and stops a run whose sequences see each other.

    It looks at the first batch as `packsort.hf.check` does, and at the model as `packsort.torch.check_isolation` does,
    with the last sequences of the first pack. Evaluation data are checked when their first batch was evaluated. On
    several ranks all stop if one finds something. A model that is sharded over ranks (FSDP, DeepSpeed's ZeRO 3, tensor
    parallelism) is not run, and a warning says so.

    Raises:
        IsolationError: In `Trainer.train()`: the batch or the model is wrong. The message says what to change.

    Example:
        >>> import tempfile, datasets
        >>> from packsort.hf import IsolationCallback, pack_dataset
        >>> from packsort.torch import PackedCollator
        >>> from transformers import MambaConfig, MambaForCausalLM, Trainer, TrainingArguments
        >>> model = MambaForCausalLM(MambaConfig(vocab_size=32, hidden_size=16, num_hidden_layers=1, state_size=4))
        >>> packs = pack_dataset(datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]}), 8)
        >>> collate = PackedCollator(max_length=8)
        >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
        ...     args = TrainingArguments(folder, remove_unused_columns=False, report_to="none", use_cpu=True)
        ...     trainer = Trainer(model, args, collate, packs, callbacks=[IsolationCallback()])
        ...     trainer.train()
        Traceback (most recent call last):
        packsort.errors.IsolationError: sequences see each other in MambaForCausalLM ...
    """

    def __init__(self) -> None:
        self._evaluated: list[Any] = []

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, train_dataloader: Any = None, **_: Any
    ) -> None:
        """Check the first batch, and the model on it."""
        _agree(lambda: _check_run(model, train_dataloader, args))

    def on_prediction_step(self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any) -> None:
        """Check the first batch of evaluation data that were not checked yet."""
        data = getattr(eval_dataloader, "dataset", None)
        data = getattr(data, "_fingerprint", data)  # a trainer removes columns anew in each evaluation
        if data not in self._evaluated:
            self._evaluated.append(data)
            _agree(lambda: look_at(eval_dataloader, args, evaluating=True))


def _check_run(model: Any, loader: Any, args: Any) -> None:
    """Check batches, and run the model on a few sequences of one pack.

    Raises:
        IsolationError: Something is wrong.
    """
    seen = look_at(loader, args)
    if seen:
        warn_of_slow(model, seen[-1].batch)
    batch = _few_sequences(seen[-1], loader) if seen else None
    if batch is None:
        return  # one sequence in each batch: there is nothing to keep apart
    if sharding := _sharding(model):
        warn(
            [
                f"the model is not checked for leaks between sequences, since {sharding} spreads its weights over "
                "ranks: run `packsort.torch.check_isolation` on a small model of its kind"
            ]
        )
        return
    # TRL passes it in each step; `Trainer` sets it in the configuration.
    found = check_isolation(model, batch | {"use_cache": False} if hasattr(args, "padding_free") else batch)
    if not found:
        raise IsolationError(str(found))


def _few_sequences(first: FirstBatch, loader: Any) -> dict[str, Any] | None:
    """Collate the last sequences of the first pack that has several; None if there is nothing to keep apart."""
    batch = first.batch
    if first.given is not None and all(SEQ_LENGTHS in row for row in first.given):
        row = next((row for row in first.given if len(row[SEQ_LENGTHS]) > 1), None)
        if row is None:
            return None
        with random_numbers_kept():
            batch = dict(loader.collate_fn([_tail(row)]))
    try:
        return batch if int(number_segments(batch).max()) > 0 else None
    except OptionError:
        return None  # padded rows, each a sequence


def _tail(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last segments of a pack, with the values of its columns for them and their tokens."""
    segments, tokens = len(row[SEQ_LENGTHS]), len(row[INPUT_IDS])
    sums = np.cumsum(np.asarray(row[SEQ_LENGTHS])[::-1])
    kept = min(segments, max(_LEAST_SEGMENTS, int(np.searchsorted(sums, _LEAST_TOKENS)) + 1))
    ends = {segments: kept, tokens: int(sums[kept - 1])}
    return {name: value[-ends[len(value)] :] if _is_list(value, ends) else value for name, value in row.items()}


def _is_list(value: Any, lengths: Mapping[int, int]) -> bool:
    return isinstance(value, list | tuple | np.ndarray | torch.Tensor) and len(value) in lengths


def _sharding(model: torch.nn.Module) -> str | None:
    """Name what spreads the weights of a model over ranks, so that all ranks would have to run it in step."""
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        return "FSDP"
    for parameter in model.parameters():
        if hasattr(parameter, "ds_id"):
            return "DeepSpeed"
        if type(parameter.data).__name__ == "DTensor":
            return "a device mesh (FSDP or tensor parallelism)"
    return None


def _agree(check: Callable[[], Any]) -> None:
    """Run a check on each rank, and raise on all of them what one of them finds."""
    error: PacksortError | None = None
    try:
        check()
    except PacksortError as found:
        error = found
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    if distributed and torch.distributed.get_world_size() > 1:
        messages: list[str | None] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(messages, None if error is None else str(error))
        for rank, message in enumerate(messages):
            if error is None and message is not None:
                error = IsolationError(f"rank {rank}: {message}")
    if error is not None:
        raise error

"""`check`: whether a trainer trains on its packs as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import numpy as np
import torch
from accelerate.data_loader import DataLoaderDispatcher

from packsort._warn import warn
from packsort.errors import IsolationError, SourceError
from packsort.hf._first_batches import FirstBatch, first_batches
from packsort.hf._mark import columns_as_loaded
from packsort.hf._packs_in_batch import check_boundaries, check_packs
from packsort.hf.config import cuts_sequences
from packsort.schema import (
    ATTENTION_MASK,
    INPUT_IDS,
    LABELS,
    LOSS_MASKS,
    POSITION_IDS,
    SEGMENT_COLUMNS,
    SEQ_LENGTHS,
)
from packsort.torch import PackedCollator

BATCHES: Final = 8
"""Batches to look through for one with two sequences."""

# Columns that batches hold under other names, or need not hold.
_EXPECTED: Final = (INPUT_IDS, LABELS, ATTENTION_MASK, POSITION_IDS, *LOSS_MASKS, *SEGMENT_COLUMNS)
_SFT = "pass `args=packsort.hf.sft_config(...)` and no data_collator"
_PLAIN = "pass `packsort.torch.PackedCollator` as data_collator, and remove_unused_columns=False"


def check(trainer: Any) -> None:
    """Check the first batch that a trainer really makes of its packs.

    The batch comes from the trainer's own data loader, sampler and collator, and is compared with the packs of its
    dataset: every pack whole, every sequence a segment of its own, every label at its token. The same is done for the
    evaluation data. Nothing is moved: samplers, random numbers and the data itself are afterwards where they were.

    Whether the model keeps the segments of a batch apart is the question of `packsort.torch.check_isolation`;
    `IsolationCallback` asks both. With several ranks, each checks its own batch.

    Args:
        trainer: A `transformers.Trainer`, or a subclass such as TRL's `SFTTrainer`, on packs: a dataset that
            `packsort.hf.load` or `pack_dataset` returns, packed Parquet shards, or a `PackedDataset`.

    Raises:
        IsolationError: Packs are cut, boundaries or labels are lost, or rows are packed again. The message names what
            is wrong, and what to change.

    Example:
        >>> import tempfile, datasets
        >>> from packsort.hf import check, pack_dataset
        >>> from packsort.torch import PackedCollator
        >>> from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
        >>> size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **size))
        >>> packs = pack_dataset(datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]}), 8)
        >>> with tempfile.TemporaryDirectory() as folder:  # doctest: +ELLIPSIS
        ...     args = TrainingArguments(folder, remove_unused_columns=False, report_to="none", use_cpu=True)
        ...     check(Trainer(model, args, train_dataset=packs, data_collator=PackedCollator(max_length=8)))
        ...     check(Trainer(model, args, train_dataset=packs))
        Traceback (most recent call last):
        packsort.errors.IsolationError: boundaries of sequences are lost ...
    """
    _check_arguments(trainer.args, getattr(trainer.accelerator, "parallelism_config", None))
    prepared = trainer.accelerator._dataloaders
    before = len(prepared)
    try:
        if trainer.train_dataset is not None:
            look_at(trainer.get_train_dataloader(), trainer.args, trainer.train_dataset)
        for key, dataset in _evaluation(trainer.eval_dataset):
            look_at(trainer.get_eval_dataloader(key), trainer.args, dataset, evaluating=True)
    finally:
        del prepared[before:]  # accelerate saves the state of each loader that it knows


def look_at(loader: Any, args: Any, dataset: Any = None, *, evaluating: bool = False) -> list[FirstBatch]:
    """Check the first batch of a trainer's data loader.

    Args:
        loader: The loader that the trainer made.
        args: The trainer's arguments.
        dataset: The trainer's dataset with all columns; None where only the loader's is known.
        evaluating: Whether the loader is one of evaluation data.

    Returns:
        Batches up to the first with more than one sequence.

    Raises:
        IsolationError: As for `check`.
    """
    _check_arguments(args, getattr(args, "parallelism_config", None))
    own = getattr(loader, "dataset", None)
    known = own if dataset is None else dataset
    sft = hasattr(args, "padding_free")
    way_out = _SFT if sft else _PLAIN
    packing = getattr(args, "packing", False)
    if evaluating and getattr(args, "eval_packing", None) is not None:
        packing = args.eval_packing
    loaded = columns_as_loaded(known)
    if packing and (loaded is None or SEQ_LENGTHS in loaded):
        where = "the rows are packs" if loaded else "nothing tells whether the rows were packs"
        raise IsolationError(f"packing=True makes each pack one sequence ({where}): {way_out}")
    as_one = _spans_packs(getattr(loader, "collate_fn", None))
    seen = []
    try:
        with closing(first_batches(loader, known, BATCHES)) as batches:
            for first in batches:
                _check_rows(first, args, loaded, way_out, complete=dataset is not None, as_one=as_one)
                _check_division(loader, args, first.batch)
                seen.append(first)
                if first.rows is None or any(len(row.get(SEQ_LENGTHS, ())) > 1 for row in first.rows):
                    break
    except SourceError as error:  # `PackedCollator` misses a column
        raise IsolationError(str(error)) from error
    return seen


def _check_rows(
    first: FirstBatch, args: Any, loaded: frozenset[str] | None, way_out: str, *, complete: bool, as_one: bool
) -> None:
    """Check a batch against the rows that it was made of.

    Args:
        first: The batch.
        args: The trainer's arguments.
        loaded: Columns that the dataset had when it was loaded, or None.
        way_out: What to do about a wrong batch.
        complete: Whether rows have all columns of the dataset. Otherwise the trainer may have removed some.
        as_one: Whether a pack is meant to be one segment.

    Raises:
        IsolationError: Packs are cut, or boundaries or labels are lost.
    """
    if first.rows is None:
        check_boundaries(first.batch, way_out)
        return
    if any(np.ndim(row.get(INPUT_IDS, ())) > 1 for row in first.rows):
        raise IsolationError(
            f"packs are lost (the dataset yields batches, and the trainer makes batches of {len(first.rows)} of them): "
            "pass `packsort.torch.PackedDataset` as train_dataset, and `PackedCollator` as data_collator"
        )
    if loaded and SEQ_LENGTHS in loaded and LABELS in loaded and LABELS not in first.rows[0]:
        raise IsolationError(f"labels are lost (the dataset had `{LABELS}`, and its rows lack them): {way_out}")
    if all(SEQ_LENGTHS in row for row in first.rows):
        check_packs(first.batch, first.rows, way_out, as_one=as_one)
        _warn_of_lost_columns(first.batch, first.rows[0])
        return
    removed = args.remove_unused_columns and not hasattr(args, "padding_free")
    if SEQ_LENGTHS in loaded if loaded is not None else removed and not complete:
        what = "remove_unused_columns=True removes" if removed else "the rows of the dataset lack"
        raise IsolationError(f"boundaries of sequences are lost ({what} `{SEQ_LENGTHS}`): {way_out}")
    # Otherwise rows are sequences, and not packs.


def _warn_of_lost_columns(batch: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """Warn of columns with a value for each token that the collator leaves out, such as weights under TRL."""
    lost = [
        f"`{name}`"
        for name, value in row.items()
        if name not in batch and name not in _EXPECTED and np.shape(value) == (len(row[INPUT_IDS]),)
    ]
    if lost and len(row[INPUT_IDS]) != len(row[SEQ_LENGTHS]):  # else a value for each sequence looks alike
        warn([f"{', '.join(lost)} of the packs is not in the batch, so the model trains without it: {_PLAIN}"])


def _check_division(loader: Any, args: Any, batch: Mapping[str, Any]) -> None:
    """Refuse that batches are cut by rows for several ranks or devices: a flat batch is one row."""
    rows = {len(value) if isinstance(value, torch.Tensor) and value.ndim else 0 for value in batch.values()}
    if len(rows) == 1 and rows != {1}:
        return
    if isinstance(loader, DataLoaderDispatcher) and loader.state.num_processes > 1:
        raise IsolationError(
            "packs are cut (dispatch_batches joins the batches of all ranks and cuts them by rows, and a flat batch is "
            "one row): pass `accelerator_config={'dispatch_batches': False}`"
        )
    if args.n_gpu > 1:
        raise IsolationError(
            f"packs are cut (`torch.nn.DataParallel` cuts batches by rows for {args.n_gpu} GPUs, and a flat batch is "
            "one row): run one process for each GPU with `torchrun`, or set CUDA_VISIBLE_DEVICES to one GPU"
        )


def _check_arguments(args: Any, parallelism: Any) -> None:
    if cuts_sequences(parallelism):
        raise IsolationError(
            "boundaries of sequences are lost (context parallelism drops the attention mask): leave "
            "parallelism_config out"
        )


def _spans_packs(collate: Any) -> bool:
    """Tell whether a collator makes each pack one segment on purpose, as `attention="pack"` does."""
    inner = getattr(collate, "data_collator", collate)  # inside transformers' collator that removes columns
    return isinstance(inner, PackedCollator) and inner.batcher.config.attention == "pack"


def _evaluation(given: Any) -> Iterator[tuple[str | None, Any]]:
    if isinstance(given, dict):
        yield from given.items()
    elif given is not None:
        yield None, given

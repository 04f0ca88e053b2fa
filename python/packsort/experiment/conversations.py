"""Conversations of an experiment: tokenized once, then chosen for each run.

`read` tokenizes. `fit_vocabulary` gives a model of random weights a small vocabulary. `divide` chooses the
conversations that a run trains on, and those that are held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import packsort
from packsort._arrow import from_numpy, to_numpy
from packsort._options.input import take_input_options
from packsort.errors import OptionError, SourceError
from packsort.experiment.settings import RunSettings
from packsort.schema import INPUT_IDS, LABELS, NO_LOSS, SEQUENCE_IDS
from packsort.sources.source import open_source

FEWEST_HELD_OUT = 10
"""Conversations held out at least; the loss of fewer says nothing."""
_LONGEST = 2**20  # tokens of a conversation that are read; no model here trains on more


@dataclass(frozen=True)
class Conversations:
    """Conversations with tokens and labels.

    Attributes:
        table: `input_ids` and `labels`, list<int32>.
        lengths: Tokens of each conversation, (n,).
        multi_turn: Whether each has more than one answer, (n,).
        kinds: Value of the column `by` of each, or None without such a column.
        without_loss: Conversations left out because none of their tokens carries loss.
    """

    table: pa.Table
    lengths: NDArray[np.int64]
    multi_turn: NDArray[np.bool_]
    kinds: NDArray[np.object_] | None = None
    without_loss: int = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: NDArray[np.int64]) -> Conversations:
        """Return the conversations of these rows, in this order."""
        return Conversations(
            self.table.take(from_numpy(rows)).combine_chunks(),
            self.lengths[rows],
            self.multi_turn[rows],
            None if self.kinds is None else self.kinds[rows],
        )

    def values(self, name: str) -> NDArray[np.int32]:
        """Return the values of a column, one conversation after another."""
        return to_numpy(self.table[name].combine_chunks().flatten())

    def with_values(self, **columns: NDArray[np.int32]) -> Conversations:
        """Return the same conversations with other tokens or labels."""
        table = self.table
        for name, values in columns.items():
            offsets = table[name].combine_chunks().offsets
            offsets = from_numpy(to_numpy(offsets) - to_numpy(offsets)[0])
            lists = pa.ListArray.from_arrays(offsets, from_numpy(values))
            table = table.set_column(table.schema.get_field_index(name), name, lists)
        return replace(self, table=table)


def read(
    source: Any,
    tokenizer: Any = None,
    *,
    by: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Conversations:
    """Tokenize conversations, or read tokens with labels.

    Args:
        source: Any source of `packsort.pack`.
        tokenizer: A tokenizer, its folder or its name. A source that holds tokens needs none.
        by: Column with the kind of each conversation.
        split: Split to read, where the source has several.
        columns: Column of the source for each column that packsort looks for.

    Raises:
        SourceError: No conversation has a token that carries loss, or the source cannot be read.
        TokenizerError: The tokenizer cannot be loaded, or has no chat template.
    """
    if INPUT_IDS in open_source(source, take_input_options({"split": split, "columns": columns})).schema.names:
        tokenizer = None  # the tokens are there
    packs = packsort.pack(
        source,
        _LONGEST,
        tokenizer=tokenizer,
        strategy="padding",
        overlong="truncate",
        seed=None,
        empty="drop",
        keep=[by] if by else None,
        split=split,
        columns=columns,
    ).combine_chunks()
    rows = to_numpy(packs[SEQUENCE_IDS].combine_chunks().flatten())
    packs = packs.take(from_numpy(np.argsort(rows))).combine_chunks()
    ids = packs[INPUT_IDS].combine_chunks()
    labels = packs[LABELS].combine_chunks() if LABELS in packs.column_names else ids
    answers = count_answers(labels)
    trained = np.flatnonzero(answers)
    if not len(trained):
        raise SourceError("no conversation has a token that carries loss, so nothing can be trained")
    kinds = None
    if by is not None:
        kinds = np.asarray(packs[by].combine_chunks().flatten().to_pylist(), object)
    lengths = to_numpy(ids.value_lengths()).astype(np.int64)
    every = Conversations(pa.table({INPUT_IDS: ids, LABELS: labels}), lengths, answers > 1, kinds)
    return replace(every.take(trained), without_loss=len(every) - len(trained))


def count_answers(labels: pa.ListArray) -> NDArray[np.int64]:
    """Count the runs of tokens that carry loss in each list of labels.

    Example:
        >>> count_answers(pa.array([[-100, 5, 6, -100, 7], [5, 6], [-100]], pa.list_(pa.int32())))
        array([2, 1, 0])
    """
    offsets = to_numpy(labels.offsets).astype(np.int64)
    trained = np.append(to_numpy(labels.values) != NO_LOSS, False)
    begins = trained & ~np.append(False, trained[:-1])
    firsts = offsets[:-1][np.diff(offsets) > 0]
    begins[firsts] = trained[firsts]  # an answer at the start of a list does not continue another list's
    sums = np.append(0, np.cumsum(begins))
    answers: NDArray[np.int64] = sums[offsets[1:]] - sums[offsets[:-1]]
    return answers


def fit_vocabulary(conversations: Conversations, size: int) -> tuple[Conversations, float]:
    """Give tokens new ids: the most frequent ones keep an id of their own, all others share the last.

    Args:
        conversations: Conversations with the ids of a tokenizer.
        size: Number of new ids.

    Returns:
        (conversations with the new ids, share of the tokens that have the shared id).
    """
    ids, labels = conversations.values(INPUT_IDS), conversations.values(LABELS)
    counts = np.bincount(ids)
    kept = np.argsort(-counts, kind="stable")[: size - 1]
    places = np.full(len(counts), size - 1, np.int32)
    places[kept] = np.arange(len(kept), dtype=np.int32)
    mapped = np.where(labels == NO_LOSS, NO_LOSS, places[np.maximum(labels, 0)]).astype(np.int32)
    rare = 1 - float(counts[kept].sum()) / len(ids)
    return conversations.with_values(input_ids=places[ids], labels=mapped), rare


def divide(every: Conversations, settings: RunSettings) -> tuple[Conversations, Conversations]:
    """Choose the conversations that a run trains on, and those that are held out.

    Runs with the same seed, `held_out` and `only` hold out the same conversations, whatever they train on.

    Returns:
        (trained conversations, held-out conversations).

    Raises:
        SourceError: Too few would be held out, or too few are left to train on.
    """
    rows = np.arange(len(every))
    if settings.only is not None:
        if every.kinds is None:
            raise OptionError("only names values of a column: pass `by`, the name of that column")
        rows = rows[np.isin(every.kinds, settings.only)]
    held = settings.held_out
    if held < FEWEST_HELD_OUT or 2 * held > len(rows):
        raise SourceError(
            f"held_out must be at least {FEWEST_HELD_OUT} and at most half of the {len(rows):,} conversations with "
            f"loss, got {held:,}: pass more conversations, or another `held_out`"
        )
    rows = np.random.default_rng(settings.seed).permutation(rows)
    held_out, rows = every.take(rows[:held]), rows[held:]
    train = every.take(_chosen(every, rows, settings))
    return (_shuffle_answers(train, settings.seed) if settings.labels == "shuffled" else train), held_out


def _chosen(every: Conversations, rows: NDArray[np.int64], settings: RunSettings) -> NDArray[np.int64]:
    count = settings.conversations
    distinct = -(-count // settings.repeated)
    if settings.multi_turn is None:
        return np.resize(_first(rows, distinct, "conversations"), count)
    multi = every.multi_turn[rows]
    wanted = round(distinct * settings.multi_turn)
    chosen = np.concatenate(
        [
            _first(rows[multi], wanted, "multi-turn conversations"),
            _first(rows[~multi], distinct - wanted, "single-turn conversations"),
        ]
    )
    return np.resize(np.random.default_rng(settings.seed).permutation(chosen), count)


def _first(rows: NDArray[np.int64], count: int, what: str) -> NDArray[np.int64]:
    if len(rows) < count:
        raise SourceError(
            f"{count:,} {what} are asked for, and {len(rows):,} are left to train on: pass fewer `conversations`"
        )
    return rows[:count]


def _shuffle_answers(conversations: Conversations, seed: int) -> Conversations:
    """Give each answer the tokens of other answers: all trained tokens move on by about half of them.

    Lengths, turns and questions stay, so every method makes the same packs as before.
    """
    ids, labels = conversations.values(INPUT_IDS).copy(), conversations.values(LABELS).copy()
    trained = np.flatnonzero(labels != NO_LOSS)
    ids[trained] = labels[trained] = np.roll(labels[trained], len(trained) // 2 + seed)
    return conversations.with_values(input_ids=ids, labels=labels)

"""All methods at one `max_length`: their packs, counted one method after another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from packsort._progress import Stage, note_search
from packsort.comparison.advice import advise, match_batch
from packsort.comparison.config import ComparisonConfig
from packsort.comparison.inputs import Sequences
from packsort.comparison.methods import count_method
from packsort.comparison.packs import Packs, best_padded_packs, padded_packs, planned_packs, random_packs
from packsort.comparison.results import AtLength, Method
from packsort.comparison.tokenized import Windows
from packsort.errors import LengthError
from packsort.planning.plan import Plan

_ADVISED = ("padding", "random", "padding_best", "ffd")  # advice rests on them; times refer to the first


class Counter:
    """Counts the methods at one `max_length`.

    Args:
        sequences: The sequences.
        limit: The limit.
        config: Options of the comparison.
        stage: Progress reporter.

    Raises:
        LengthError: A sequence cannot be planned, or all are dropped.
        OptionError: Conversations are to be cut, and the rows are none.
    """

    def __init__(self, sequences: Sequences, limit: int, config: ComparisonConfig, stage: Stage) -> None:
        self._whole, self._limit, self._config, self._stage = sequences, limit, config, stage
        self._packed = sequences
        self._windows: Windows | None = None
        if config.overlong == "split_turns":
            self._packed, self._windows = sequences.windows(limit)
        self._greedy = self._packed.plan(config.plan("ffd", limit))
        self._fewest = self._search() if "optimal" in config.methods else None

    def count(self) -> AtLength:
        """Count all methods, and recommend one."""
        config = self._config
        packed = self._in_training_order(self._packed)
        whole = packed if self._windows is None else self._in_training_order(self._whole)
        found: dict[str, Method] = {}
        for name in (*_ADVISED, *(one for one in config.methods if one not in _ADVISED)):
            base = found["padding"].with_masks.cost if found else None
            if name == "random":
                packs = random_packs(whole[0], self._greedy, whole[1])
            else:
                packs = self._with_cuts(self._whole_packs(name, *packed))
            found[name] = count_method(
                name, packs, self._limit, config.batch_size, config.world_size, config.model, base
            )
        filled, flags = self._whole.filled, self._whole.multi_turn
        multi_turn = None if flags is None else int(flags[filled].sum())
        advice = advise(found, self._limit, int(filled.sum()), multi_turn, config)
        # The recommended method stands beside greedy packing, so that no screen is too narrow for it.
        shown = dict.fromkeys(("ffd", advice.choice, *config.methods))
        return AtLength(
            max_length=self._limit,
            methods={name: found[name] for name in shown},
            advice=advice,
            batch=match_batch(found["ffd"].samples.mean, config.batch_size, config.world_size),
        )

    def _whole_packs(self, name: str, lengths: NDArray[np.int64], flags: NDArray[np.bool_] | None) -> Packs:
        config = self._config
        if name == "padding_best":
            budget = config.batch_size * self._limit
            return best_padded_packs(lengths, self._greedy, budget, config.seed, flags)
        if name in ("padding", "padding_fixed"):
            return padded_packs(lengths, self._greedy, config.batch_size if name == "padding" else None, flags)
        return planned_packs(self._plan(name), lengths, flags)

    def _plan(self, name: str) -> Plan:
        if name == "ffd":
            return self._greedy
        if name == "optimal":
            assert self._fewest is not None
            return self._fewest
        multi_turn = self._packed.multi_turn
        columns = {}
        if multi_turn is not None:
            columns = {"only_single": {"alone": multi_turn}, "hybrid": {"splittable": ~multi_turn}}.get(name, {})
        return self._packed.plan(self._config.plan(name, self._limit, **columns))

    def _search(self) -> Plan:
        with self._stage("searching for the fewest packs") as advance:
            config = self._config.plan("optimal", self._limit)
            return self._packed.plan(replace(config, on_progress=note_search(advance)))

    def _with_cuts(self, packs: Packs) -> Packs:
        """Count the conversations that were cut between turns before they were packed."""
        windows, flags = self._windows, self._whole.multi_turn
        if windows is None:
            return packs
        return replace(
            packs,
            split=packs.split + windows.num_split,
            tokens_lost=windows.tokens_left_out,
            broken=None if flags is None else int((flags & (self._whole.lengths > self._limit)).sum()),
        )

    def _in_training_order(self, sequences: Sequences) -> tuple[NDArray[np.int64], NDArray[np.bool_] | None]:
        """Return lengths and turns in training order, without sequences that are dropped as too long."""
        lengths, flags = sequences.shuffled
        if self._greedy.num_dropped:
            kept = lengths <= self._limit
            lengths, flags = lengths[kept], None if flags is None else flags[kept]
        if not len(lengths):
            raise LengthError(
                f"all {sequences.filled.sum()} sequences are longer than max_length {self._limit}, and overlong='drop' "
                "leaves nothing to compare: pass a longer max_length, or overlong='truncate'"
            )
        return lengths, flags

"""The second pass, as the driver orders it: it holds counts, the plan and references; rows never pass through it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from typing import Any

import ray

from packsort import _core
from packsort._progress import Stage
from packsort.gathering.fillers import Fillers
from packsort.planning.counted import CountedPlan
from packsort.planning.length_counts import CountsOfLengths
from packsort.ray.exchange import FAN_OUT, Reading, scatter, scatter_again, token_schema
from packsort.ray.first_pass import Surveyed
from packsort.ray.kept import all_texts, no_values
from packsort.ray.memory import TaskMemory
from packsort.ray.numbering import counts_before, fingerprint
from packsort.ray.remote import Ref, Traffic
from packsort.ray.shards import ShardOrder, WrittenShard, no_packs, recount, write
from packsort.ray.survey import uneven_columns
from packsort.schema import LABELS
from packsort.shards.config import ShardConfig
from packsort.shards.directory import OutputDirectory
from packsort.shards.division import count_shards, shard_schema
from packsort.shards.manifest import ShardInfo, shard_names
from packsort.sources.sequence_columns import SequenceColumns
from packsort.tokenization.info import digest


class Exchange:
    """The second pass: sequences go to their shards, which are written.

    Args:
        directory: The directory.
        surveyed: The source after the first pass.
        planned: The plan.
        config: Options of the shards.
        fillers: Tokens of separators and padding.
        memory: Sizes of tasks.
        traffic: Counter of what passes through the driver.

    Attributes:
        schema: Schema of the shards.
        uneven: List columns that are left out.
        dictionaries: Texts of the columns of text that packs keep.
    """

    def __init__(
        self,
        directory: OutputDirectory,
        surveyed: Surveyed,
        planned: CountedPlan,
        config: ShardConfig,
        fillers: Fillers,
        memory: TaskMemory,
        traffic: Traffic,
    ) -> None:
        self._directory, self._surveyed, self._plan, self._config = directory, surveyed, planned, config
        self._fillers, self._memory, self._traffic = fillers, memory, traffic
        self.uneven = uneven_columns(surveyed.surveys)
        self.roles = surveyed.roles
        self._read = surveyed.schema
        self._packed = [name for name in self.roles.lists if name not in self.uneven]
        self._tokens = token_schema(self._read, self._packed)
        kept = SequenceColumns(no_values(self._read, config.keep))
        self.dictionaries = all_texts(one.texts for one in surveyed.surveys)
        packs = no_packs(self._tokens, planned, fillers, kept)
        self.schema = shard_schema(packs.schema, planned, self.dictionaries)
        self._before: list[CountsOfLengths] = list(
            counts_before(
                [one.counts for one in surveyed.surveys], planned.longest, truncates=config.plan.overlong == "truncate"
            )
        )
        traffic.sending(planned)
        self._plan_ref = ray.put(planned)
        count = count_shards(self._tokens, planned, config.shard_size)
        self._starts = [planned.num_packs * at // count for at in range(count + 1)]
        self._names = shard_names(count, config.format)

    def fingerprint(self) -> str:
        """Return the fingerprint of the plan of all lengths."""
        rows = [stretch.rows for stretch in self._surveyed.stretches]
        self._traffic.sending(self._before, rows)
        found = fingerprint.remote(self._plan_ref, self._before, rows, self._memory.ids_a_pass, *self._surveyed.lengths)
        return str(self._traffic.fetch(found))

    def run_id(self, plan_fingerprint: str) -> str:
        """Return an id that two runs share only if they write the same shards."""
        rows = [survey.digest for survey in self._surveyed.surveys]
        facts = [_core.__version__, "ray", rows, plan_fingerprint, str(self._config.recorded(self._fillers))]
        return digest(json.dumps(facts))

    def write(self, finished: dict[str, ShardInfo], stage: Stage) -> list[WrittenShard]:
        """Write all shards but those that an earlier run finished, and return the records of all, in order."""
        orders = [
            ShardOrder(name, self._directory.place_of(name), start, stop, self._directory.out / name)
            for name, (start, stop) in zip(self._names, pairwise(self._starts), strict=True)
        ]
        counts_loss = LABELS in self._tokens.names
        written: dict[str, WrittenShard] = {}
        with stage("packing", total=self._plan.num_packs, unit="packs") as advance:
            left = [order for order in orders if order.name not in finished]
            tasks = self._submit(left, counts_loss) if left else []
            for order in orders:
                if order.name in finished and counts_loss:
                    tasks.append(recount.remote(order, finished[order.name]))
                elif order.name in finished:
                    written[order.name] = WrittenShard(finished[order.name], 0, 0)
                    advance(finished[order.name].packs)
            with closing(self._traffic.as_completed(tasks)) as ended:
                for _, shard in ended:
                    if shard.info.name not in finished:
                        self._directory.finish_elsewhere(shard.info, shard.uploaded)
                    written[shard.info.name] = shard
                    advance(shard.info.packs)
        return [written[order.name] for order in orders]

    def _submit(self, orders: Sequence[ShardOrder], counts_loss: bool) -> list[Ref]:
        """Start all tasks of the second pass, and return those that write shards."""
        pieces = self._pieces_of_shards()
        by_start = dict(zip(self._starts[:-1], pieces, strict=True))
        tasks = []
        for order in orders:
            self._traffic.sending(order)
            own = by_start[order.start]
            tasks.append(
                write.remote(order, self._plan_ref, self.schema, self._fillers, self._config.format, counts_loss, *own)
            )
        return tasks

    def _pieces_of_shards(self) -> list[list[Ref]]:
        """Start the tasks that cut stretches, and return the pieces of each shard."""
        shards = len(self._starts) - 1
        step = -(-shards // min(shards, FAN_OUT))
        coarse = [*self._starts[:-1:step], self._starts[-1]]
        ranges = self._scatter(coarse)
        if step == 1:
            return ranges
        found: list[list[Ref]] = []
        for at, own in enumerate(ranges):
            bounds = self._starts[at * step : at * step + step + 1]
            found += self._scatter_again(own, bounds)
        return found

    def _scatter(self, bounds: Sequence[int]) -> list[list[Ref]]:
        """Cut all stretches, and return the pieces of each target."""
        targets: list[list[Ref]] = [[] for _ in pairwise(bounds)]
        reading = Reading(self._config.input, self._read, self._packed, self._config.keep, self.dictionaries)
        arguments, all_bounds = ray.put(reading), ray.put(list(bounds))
        self._traffic.sending(reading, bounds)
        cut = scatter.options(num_returns=len(targets))
        for stretch, refs, before in zip(self._surveyed.stretches, self._surveyed.refs, self._before, strict=True):
            self._traffic.sending(stretch, before)
            _spread(cut.remote(stretch, arguments, all_bounds, self._plan_ref, before, *refs), targets)
        return targets

    def _scatter_again(self, pieces: Sequence[Ref], bounds: Sequence[int]) -> list[list[Ref]]:
        """Cut the pieces of a range of shards, and return the pieces of each shard."""
        targets: list[list[Ref]] = [[] for _ in pairwise(bounds)]
        share = sum(one.bytes for one in self._surveyed.blocks.blocks) // FAN_OUT
        groups = max(1, min(len(pieces), share // self._memory.stretch_bytes))
        cut = scatter_again.options(num_returns=len(targets))
        for at in range(groups):
            own = pieces[len(pieces) * at // groups : len(pieces) * (at + 1) // groups]
            self._traffic.sending(bounds)
            _spread(cut.remote(self._plan_ref, list(bounds), *own), targets)
        return targets


def _spread(pieces: Any, targets: list[list[Ref]]) -> None:
    for target, piece in zip(targets, pieces if len(targets) > 1 else [pieces], strict=True):
        target.append(piece)

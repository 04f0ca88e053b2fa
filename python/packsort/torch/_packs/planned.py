"""Packs of token columns, planned and gathered on the fly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packsort._options.choices import KEPT_IN_ORDER
from packsort._pickles import rebuild
from packsort._progress import log_stage
from packsort._warn import warn
from packsort.balance.costs import CostModel
from packsort.balance.schedule import pack_costs
from packsort.gathering.fillers import Fillers, has_fillers, most_fillers
from packsort.gathering.gather import gather_rows
from packsort.gathering.planned import check_plan, plan_lengths
from packsort.gathering.segments import list_segments
from packsort.planning.plan import Plan
from packsort.schema import INPUT_IDS, LABELS, PIECE_STARTS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.sources.formats.memory import MemoryReader
from packsort.sources.sequence_columns import SequenceColumns, read_sequence_columns
from packsort.sources.source import Source
from packsort.sources.tokens.lazy import TokenColumns
from packsort.tokenization.info import TokenizerInfo
from packsort.tokenization.load import load_tokens
from packsort.torch._packs.packing_options import PackingOptions
from packsort.torch._packs.protocol import EpochPacks, PackArrays

_BLOCK = 4096  # packs listed at a time; 16 blocks hold the windows of a schedule with 1,024 packs in a step


class PlannedPacks:
    """Packs of token columns; every epoch has its own packs, as many and as long.

    Args:
        source: The token columns, or rows to tokenize.
        options: Options of the plan, and the tokenizer.
        plan: A finished plan of the source, or None to make one.

    Attributes:
        source: The token columns.
        tokenized: Whether they were made here, of rows.
        first: The plan as it was made or given, in its own epoch.
    """

    def __init__(self, source: Source, options: PackingOptions, plan: Plan | None = None) -> None:
        self._options = options
        self._given = plan
        self.name = source.name
        self._kept = read_sequence_columns(source, options.keep)
        self.source, info = _token_source(source, options)
        self.tokenized = info is not None
        self.tokens = TokenColumns(self.source, options.input.empty)
        lengths = self.tokens.lengths
        if plan is None and info is not None:
            plan = plan_lengths(source, lengths, info.columns[0], options.config, noun=info.noun)
        elif plan is None:
            plan = plan_lengths(source, lengths, INPUT_IDS, options.config)
        else:
            check_plan(plan, lengths, options.fillers.separator is not None, self.name)
        self.first = plan
        self.seed = options.config.seed
        self.in_order = plan.strategy in KEPT_IN_ORDER and plan.seed is None
        self.max_length = plan.max_length
        self.max_sequences = plan.max_sequences
        self.max_fillers = most_fillers(plan.max_sequences, plan.separator, plan.pad_to_multiple_of)
        self.pad_to_multiple_of = plan.pad_to_multiple_of
        self.fillers = options.fillers if has_fillers(plan) else None
        own = [LABELS] if self.fillers else []
        own += [SEQ_LENGTHS, SEQUENCE_IDS, *([PIECE_STARTS] if plan.has_starts else [])]
        self.kept, self.dictionaries = self._kept.names, self._kept.dictionaries
        self.columns = tuple(dict.fromkeys((*self.tokens.names, *own, *self.kept)))
        self.plan_fingerprint = plan.fingerprint

    @property
    def data_fingerprint(self) -> str:
        """Fingerprint of the tokens, and of columns that are kept."""
        return self.tokens.fingerprint + (self._kept.digest() if self.kept else "")

    @property
    def token_options(self) -> dict[str, Any]:
        """Separator, padding and columns to keep, as options."""
        fillers = self._options.fillers
        return {"separator": fillers.separator, "pad_token_id": fillers.padding, "keep": self._options.keep}

    def __len__(self) -> int:
        return self.first.num_packs

    def in_epoch(self, epoch: int) -> EpochPacks:
        """Return the packs of an epoch."""
        plan = self.first if epoch == self.first.epoch else self.first.with_epoch(epoch)
        return _PlannedEpoch(plan, self.tokens, self.fillers, self._kept)

    def check_unchanged(self) -> None:
        """Do nothing: the columns are mapped or in memory, and there is no record to compare them with."""

    def __reduce__(self) -> tuple[Any, ...]:
        # A plan that was given, or took long to find, goes along; any other is made again sooner than it is copied.
        # Tokens that were made go along in place of their rows, which may have the columns that the plan was made of.
        keep = self._given is not None or self.first.strategy == "optimal" or self.tokenized
        return rebuild, (type(self), self.source, self._options.of_pickle(), self.first if keep else None)


def _token_source(source: Source, options: PackingOptions) -> tuple[Source, TokenizerInfo | None]:
    """Return the token columns of a source, in memory if they have to be made, and how they were made."""
    if options.choice is None:
        return source, None
    tokens, info = load_tokens(source, options.choice.load(), log_stage, options.input)
    assert info is not None
    warn(info.remarks())
    if info.template_date is not None and options.input.template_date is None:
        warn(
            [
                f"the chat template reads the date, which is {info.template_date} today: pass "
                f"template_date={info.template_date!r}, or ranks and resumed runs may see another one"
            ]
        )
    table = tokens.table
    for name in options.keep:
        table = table.append_column(name, source.read([name])[name])  # for a copy, which is made of the tokens
    return Source([MemoryReader(table, source.files[0].path)]), info


class _PlannedEpoch:
    """Packs of token columns in one epoch."""

    together = 1

    def __init__(self, plan: Plan, tokens: TokenColumns, fillers: Fillers | None, kept: SequenceColumns) -> None:
        self._plan = plan
        self._tokens = tokens
        self._kept = kept
        self._fillers = fillers
        self._block = lru_cache(16)(self._list_block)

    def expect(self, numbers: Sequence[int]) -> None:
        """Do nothing: packs are gathered when they are taken."""

    def take(self, numbers: Sequence[int], *, pieces: bool = False) -> list[PackArrays]:
        """Return packs by number. Their tokens are checked, and are arrays."""
        wanted = [self._block(number // _BLOCK).pack(number % _BLOCK) for number in numbers]
        joined = wanted[0] if len(wanted) == 1 else _concatenate(wanted)
        columns = gather_rows(self._tokens, joined.ids, joined.lengths, joined.starts, self._fillers)
        packs: list[PackArrays] = []
        first = 0
        for one in wanted:
            end = first + one.num_tokens
            pack: dict[str, NDArray[Any]] = {name: values[first:end] for name, values in columns.items()}
            pack[SEQ_LENGTHS], pack[SEQUENCE_IDS] = one.lengths, one.ids
            if one.starts is not None:
                pack[PIECE_STARTS] = one.starts
            pack.update(self._kept.of_segments(one.ids))
            packs.append(pack)
            first = end
        return packs

    def pack_order(self) -> NDArray[np.int64] | None:
        """Return None: the plan is shuffled, so its packs are in order."""
        return None

    def costs(self, cost: CostModel, attention: str) -> NDArray[np.float64]:
        """Return the cost of each pack, float64 (num_packs,)."""
        return pack_costs(self._plan, cost, attention)

    def _list_block(self, index: int) -> _PackBlock:
        found = list_segments(self._plan, index * _BLOCK, (index + 1) * _BLOCK)
        ends = np.concatenate([[0], np.cumsum(found.lengths, dtype=np.int64)])[found.offsets]
        ids = found.ids.astype(np.int64)
        return _PackBlock(found.offsets.tolist(), ids, found.lengths, found.starts, np.diff(ends).tolist())


class _PackSegments(NamedTuple):
    """Segments of one pack or of several: rows, tokens and first tokens, (segments,) each; and all their tokens."""

    ids: NDArray[np.int64]
    lengths: NDArray[np.int32]
    starts: NDArray[np.int32] | None
    num_tokens: int


class _PackBlock(NamedTuple):
    """Segments of a range of packs."""

    offsets: list[int]  # (packs + 1,)
    ids: NDArray[np.int64]  # (segments,), as `lengths` and `starts`
    lengths: NDArray[np.int32]
    starts: NDArray[np.int32] | None
    num_tokens: list[int]  # (packs,)

    def pack(self, place: int) -> _PackSegments:
        """Return the segments of one pack by its place in the range."""
        own = slice(self.offsets[place], self.offsets[place + 1])
        starts = None if self.starts is None else self.starts[own]
        return _PackSegments(self.ids[own], self.lengths[own], starts, self.num_tokens[place])


def _concatenate(packs: list[_PackSegments]) -> _PackSegments:
    ids, lengths, starts, num_tokens = zip(*packs, strict=True)
    joined = None if starts[0] is None else np.concatenate(starts)
    return _PackSegments(np.concatenate(ids), np.concatenate(lengths), joined, sum(num_tokens))

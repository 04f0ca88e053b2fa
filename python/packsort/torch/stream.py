"""Batches of an endless stream of sequences, packed through a bounded buffer."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from packsort import _checks
from packsort.errors import LengthError, OptionError
from packsort.torch._buffer import PackBuffer
from packsort.torch._prefetch import Mover, Prefetcher, find_device
from packsort.torch._sequences import Columns, as_sequence, from_state, join, to_state
from packsort.torch.layouts import Batcher

Batch = dict[str, Any]
_OVERLONG = ("error", "drop", "truncate")
_VERSION = 1


class PackedStream(IterableDataset[Batch]):
    """Batches of a stream of sequences that nobody has counted: packed as they come, through a buffer.

    A plan sees all lengths; a stream sees `buffer_size` of them. Before each pack the buffer is filled up. The sequence
    that waits longest opens a pack, the longest that still fits fills it. On chat-shaped lengths at 8192 a buffer of
    10,000 makes 0.03 % more packs than first-fit decreasing of all, one of 1,000 makes 0.04 % more, next-fit 9.8 %
    (`benches/streaming.py`). No sequence waits for more than `buffer_size` packs. When the source ends, what waits is
    packed longest first.

    Batches are those of `PackedLoader`; the last of a source that ends may have fewer packs. `sequence_ids` count the
    sequences of the stream.

    **Ranks.** A stream is one rank's: give each rank a source of its own, such as
    `datasets.distributed.split_dataset_by_node` makes. Of sources that end, ranks may have unequal numbers of batches.

    **Going on.** `state_dict` has the sequences that wait in the buffer, as tensors, and where the source is: its own
    `state_dict` where it has one, as a `datasets.IterableDataset` does, else how many sequences it gave, which are
    skipped. From there on batches are the same, if the source gives the same sequences. `datasets` does not keep its
    own shuffle buffer: after `shuffle` it gives others.

    Args:
        source: sequences, in any iterable, such as a `datasets.IterableDataset`: dicts with `input_ids` and whatever
            else has a number a token (columns are those of the first), or lists or arrays of token ids.
        max_length: the most tokens a pack may hold.
        buffer_size: sequences that wait at most; with their tokens they are what memory is needed for.
        batch_size: packs of a batch.
        layout: how a batch's tensors are shaped and named.
        overlong: what becomes of longer sequences: `error`, `drop`, or `truncate` to `max_length`.
        device: where batches go, as for `PackedLoader`.
        prefetch: batches made ahead on a thread; 0 makes them when they are asked for.
        **layout_options: as for `PackedLoader`.

    Raises:
        OptionError: an option has a value that is not allowed.
        SourceError: while iterating, a sequence has no tokens, or wrong ones; LengthError: it is too long.

    Example:
        >>> from packsort.torch import PackedStream
        >>> stream = PackedStream(([i] * (1 + i % 3) for i in range(6)), max_length=4)
        >>> [batch["input_ids"].tolist() for batch in stream]
        [[[2, 2, 2, 0]], [[5, 5, 5, 3]], [[1, 1, 4, 4]]]
    """

    def __init__(
        self,
        source: Iterable[Any],
        max_length: int,
        *,
        buffer_size: int = 10_000,
        batch_size: int = 1,
        layout: str = "flat",
        overlong: str = "error",
        device: Any = None,
        prefetch: int = 2,
        **layout_options: Any,
    ) -> None:
        if not hasattr(source, "__iter__") or isinstance(source, (str, bytes, dict)):
            raise OptionError(f"source is a {type(source).__name__}, allowed is an iterable of sequences")
        self.source = source
        self.max_length = _checks.max_length(max_length)
        self.buffer_size = _integer("buffer_size", buffer_size, 1)
        self.batch_size = _integer("batch_size", batch_size, 1)
        self.prefetch = _integer("prefetch", prefetch, 0)
        if overlong not in _OVERLONG:
            raise OptionError(f"overlong is {overlong!r}, allowed are {', '.join(map(repr, _OVERLONG))}")
        self.overlong = overlong
        self.device = find_device(device)
        self.layout = layout
        self._batcher = Batcher(layout, max_length=self.max_length, **layout_options)
        if self._batcher.needs_step:
            raise OptionError("loss weights of a stream would need the other ranks' packs, allowed is None")
        self._run: _Run | None = None
        self._state: dict[str, Any] | None = None  # where the next pass starts

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is after the batch that was received last: numbers, and tensors of what waits."""
        if self._state is not None:
            return self._state
        return _Run(self, None).state() if self._run is None else self._run.state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Lets the next pass go on where a state was taken.

        Raises:
            OptionError: the state is none of a stream, or of one with another `max_length`, `buffer_size` or
                `overlong`.
        """
        state = dict(state_dict)
        if state.get("version") != _VERSION or "waiting" not in state:
            raise OptionError("state is not one that `state_dict` of a stream gave")
        for name in ("max_length", "buffer_size", "overlong"):
            if state[name] != getattr(self, name):
                raise OptionError(
                    f"state is of a stream with {name} {state[name]!r}, this one has {getattr(self, name)!r}"
                )
        self._state, self._run = state, None

    @property
    def counts(self) -> dict[str, int]:
        """Of this pass: `packs`, `sequences` and `tokens` received, sequences `dropped` and `truncated` so far."""
        return dict(self._run.counts) if self._run is not None else dict.fromkeys(_COUNTS, 0)

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1 and not isinstance(self.source, IterableDataset):
            raise OptionError(
                f"num_workers is {worker.num_workers}, but each worker would read the whole stream: allowed is 1, or a "
                "torch or datasets IterableDataset that shares its sequences out"
            )
        self._run, self._state = _Run(self, self._state), None
        return _Pass(self._run, self._batcher, self.device, self.prefetch)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_run": None, "_state": self._state if self._run is None else self._run.state()}


_COUNTS = ("packs", "sequences", "tokens", "dropped", "truncated")


class _Run:
    """One pass over a source: what waits, and which packs are made but not yet received."""

    def __init__(self, stream: PackedStream, state: dict[str, Any] | None) -> None:
        self._source = stream.source
        self._options = {name: getattr(stream, name) for name in ("max_length", "buffer_size", "overlong")}
        self._batch_size = stream.batch_size
        self._lock = threading.Lock()  # between the thread that makes batches and who asks for the state
        self._buffer = PackBuffer(stream.max_length)
        self._waiting: dict[int, Columns] = {}
        self._given: deque[list[tuple[list[int], Columns]]] = deque()  # batches that nobody has received yet
        self._again: deque[tuple[list[int], Columns]] = deque()  # packs that were made before the state was taken
        self._names: list[str] | None = None
        self._taken = 0
        self._ended = False
        self._items: Iterator[Any] | None = None
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._source_state: Any = None
        if state is not None:
            self._restore(state)

    def batches(self) -> Iterator[list[Columns]]:
        """The packs of each batch."""
        while True:
            with self._lock:
                packs = self._next_packs()
                if not packs:
                    return
                self._given.append(packs)
            yield [pack for _, pack in packs]

    def received(self) -> None:
        """Notes that the next batch has reached who asked for it."""
        with self._lock:
            for numbers, pack in self._given.popleft():
                self.counts["packs"] += 1
                self.counts["sequences"] += len(numbers)
                self.counts["tokens"] += len(pack["input_ids"])

    def state(self) -> dict[str, Any]:
        with self._lock:
            numbers = self._buffer.numbers()
            made = [pack for packs in self._given for pack in packs] + list(self._again)
            read = self._items is not None
            own = getattr(self._source, "state_dict", None)
            return {
                "version": _VERSION,
                **self._options,
                "taken": self._taken,
                "ended": self._ended,
                "counts": dict(self.counts),
                "source": own() if own is not None and read else self._source_state,
                "waiting": {"numbers": numbers, **to_state([self._waiting[number] for number in numbers])},
                "packs": [{"numbers": numbers, **to_state(_parts(pack))} for numbers, pack in made],
            }

    def _restore(self, state: dict[str, Any]) -> None:
        self._taken, self._ended = state["taken"], state["ended"]
        self._source_state = state["source"]
        self.counts = dict(state["counts"])
        numbers, sequences = _numbered(state["waiting"])
        for number, sequence in zip(numbers, sequences, strict=True):
            self._waiting[number] = sequence
            self._buffer.add(number, len(sequence["input_ids"]))
            self._names = list(sequence)
        for one in state["packs"]:
            numbers, sequences = _numbered(one)
            self._again.append((numbers, join(sequences, numbers)))

    def _open(self) -> Iterator[Any]:
        """The source, from where it was."""
        load = getattr(self._source, "load_state_dict", None)
        if load is not None and self._source_state is not None:
            load(self._source_state)
            return iter(self._source)
        return islice(iter(self._source), self._taken, None)

    def _next_packs(self) -> list[tuple[list[int], Columns]]:
        packs: list[tuple[list[int], Columns]] = []
        while len(packs) < self._batch_size:
            if self._again:
                packs.append(self._again.popleft())
                continue
            self._fill()
            numbers = self._buffer.take(longest_first=self._ended)
            if not numbers:
                break
            packs.append((numbers, join([self._waiting.pop(number) for number in numbers], numbers)))
        return packs

    def _fill(self) -> None:
        """Takes sequences in until the buffer is full, or there are none."""
        if self._ended:
            return
        if self._items is None:
            self._items = self._open()
        while len(self._buffer) < self._options["buffer_size"]:
            try:
                item = next(self._items)
            except StopIteration:
                self._ended = True
                return
            number, self._taken = self._taken, self._taken + 1
            sequence = self._cut(as_sequence(item, number, self._names), number)
            if sequence is not None:
                self._names = list(sequence)
                self._waiting[number] = sequence
                self._buffer.add(number, len(sequence["input_ids"]))

    def _cut(self, sequence: Columns, number: int) -> Columns | None:
        limit, tokens = self._options["max_length"], len(sequence["input_ids"])
        if tokens <= limit:
            return sequence
        if self._options["overlong"] == "error":
            raise LengthError(
                f"sequence {number} of the stream has {tokens} tokens, more than max_length {limit}; "
                "overlong `drop` or `truncate` allows that",
                number,
                tokens,
            )
        if self._options["overlong"] == "drop":
            self.counts["dropped"] += 1
            return None
        self.counts["truncated"] += 1
        return {name: values[:limit] for name, values in sequence.items()}


class _Pass(Iterator[Batch]):
    """Batches of a run, made ahead."""

    def __init__(self, run: _Run, batcher: Batcher, device: Any, prefetch: int) -> None:
        self._run = run
        self._mover = None if device is None else Mover(device)
        self._batches = Prefetcher(_filled(run, batcher, self._mover), prefetch)

    def __next__(self) -> Batch:
        made = next(self._batches)
        self._run.received()
        return made if self._mover is None else self._mover.finish(made)


def _filled(run: _Run, batcher: Batcher, mover: Mover | None) -> Iterator[Any]:
    pin = mover is not None and mover.device.type == "cuda"
    for packs in run.batches():
        batch = batcher(packs, pin_memory=pin)
        yield batch if mover is None else mover.start(batch)


def _parts(pack: Columns) -> list[Columns]:
    """The sequences of a pack."""
    ends = pack["seq_lengths"].cumsum().tolist()
    made = ("seq_lengths", "sequence_ids")
    return [
        {name: values[end - length : end] for name, values in pack.items() if name not in made}
        for length, end in zip(pack["seq_lengths"].tolist(), ends, strict=True)
    ]


def _numbered(state: dict[str, Any]) -> tuple[list[int], list[Columns]]:
    return state["numbers"], from_state({name: value for name, value in state.items() if name != "numbers"})


def _integer(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise OptionError(f"{name} is {value!r}, allowed is {least} and more")
    return int(value)

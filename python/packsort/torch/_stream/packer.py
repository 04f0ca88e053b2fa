"""Packs of one pass over a source, and the state of the pass."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from packsort.schema import INPUT_IDS
from packsort.torch._stream.buffer import Buffer, InOrderBuffer, PackBuffer
from packsort.torch._stream.feed import FeedConfig, StreamFeed
from packsort.torch._stream.sequences import TokenArrays, join, numbered, numbered_state, split
from packsort.torch._stream.sources import StreamSource
from packsort.torch._stream.state import VERSION

_Pack = tuple[list[int], TokenArrays]  # the numbers of its sequences, and its columns


class StreamPacker:
    """Packs of one pass over a source: the sequences that wait, and the packs that were not received yet.

    Args:
        source: What is read.
        config: Options of what is read.
        batch_size: Packs of a batch.
        epoch: Epoch of the pass, or None if nobody has chosen one.
        state: What `state` returned in the pass to continue, or None.
        dictionaries: Texts of the columns of codes that are kept, as for `StreamFeed`.
    """

    def __init__(
        self,
        source: StreamSource,
        config: FeedConfig,
        batch_size: int,
        epoch: int | None = None,
        state: Mapping[str, Any] | None = None,
        dictionaries: dict[str, list[str]] | None = None,
    ) -> None:
        self._config = config
        self._batch_size = batch_size
        self._epoch = epoch
        self._lock = threading.Lock()  # between the thread that makes batches and a caller of `state`
        self._feed = StreamFeed(source, config, state, {} if dictionaries is None else dictionaries)
        self._buffer: Buffer
        if config.strategy == "in_order":
            self._buffer = InOrderBuffer(config.max_length, config.window)
        else:
            self._buffer = PackBuffer(config.max_length, config.buffer_size)
        self._waiting: dict[int, TokenArrays] = {}
        # Prefetched batches that nobody has received yet, and packs of a state that was loaded.
        self._unreceived: deque[list[_Pack]] = deque()
        self._restored: deque[_Pack] = deque()
        if state is not None:
            self._restore(state)

    @property
    def counts(self) -> dict[str, int]:
        """Counts of the pass."""
        return self._feed.counts

    def batches(self) -> Iterator[list[TokenArrays]]:
        """Yield the packs of each batch."""
        while True:
            with self._lock:
                packs = self._next_packs()
                if not packs:
                    return
                self._unreceived.append(packs)
                found = [pack | self._feed.kept.of_sequences(numbers) for numbers, pack in packs]
            yield found

    def note_received(self) -> None:
        """Count the next batch as received."""
        with self._lock:
            for numbers, pack in self._unreceived.popleft():
                self.counts["packs"] += 1
                self.counts["sequences"] += len(numbers)
                self.counts["tokens"] += len(pack[INPUT_IDS])
                self._feed.kept.forget(numbers)

    def state(self) -> dict[str, Any]:
        """Return the state of the pass after the last batch that was received."""
        with self._lock:
            packs = [pack for batch in self._unreceived for pack in batch] + list(self._restored)
            return {
                "version": VERSION,
                "max_length": self._config.max_length,
                "buffer_size": self._config.buffer_size,
                "overlong": self._config.overlong,
                "strategy": self._config.strategy,
                "window": self._config.window,
                "epoch": self._epoch,
                **self._feed.state(),
                "waiting": numbered_state([(number, self._waiting[number]) for number in self._buffer.numbers()]),
                "packs": [numbered_state(list(zip(numbers, split(pack), strict=True))) for numbers, pack in packs],
            }

    def _restore(self, state: Mapping[str, Any]) -> None:
        for number, sequence in zip(*self._restored_sequences(state, state["waiting"]), strict=True):
            self._waiting[number] = sequence
            self._buffer.add(number, len(sequence[INPUT_IDS]))
        for pack in state["packs"]:
            numbers, sequences = self._restored_sequences(state, pack)
            self._restored.append((numbers, join(sequences, numbers)))
        for number in self._buffer.numbers()[:1]:
            self._feed.expected[number] = self._waiting[number][INPUT_IDS]

    def _restored_sequences(self, state: Mapping[str, Any], part: Any) -> tuple[list[int], list[TokenArrays]]:
        """Return the numbers and the sequences of a part of a state."""
        numbers, sequences = numbered(part)
        if "columns" in state:
            return numbers, sequences
        read = [(number, self._feed.read_again(one, number)) for number, one in zip(numbers, sequences, strict=True)]
        kept = [(number, one) for number, one in read if one is not None]
        return [number for number, _ in kept], [one for _, one in kept]

    def _next_packs(self) -> list[_Pack]:
        packs: list[_Pack] = []
        while len(packs) < self._batch_size:
            if self._restored:
                packs.append(self._restored.popleft())
                continue
            self._read_ahead()
            numbers = self._buffer.take(ended=self._feed.ended)
            if not numbers:
                break
            packs.append((numbers, join([self._waiting.pop(number) for number in numbers], numbers)))
        return packs

    def _read_ahead(self) -> None:
        """Fill the buffer."""
        while not self._buffer.is_full and (found := self._feed.next()) is not None:
            number, sequence = found
            self._waiting[number] = sequence
            self._buffer.add(number, len(sequence[INPUT_IDS]))

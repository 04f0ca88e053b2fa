"""`PackedStream`: batches of an unbounded stream of sequences, packed through a bounded buffer."""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, Unpack, get_args

import torch
from torch.utils.data import IterableDataset, get_worker_info

from packsort import _checks
from packsort._options import (
    EmptySequences,
    InputConfig,
    Layout,
    LayoutOptions,
    LossChoice,
    OverlongInStream,
    layout_config,
    names,
)
from packsort._warn import warn
from packsort.errors import LengthError, OptionError
from packsort.schema import INPUT_IDS, LABELS, SEQ_LENGTHS, SEQUENCE_IDS
from packsort.tokenization.choice import as_choice
from packsort.tokenization.notes import Note
from packsort.tokenization.rows import RowTokenizer
from packsort.torch._buffer import PackBuffer
from packsort.torch._device import DeviceMover, choose_device, find_device
from packsort.torch._outer_loop import check_batched_once, check_shared_out_once
from packsort.torch._prefetch import Prefetcher
from packsort.torch._sequences import SequenceReader, TokenArrays, from_state, join, to_state
from packsort.torch.layouts import Batcher

Batch = dict[str, Any]
_VERSION = 1
_ROWS_AT_ONCE = 256  # rows that are tokenized in one call, for the tokenizer's threads
_COUNTS = (
    "packs",
    "sequences",
    "tokens",
    "dropped",
    "truncated",
    "empty",
    "padded",
    "padding_left_out",
    "without_loss",
)


class PackedStream(IterableDataset[Batch]):
    """Batches of a stream of sequences, packed as they arrive.

    ```python
    for batch in PackedStream(iterable, 8192):
        loss = model(**batch).loss
    ```

    A plan sees all lengths; a stream sees the `buffer_size` sequences in its buffer. Before each pack the buffer is
    filled up. The sequence that has waited longest opens a pack, and the longest sequences that still fit fill its
    room. On chat-shaped lengths at 8192 tokens, a buffer of 10,000 makes 0.03 % more packs than first-fit decreasing
    of all lengths, a buffer of 1,000 makes 0.04 % more, and next-fit 9.8 % (`benches/streaming.py`). No sequence waits
    for more than `buffer_size` packs. When the source ends, the rest is packed longest first.

    Batches are those of `PackedLoader`; the last one of a source that ends may have fewer packs. `sequence_ids` count
    the sequences of the stream.

    **Ranks.** A stream belongs to one rank. Give each rank its own source, as
    `datasets.distributed.split_dataset_by_node` makes them. If the sources end, ranks may have different numbers of
    batches.

    **Checkpoints.** `state_dict` holds the sequences in the buffer, as tensors, and the place in the source: the
    source's own `state_dict` where it has one, as a `datasets.IterableDataset` does, else the number of sequences read,
    which are skipped on resuming. Batches then continue exactly, provided that the source repeats its sequences.
    `datasets` does not save its shuffle buffer, so a source with `shuffle` does not.

    The arguments by topic: source and packing (`source`, `max_length`, `buffer_size`, `overlong`, `empty`), text
    (`tokenizer`, `loss`, `columns`, `template_date`), batches (`batch_size`, `layout`, options of the layout), device
    (`device`, `prefetch`).

    Args:
        source: Any iterable of sequences, such as a `datasets.IterableDataset`. A sequence is a dict with `input_ids`
            and other columns with a value for each token (the first sequence decides which), or a list or array of
            token ids. Padding, masks and list columns about something else are treated as in `packsort.pack`.
        max_length: Most tokens of a pack.
        buffer_size: Most sequences that wait. Their tokens are what the stream holds in memory.
        overlong: Treatment of longer sequences: `"error"`, `"drop"`, or `"truncate"` to `max_length`.
        empty: Treatment of sequences without tokens: `"error"` or `"drop"`.
        tokenizer: A `transformers` tokenizer, its folder or its Hub name, for a source of dicts with `messages`,
            `prompt` and `completion`, or `text`, which are tokenized as they are read, as `packsort.tokenize` does it.
            The state then holds the rows that are tokenized and wait.
        loss: Tokens that carry loss, as for `packsort.tokenize`. With a tokenizer.
        columns: Column of the rows for each column that packsort looks for, such as `{"messages": "chat"}`. With a
            tokenizer.
        template_date: Date that a chat template sees, such as `"2024-07-26"`; None is the day on which the pass begins,
            and stays it when the pass is resumed. With a tokenizer.
        batch_size: Packs of a batch.
        layout: Shapes and names of the tensors, as for `PackedLoader`.
        device: Device of the batches, as for `PackedLoader`.
        prefetch: Number of batches to prefetch on a thread; 0 makes each on request.
        **options: Options of the layout, as for `Batcher`, without `loss_weights`.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other.
        SourceError: While iterating, a sequence has no tokens, or wrong ones.
        LengthError: While iterating, a sequence is longer than `max_length`.

    Example:
        >>> from packsort.torch import PackedStream
        >>> stream = PackedStream(([i] * (1 + i % 3) for i in range(6)), 4)
        >>> [batch["input_ids"].tolist() for batch in stream]
        [[[2, 2, 2, 0]], [[5, 5, 5, 3]], [[1, 1, 4, 4]]]
    """

    def __init__(
        self,
        source: Iterable[Any],
        max_length: int,
        *,
        buffer_size: int = 10_000,
        overlong: OverlongInStream = "error",
        empty: EmptySequences = "error",
        tokenizer: Any = None,
        loss: LossChoice = "auto",
        columns: Mapping[str, str] | None = None,
        template_date: str | None = None,
        batch_size: int = 1,
        layout: Layout = "flat",
        device: Any = "auto",
        prefetch: int = 2,
        **options: Unpack[LayoutOptions],
    ) -> None:
        known = names(LayoutOptions) | set(inspect.signature(PackedStream).parameters)
        _checks.keywords("PackedStream", options, known)
        config = layout_config("PackedStream", layout, max_length, options)
        if config.loss_weights is not None:
            raise OptionError(
                f"loss_weights={config.loss_weights!r} does not go with `PackedStream`: the weights are normalized "
                "over the packs of all ranks, and a stream sees its own; use `PackedLoader`"
            )
        self.max_length = config.max_length
        self.buffer_size = _checks.integer("buffer_size", buffer_size, 1)
        self.batch_size = _checks.integer("batch_size", batch_size, 1)
        self.prefetch = _checks.integer("prefetch", prefetch, 0)
        self.overlong = _checks.one_of("overlong", overlong, get_args(OverlongInStream))
        self._input = InputConfig(columns=columns, empty=empty, loss=loss, template_date=template_date)
        self._choice = as_choice(tokenizer)
        self._input.check_tokenizer(self._choice)
        if self._choice is not None:
            self._choice.load()  # refuses a wrong one here
        if columns is not None and self._choice is None:
            raise _checks.clash("columns", "tokenizer=None", "a stream of tokens has its columns by their own names")
        self.empty = self._input.empty
        self._device = find_device(device)
        self.layout = config.layout
        if not hasattr(source, "__iter__") or isinstance(source, (str, bytes, dict)):
            raise OptionError(f"source must be an iterable of sequences, got a {type(source).__name__}")
        self.source = source
        self._batcher = Batcher.from_config(config)
        self._packer: _StreamPacker | None = None  # of the pass that runs
        self._state: dict[str, Any] | None = None  # where the next pass starts

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last batch that was received: numbers, and tensors of the sequences that wait."""
        if self._state is not None:
            return self._state
        return _StreamPacker(self, None).state() if self._packer is None else self._packer.state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume the next pass where a state was taken.

        Args:
            state_dict: The result of `state_dict`.

        Raises:
            OptionError: The state is not one of a stream, or of a stream with another `max_length`, `buffer_size` or
                `overlong`.
        """
        state = dict(state_dict)
        if state.get("version") != _VERSION or "waiting" not in state:
            raise OptionError("state must be one that `PackedStream.state_dict` returned")
        for name in ("max_length", "buffer_size", "overlong"):
            if state[name] != getattr(self, name):
                raise OptionError(
                    f"state is of a stream with {name}={state[name]!r}, this one has {name}={getattr(self, name)!r}"
                )
        of_text = state.get("rows") is not None
        if of_text != (self._choice is not None) and (of_text or state.get("columns") is not None):
            taken, given = ("with", "without") if of_text else ("without", "with")
            raise OptionError(
                f"state is of a stream {taken} a tokenizer, this one is {given}: pass the same `tokenizer`"
            )
        self._state, self._packer = state, None

    @property
    def device(self) -> torch.device:
        """Device of the batches of a pass that starts in this process now."""
        return choose_device(self._device) or torch.device("cpu")

    @property
    def counts(self) -> dict[str, int]:
        """Counts of this pass.

        `packs`, `sequences` and `tokens` received; sequences `dropped` and `truncated` because they are too long;
        `empty` ones that were dropped; `padded` ones, whose `padding_left_out` counts tokens; and those `without_loss`
        on any token, also because they were truncated.
        """
        return dict(self._packer.counts) if self._packer is not None else dict.fromkeys(_COUNTS, 0)

    def __iter__(self) -> Iterator[Batch]:
        check_shared_out_once("PackedStream", None)
        check_batched_once("PackedStream")
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1 and not isinstance(self.source, IterableDataset):
            raise OptionError(
                f"num_workers must be 0 or 1 for this source, got {worker.num_workers}: each worker would read the "
                "whole stream; for more, pass an IterableDataset of torch or datasets, which shares its sequences out"
            )
        self._packer, self._state = _StreamPacker(self, self._state), None
        return _StreamPass(self._packer, self._batcher, choose_device(self._device), self.prefetch)

    def __getstate__(self) -> dict[str, Any]:
        state = self._state if self._packer is None else self._packer.state()
        return self.__dict__ | {"_packer": None, "_state": state}


class _StreamPacker:
    """Packs of one pass over a source: the sequences that wait, and the packs that were not received yet."""

    def __init__(self, stream: PackedStream, state: dict[str, Any] | None) -> None:
        self._source = stream.source
        self._options = {name: getattr(stream, name) for name in ("max_length", "buffer_size", "overlong")}
        self._batch_size = stream.batch_size
        self._lock = threading.Lock()  # between the thread that makes batches and a caller of `state`
        self._buffer = PackBuffer(stream.max_length)
        self._waiting: dict[int, TokenArrays] = {}
        # Prefetched batches that nobody has received yet, and packs of a state that was loaded.
        self._unreceived: deque[list[tuple[list[int], TokenArrays]]] = deque()
        self._restored: deque[tuple[list[int], TokenArrays]] = deque()
        self._empty = stream.empty
        self._reader = SequenceReader(self._empty)
        self._choice, self._input = stream._choice, stream._input
        self._rows = None if self._choice is None else RowTokenizer(self._choice, self._input)
        self._chunk = min(_ROWS_AT_ONCE, stream.buffer_size)
        self._tokenized: deque[tuple[int, TokenArrays]] = deque()  # rows that were tokenized with those before
        self._failed_at: tuple[Any] | None = None  # the source's own state before rows that could not be tokenized
        self._said: set[str] = set()
        self._num_read = 0
        self._exhausted = False  # the source
        self._ended = False  # the source, and the rows that were tokenized
        self._items: Iterator[Any] | None = None
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._source_state: Any = None
        if state is not None:
            self._restore(state)

    def batches(self) -> Iterator[list[TokenArrays]]:
        """Yield the packs of each batch."""
        while True:
            with self._lock:
                packs = self._next_packs()
                if not packs:
                    return
                self._unreceived.append(packs)
            yield [pack for _, pack in packs]

    def note_received(self) -> None:
        """Count the next batch as received."""
        with self._lock:
            for numbers, pack in self._unreceived.popleft():
                self.counts["packs"] += 1
                self.counts["sequences"] += len(numbers)
                self.counts["tokens"] += len(pack[INPUT_IDS])

    def state(self) -> dict[str, Any]:
        """Return the state of the pass after the last batch that was received."""
        with self._lock:
            numbers = self._buffer.numbers()
            packs = [pack for batch in self._unreceived for pack in batch] + list(self._restored)
            return {
                "version": _VERSION,
                **self._options,
                "taken": self._num_read,
                "ended": self._ended,
                "counts": dict(self.counts),
                "columns": self._reader.columns,
                "exhausted": self._exhausted,
                "rows": None if self._rows is None else self._rows.state,
                "tokenized": _state_of(list(self._tokenized)),
                "source": self._source_place(),
                "waiting": _state_of([(number, self._waiting[number]) for number in numbers]),
                "packs": [{"numbers": numbers, **to_state(_sequences(pack))} for numbers, pack in packs],
            }

    def _restore(self, state: dict[str, Any]) -> None:
        self._num_read, self._ended = state["taken"], state["ended"]
        self._exhausted = state.get("exhausted", self._ended)
        self._source_state = state["source"]
        self.counts |= state["counts"]
        if self._choice is not None:
            self._rows = RowTokenizer(self._choice, self._input, state.get("rows"))
        if state.get("tokenized"):
            self._tokenized.extend(zip(*self._restored_sequences(state, state["tokenized"]), strict=True))
        self._reader = SequenceReader(self._empty, state.get("columns"))
        for number, sequence in zip(*self._restored_sequences(state, state["waiting"]), strict=True):
            self._waiting[number] = sequence
            self._buffer.add(number, len(sequence[INPUT_IDS]))
        for pack in state["packs"]:
            numbers, sequences = self._restored_sequences(state, pack)
            self._restored.append((numbers, join(sequences, numbers)))

    def _restored_sequences(self, state: dict[str, Any], part: dict[str, Any]) -> tuple[list[int], list[TokenArrays]]:
        """Return the numbers and the sequences of a part of a state."""
        numbers = part["numbers"]
        sequences = from_state({name: value for name, value in part.items() if name != "numbers"})
        if "columns" in state:
            return numbers, sequences
        # Version 0.1 kept masks as columns and did not apply them.
        read = [(number, self._reader.read(one, number)[0]) for number, one in zip(numbers, sequences, strict=True)]
        kept = [(number, one) for number, one in read if one is not None]
        return [number for number, _ in kept], [one for _, one in kept]

    def _source_place(self) -> Any:
        """Return the source's own state before the next item, or None if it has none."""
        own = getattr(self._source, "state_dict", None)
        if self._failed_at is not None:
            return self._failed_at[0]
        return self._source_state if own is None or self._items is None else own()

    def _open_source(self) -> Iterator[Any]:
        """Return the source's items from the place of the state on."""
        load = getattr(self._source, "load_state_dict", None)
        if load is not None and self._source_state is not None:
            load(self._source_state)
            return iter(self._source)
        return islice(iter(self._source), self._num_read, None)

    def _next_packs(self) -> list[tuple[list[int], TokenArrays]]:
        packs: list[tuple[list[int], TokenArrays]] = []
        while len(packs) < self._batch_size:
            if self._restored:
                packs.append(self._restored.popleft())
                continue
            self._read_ahead()
            numbers = self._buffer.take(longest_first=self._ended)
            if not numbers:
                break
            packs.append((numbers, join([self._waiting.pop(number) for number in numbers], numbers)))
        return packs

    def _read_ahead(self) -> None:
        """Read sequences until the buffer is full or the source ends."""
        if self._ended:
            return
        while len(self._buffer) < self._options["buffer_size"]:
            found = self._next_sequence() if self._rows is None else self._next_row(self._rows)
            if found is None:
                self._ended = True
                return
            number, sequence, padding = found
            self.counts["padded"] += padding > 0
            self.counts["padding_left_out"] += padding
            self.counts["empty"] += sequence is None
            if sequence is not None:
                sequence = self._limited(sequence, number)
            if sequence is not None:
                self._count_loss(sequence, number)
                self._waiting[number] = sequence
                self._buffer.add(number, len(sequence[INPUT_IDS]))

    def _next_sequence(self) -> tuple[int, TokenArrays | None, int] | None:
        """Return the next sequence of tokens, its number and its padding; None at the end."""
        for item in self._take(1):
            number = self._num_read - 1
            return number, *self._reader.read(item, number)
        return None

    def _next_row(self, tokenize: RowTokenizer) -> tuple[int, TokenArrays | None, int] | None:
        """Return the tokens of the next row and its number; None at the end.

        Rows are tokenized many at once. Those that are not wanted yet are part of the state, so that it continues with
        the same ones.
        """
        if not self._tokenized:
            first, place = self._num_read, self._source_place()
            try:
                items = self._take(self._chunk)
                pairs = tokenize(items, lambda row: f"row {first + row} of the stream") if items else []
            except BaseException:
                # A state that is taken now must not leave out rows that were read with the one that failed.
                self._num_read, self._exhausted, self._failed_at = first, False, (place,)
                raise
            self._tokenized.extend(
                (number, {INPUT_IDS: ids, LABELS: labels}) for number, (ids, labels) in enumerate(pairs, start=first)
            )
            self._say(tokenize.notes)
            if not items:
                return None
        number, sequence = self._tokenized.popleft()
        if not len(sequence[INPUT_IDS]):
            where = f"row {number} of the stream"
            return number, *self._reader.without_tokens(where, padding=0)
        return number, sequence, 0

    def _take(self, most: int) -> list[Any]:
        """Return the next items of the source, at least one unless it has ended."""
        if self._exhausted:
            return []
        if self._items is None:
            self._items = self._open_source()
        items = list(islice(self._items, most))
        self._num_read += len(items)
        self._exhausted = len(items) < most
        return items

    def _say(self, notes: list[Note]) -> None:
        """Warn of what was not said before."""
        new = [note for note in notes if note.kind not in self._said]
        self._said.update(note.kind for note in new)
        warn(map(str, new))

    def _count_loss(self, sequence: TokenArrays, number: int) -> None:
        """Count a sequence without loss, also one that was cut; warn of the first that was text."""
        if LABELS in sequence and not (sequence[LABELS] >= 0).any():
            if self._rows is not None and not self.counts["without_loss"]:
                warn([f"row {number} of the stream has no token that carries loss; `counts` counts such rows"])
            self.counts["without_loss"] += 1

    def _limited(self, sequence: TokenArrays, number: int) -> TokenArrays | None:
        """Return a sequence of at most `max_length` tokens, or None if it is dropped."""
        limit, tokens = self._options["max_length"], len(sequence[INPUT_IDS])
        if tokens <= limit:
            return sequence
        if self._options["overlong"] == "error":
            raise LengthError(
                f"sequence {number} of the stream has {tokens} tokens, more than max_length {limit}: "
                "pass overlong='drop' or 'truncate'",
                number,
                tokens,
            )
        if self._options["overlong"] == "drop":
            self.counts["dropped"] += 1
            return None
        self.counts["truncated"] += 1
        return {name: values[:limit] for name, values in sequence.items()}


class _StreamPass(Iterator[Batch]):
    """One pass over a stream's batches."""

    def __init__(self, packer: _StreamPacker, batcher: Batcher, device: Any, prefetch: int) -> None:
        self._packer = packer
        self._mover = None if device is None else DeviceMover(device)
        self._batches = Prefetcher(_make_batches(packer, batcher, self._mover), prefetch)

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self._packer.note_received()
        return batch if self._mover is None else self._mover.finish(batch)


def _make_batches(packer: _StreamPacker, batcher: Batcher, mover: DeviceMover | None) -> Iterator[Any]:
    pin_memory = mover is not None and mover.pin_memory
    for packs in packer.batches():
        batch = batcher(packs, pin_memory=pin_memory)
        yield batch if mover is None else mover.start(batch)


def _sequences(pack: TokenArrays) -> list[TokenArrays]:
    """Split a pack into its sequences."""
    ends = pack[SEQ_LENGTHS].cumsum().tolist()
    return [
        {name: values[end - length : end] for name, values in pack.items() if name not in (SEQ_LENGTHS, SEQUENCE_IDS)}
        for length, end in zip(pack[SEQ_LENGTHS].tolist(), ends, strict=True)
    ]


def _state_of(sequences: list[tuple[int, TokenArrays]]) -> dict[str, Any]:
    """Return numbered sequences as a state holds them."""
    return {"numbers": [number for number, _ in sequences], **to_state([one for _, one in sequences])}

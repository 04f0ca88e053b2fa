"""`PackedStream`: batches of an unbounded stream of sequences, packed through a bounded buffer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Unpack, get_args

import torch
from torch.utils.data import IterableDataset, get_worker_info

from packsort import _checks
from packsort._options.choices import (
    DEFAULT_WINDOW,
    STRATEGY_ALIASES,
    STREAM_STRATEGIES,
    EmptySequences,
    Layout,
    LossChoice,
    OverlongInStream,
    StreamStrategy,
)
from packsort._options.input import InputConfig
from packsort._options.keywords import LayoutOptions, names
from packsort._options.layout import layout_config
from packsort._pickles import restoring
from packsort.errors import OptionError
from packsort.schema import SEQ_LENGTHS, SEQUENCE_IDS
from packsort.sources.sequence_columns import check_names
from packsort.tokenization.choice import as_choice
from packsort.torch._device import DeviceMover, choose_device, find_device
from packsort.torch._outer_loop import check_batched_once, check_shared_out_once, in_dispatcher, uncut
from packsort.torch._prefetch import Prefetcher
from packsort.torch._stream.epoch import SharedEpoch
from packsort.torch._stream.feed import COUNTS, FeedConfig
from packsort.torch._stream.packer import StreamPacker
from packsort.torch._stream.sources import find_source
from packsort.torch._stream.state import check_state
from packsort.torch.layouts import Batcher

Batch = dict[str, Any]

_BUFFER_SIZE = 10_000  # sequences that wait where no number is given


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

    `strategy="in_order"` keeps the order of the source instead, for curricula and comparisons: next-fit with a
    look-ahead of `window` sequences. The packs are those of `packsort.plan(lengths, max_length, strategy="in_order",
    window=window)`, whatever the length of the stream, and at most `window` sequences and those of a pack wait.

    Batches are those of `PackedLoader`; the last one of a source that ends may have fewer packs. `sequence_ids` count
    the sequences of the stream.

    **Ranks.** A stream belongs to one rank. Give each rank its own source, as
    `datasets.distributed.split_dataset_by_node` makes them. If the sources end, ranks may have different numbers of
    batches.

    **Checkpoints.** `state_dict` holds the sequences in the buffer, as tensors, and the place in the source: the
    source's own `state_dict` where it has one, as a `datasets.IterableDataset` and `torchdata.nodes` do, else the
    number of sequences read. Those are read again and skipped on resuming, and the last of them are compared: a source
    that does not repeat its sequences is refused. A `datasets.IterableDataset` with `shuffle`, which does not save its
    shuffle buffer, MosaicML Streaming and LitData are read again as well, in the epoch of the state. Batches continue
    exactly, and later passes are whole.

    **Epochs.** `set_epoch` reaches the source. A stream without it reads its source as it is in each pass.

    The arguments by topic: source and packing (`source`, `max_length`, `strategy`, `buffer_size`, `window`, `overlong`,
    `empty`), text
    (`tokenizer`, `loss`, `columns`, `template_date`), batches (`batch_size`, `layout`, options of the layout), device
    (`device`, `prefetch`).

    Args:
        source: Any iterable of sequences that can be iterated again, such as a `datasets.IterableDataset`, or a
            function that returns an iterable, such as a generator function. A sequence is a dict with `input_ids` and
            other columns with a value for each token (the first sequence decides which), or a list or array of token
            ids. Padding, masks and list columns about something else are treated as in `packsort.pack`.
        max_length: Most tokens of a pack.
        strategy: `"ffd"` fills packs with the longest sequences of the buffer, `"in_order"` keeps the order of the
            source.
        buffer_size: Most sequences that wait, with `ffd`; None is 10,000. Their tokens are what the stream holds in
            memory.
        window: Most sequences that `in_order` takes another past, 0 for plain next-fit; None is 64.
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
        **options: Options of the layout, as for `Batcher`, without `loss_weights`. `keep` names columns with one value
            for each sequence; text becomes codes in the order in which the stream has it.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, two options contradict each other, the source can be iterated only once, or
            its `state_dict` needs arguments that are not known here.
        SourceError: While iterating, a sequence has no tokens, or wrong ones.
        LengthError: While iterating, a sequence is longer than `max_length`.

    Example:
        >>> from packsort.torch import PackedStream
        >>> stream = PackedStream([[i] * (1 + i % 3) for i in range(6)], 4)
        >>> [batch["input_ids"].tolist() for batch in stream]
        [[[2, 2, 2, 0]], [[5, 5, 5, 3]], [[1, 1, 4, 4]]]
    """

    def __init__(
        self,
        source: Iterable[Any] | Callable[[], Iterable[Any]],
        max_length: int,
        *,
        strategy: StreamStrategy = "ffd",
        buffer_size: int | None = None,
        window: int | None = None,
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
        self.strategy = _checks.one_of("strategy", strategy, STREAM_STRATEGIES, STRATEGY_ALIASES)
        in_order = strategy == "in_order"
        for name, value, clashes in (("buffer_size", buffer_size, in_order), ("window", window, not in_order)):
            if value is not None and clashes:
                way = "window says how many sequences wait" if in_order else "only strategy='in_order' looks ahead"
                raise _checks.clash(name, f"strategy={strategy!r}", way)
        size = _BUFFER_SIZE if buffer_size is None else buffer_size
        self.buffer_size = _checks.integer("buffer_size", size, 1, also=", or None")
        ahead = DEFAULT_WINDOW if window is None else window
        self.window = _checks.integer("window", ahead, 0, 2**32 - 1, ", or None") if in_order else None
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
        self._source = find_source(source)
        self.source = source
        self._config = FeedConfig(
            self.max_length,
            self.buffer_size,
            self.overlong,
            self.empty,
            self._input,
            self._choice,
            config.keep or (),
            self.strategy,
            self.window or 0,
        )
        check_names(self._config.keep)
        self._batcher = Batcher.from_config(replace(config, keep=self._config.keep))
        self._dictionaries: dict[str, list[str]] = {}
        self._epoch = SharedEpoch()  # of the next pass
        self._told_epoch: int | None = None  # that the source was told in this process
        self._packer: StreamPacker | None = None  # of the pass that runs
        self._state: dict[str, Any] | None = None  # where the next pass starts

    @property
    def kept(self) -> tuple[str, ...]:
        """Columns of batches with one value for each segment: those of `keep`, `seq_lengths` and `sequence_ids`."""
        own = tuple(name for name in self._config.keep if name not in self._batcher.config.drop_columns)
        return (*own, SEQ_LENGTHS, SEQUENCE_IDS) if own else ()

    @property
    def dictionaries(self) -> Mapping[str, Sequence[str]]:
        """Texts of each column of codes: the text of code `i` is the `i`-th. They grow while the stream is read."""
        return MappingProxyType(self._dictionaries)

    @property
    def epoch(self) -> int:
        """Epoch that `set_epoch` or a loaded state has chosen for the next pass, or 0."""
        return self._epoch.value or 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; the source's own `set_epoch` is called, if it has one.

        accelerate and `Trainer` call it before each pass. After `load_state_dict`, the epoch of the state changes
        nothing: the pass resumes where the state was taken. Any other epoch begins at the first sequence.

        Raises:
            OptionError: `epoch` is not an integer from 0 to 2**64 - 1.
        """
        epoch = _checks.seed("epoch", epoch)
        check_shared_out_once("PackedStream", None)  # workers of a DataLoader do not see who shares them out
        if self._state is not None and (self._state.get("epoch") or 0) != epoch:
            self._state = None
        self._epoch.value = epoch
        self._tell_epoch()

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last batch that was received: numbers, and tensors of the sequences that wait."""
        if self._state is not None:
            return self._state
        return (self._new_packer() if self._packer is None else self._packer).state()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Resume the next pass where a state was taken.

        Args:
            state_dict: The result of `state_dict`.

        Raises:
            OptionError: The state is not one of a stream, or of a stream with another `max_length`, `strategy`,
                `window`, `buffer_size` or `overlong`.
        """
        state = check_state(state_dict, self._config)
        self._state, self._packer = state, None
        if state.get("epoch") is not None:
            self._epoch.value = state["epoch"]
            self._tell_epoch()

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
        return dict(self._packer.counts) if self._packer is not None else dict.fromkeys(COUNTS, 0)

    def __iter__(self) -> Iterator[Batch]:
        check_shared_out_once("PackedStream", None)
        check_batched_once("PackedStream")
        worker = get_worker_info()
        if worker is not None and worker.num_workers > 1 and not isinstance(self.source, IterableDataset):
            raise OptionError(
                f"num_workers must be 0 or 1 for this source, got {worker.num_workers}: each worker would read the "
                "whole stream; for more, pass an IterableDataset of torch or datasets, which shares its sequences out"
            )
        if self._state is None and self._epoch.value != self._told_epoch:
            self._tell_epoch()  # a worker that lives on from the pass before
        self._packer, self._state = self._new_packer(self._state), None
        return _StreamPass(self._packer, self._batcher, choose_device(self._device), self.prefetch)

    def _new_packer(self, state: dict[str, Any] | None = None) -> StreamPacker:
        epoch = self._epoch.value if state is None else state.get("epoch")
        return StreamPacker(self._source, self._config, self.batch_size, epoch, state, self._dictionaries)

    def _tell_epoch(self) -> None:
        self._told_epoch = self._epoch.value
        if self._told_epoch is not None:
            self._source.set_epoch(self._told_epoch)

    def __getstate__(self) -> dict[str, Any]:
        state = self._state if self._packer is None else self._packer.state()
        return self.__dict__ | {"_packer": None, "_state": state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        with restoring("PackedStream"):
            if not isinstance(state["_config"], FeedConfig):
                raise TypeError(f"_config must not be a {type(state['_config']).__name__}")
            if state["_state"] is not None:
                check_state(state["_state"], state["_config"])
            self.__dict__.update(state)


class _StreamPass(Iterator[Batch]):
    """One pass over a stream's batches."""

    def __init__(self, packer: StreamPacker, batcher: Batcher, device: Any, prefetch: int) -> None:
        self._packer = packer
        self._mover = None if device is None else DeviceMover(device)
        self._batches = Prefetcher(_make_batches(packer, batcher, self._mover), prefetch)
        self._is_cut = in_dispatcher()

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self._packer.note_received()
        if self._mover is not None:
            batch = self._mover.finish(batch)
        return uncut(batch) if self._is_cut else batch


def _make_batches(packer: StreamPacker, batcher: Batcher, mover: DeviceMover | None) -> Iterator[Any]:
    pin_memory = mover is not None and mover.pin_memory
    for packs in packer.batches():
        batch = batcher(packs, pin_memory=pin_memory)
        yield batch if mover is None else mover.start(batch)

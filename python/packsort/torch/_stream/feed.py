"""Sequences of one pass over a source: read, tokenized, limited and counted."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort._options.choices import EmptySequences, OverlongInStream, StreamStrategy
from packsort._options.input import InputConfig
from packsort._warn import warn
from packsort.errors import LengthError, PacksortError, SourceError
from packsort.schema import INPUT_IDS, LABELS
from packsort.tokenization.choice import TokenizerChoice
from packsort.tokenization.notes import Note
from packsort.tokenization.rows import RowTokenizer
from packsort.torch._stream.kept import KeptValues
from packsort.torch._stream.sequences import SequenceReader, TokenArrays, numbered, numbered_state
from packsort.torch._stream.sources import StreamSource

_END = object()  # no item
_COMPARED = 16  # sequences that a source must repeat: one alone may be the same in another order
ROWS_AT_ONCE = 256  # rows that are tokenized in one call, for the tokenizer's threads
COUNTS = (
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


@dataclass(frozen=True)
class FeedConfig:
    """Checked options of what a stream reads.

    Attributes:
        max_length: Most tokens of a sequence.
        buffer_size: Most sequences that wait.
        overlong: Treatment of longer sequences.
        empty: Treatment of sequences without tokens.
        input: Options of what goes in.
        choice: The tokenizer of the rows, or None where they hold tokens.
        keep: Columns with one value for each sequence that packs keep.
        strategy: Rule that puts sequences into packs.
        window: Most sequences that `in_order` takes another past; 0 with `ffd`.
    """

    max_length: int
    buffer_size: int
    overlong: OverlongInStream
    empty: EmptySequences
    input: InputConfig
    choice: TokenizerChoice | None
    keep: tuple[str, ...] = ()
    strategy: StreamStrategy = "ffd"
    window: int = 0


class StreamFeed:
    """Sequences of one pass, one after another, from the beginning or from a state.

    Args:
        source: What is read.
        config: Options.
        state: What `state` returned in the pass to continue, or None.
        dictionaries: Texts of the columns of codes that are kept. New texts are added.

    Attributes:
        kept: Values of the columns that are kept, of sequences that were given or are tokenized.
        ended: Whether the source has ended, and every sequence was given.
        counts: Counts of the pass, by the names of `COUNTS`.
        expected: Tokens of sequences that were given before the state was taken, by number, the last ones among them. A
            source that is read again up to the state must repeat them.
    """

    def __init__(
        self,
        source: StreamSource,
        config: FeedConfig,
        state: Mapping[str, Any] | None,
        dictionaries: dict[str, list[str]],
    ) -> None:
        self._source = source
        self._config = config
        self._chunk = min(ROWS_AT_ONCE, config.buffer_size)
        self._tokenized: deque[tuple[int, TokenArrays]] = deque()  # rows that were tokenized with those before
        self._failed_at: tuple[Any] | None = None  # the source's own state before rows that could not be tokenized
        self._said: set[str] = set()
        self._items: Iterator[Any] | None = None
        self._place: Any = None  # where the pass begins
        self._num_read = 0
        self._exhausted = False  # the source
        self.ended = False
        self.counts = dict.fromkeys(COUNTS, 0)
        self.expected: dict[int, NDArray[Any]] = {}
        self._last: deque[tuple[int, TokenArrays]] = deque(maxlen=_COMPARED)  # the last sequences that were given
        self._reader = SequenceReader(config.empty, None if state is None else state.get("columns"))
        saved = None if state is None else state.get("rows")
        renamed = config.input.columns or {}
        self.kept = KeptValues({name: renamed.get(name, name) for name in config.keep}, dictionaries, state)
        self._rows = None if config.choice is None else RowTokenizer(config.choice, config.input, saved)
        if state is not None:
            self._num_read, self.ended = state["taken"], state["ended"]
            self._exhausted = state.get("exhausted", self.ended)
            self._place = state["source"]
            self.counts |= state["counts"]
            self._tokenized.extend(zip(*numbered(state.get("tokenized")), strict=True))
            self._last.extend(zip(*numbered(state.get("last")), strict=True))
            self.expected = {number: one[INPUT_IDS] for number, one in self._last}

    def state(self) -> dict[str, Any]:
        """Return the place in the source, and the rows that are tokenized and wait."""
        return {
            "taken": self._num_read,
            "ended": self.ended,
            "counts": dict(self.counts),
            "columns": self._reader.columns,
            "exhausted": self._exhausted,
            "rows": None if self._rows is None else self._rows.state,
            "tokenized": numbered_state(list(self._tokenized)),
            "last": numbered_state(list(self._last)),
            "source": self._source_place(),
            "kept": self.kept.state(),
        }

    def next(self) -> tuple[int, TokenArrays] | None:
        """Return the number and the tokens of the next sequence that is kept, or None at the end."""
        while not self.ended:
            found = self._next_sequence() if self._rows is None else self._next_row(self._rows)
            if found is None:
                self.ended = True
                break
            number, sequence, padding = found
            self.counts["padded"] += padding > 0
            self.counts["padding_left_out"] += padding
            self.counts["empty"] += sequence is None
            if sequence is not None:
                sequence = self._limited(sequence, number)
            if sequence is not None:
                self._count_loss(sequence, number)
                self._last.append((number, {INPUT_IDS: sequence[INPUT_IDS]}))
                return number, sequence
            self.kept.forget([number])
        return None

    def read_again(self, sequence: TokenArrays, number: int) -> TokenArrays | None:
        """Return a sequence of a state of version 0.1, which kept masks as columns and did not apply them."""
        return self._reader.read(sequence, number)[0]

    def _next_sequence(self) -> tuple[int, TokenArrays | None, int] | None:
        """Return the next sequence of tokens, its number and its padding; None at the end."""
        for item in self._take(1):
            number = self._num_read - 1
            sequence, padding = self._reader.read(self.kept.without(item), number)
            if sequence is not None:
                self.kept.read(item, number, f"sequence {number} of the stream")
            return number, sequence, padding
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
                for number, item in enumerate(items, start=first):
                    self.kept.read(item, number, f"row {number} of the stream")
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
            self._items = self._source.open(self._place, self._num_read, self._compare)
        # Not `islice`: it would ask the iterator for an iterator, with which LitData's begins anew.
        items: list[Any] = []
        while len(items) < most and (item := next(self._items, _END)) is not _END:
            items.append(item)
        self._num_read += len(items)
        self._exhausted = len(items) < most
        return items

    def _source_place(self) -> Any:
        """Return the source's own state before the next item, or None if it has none."""
        if self._failed_at is not None:
            return self._failed_at[0]
        return self._place if self._items is None else self._source.place()

    def _compare(self, number: int, item: Any) -> None:
        """Raise a SourceError if an item that is skipped is not the sequence that was read before."""
        expected = self.expected.pop(number, None)
        if expected is None:
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                if self._rows is not None:
                    ((found, _),) = self._rows([item], lambda _: f"row {number} of the stream")
                else:
                    sequence, _ = SequenceReader("drop", self._reader.columns).read(item, number)
                    found = np.zeros(0, np.int32) if sequence is None else sequence[INPUT_IDS]
            same = np.array_equal(found[: self._config.max_length], expected)
        except PacksortError:
            same = False
        if not same:
            raise SourceError(
                f"the source does not repeat its sequences: sequence {number} is not the one that the state was taken "
                "with; give the source a seed, so that it begins each time with the same sequences, or pass one that "
                "saves its place in a `state_dict`"
            )

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
        limit, tokens = self._config.max_length, len(sequence[INPUT_IDS])
        if tokens <= limit:
            return sequence
        if self._config.overlong == "error":
            raise LengthError(
                f"sequence {number} of the stream has {tokens} tokens, more than max_length {limit}: "
                "pass overlong='drop' or 'truncate'",
                number,
                tokens,
            )
        if self._config.overlong == "drop":
            self.counts["dropped"] += 1
            return None
        self.counts["truncated"] += 1
        return {name: values[:limit] for name, values in sequence.items()}

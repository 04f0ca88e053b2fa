"""Cuts conversations that are too long between turns, into windows that are conversations of their own.

A window is the conversation's leading system messages and a run of whole turns, rendered by the chat template like any
conversation: what a template makes of the first or last message, it makes of each window's. A turn is a user message
and all up to the next; what comes before the first user message belongs to the first turn.

How many turns fit is predicted from the tokens of their words and then tried, for only the template knows what a
window becomes. Rows of a batch are tried side by side, so that the tokenizer's threads have work.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort.errors import SourceError
from packsort.schema import NO_LOSS
from packsort.tokenization.encode import Encoded, Encoder, shared_tokens
from packsort.tokenization.render import LossRule, Message, Rendered, Renderer, RowError

_HEAD_ROLES = {"system", "developer"}
# Tokens and labels of a window: int32, (tokens,) each.
_Piece = tuple[NDArray[np.int32], NDArray[np.int32]]


@dataclass
class SplitCounts:
    """What was cut, and what did not fit.

    Attributes:
        split: conversations cut.
        windows: of these.
        turns_left_out: turns that are too long for a window.
        tokens_left_out: tokens of these, without system messages; all tokens of a conversation that is left out.
        rows_shortened: conversations that lack some turns.
        rows_left_out: those that lack all.
    """

    split: int = 0
    windows: int = 0
    turns_left_out: int = 0
    tokens_left_out: int = 0
    rows_shortened: int = 0
    rows_left_out: int = 0


@dataclass
class Windows:
    """Rows of a batch of which the long ones are cut.

    Attributes:
        encoded: their tokens; those of a cut row are its windows, one after another, none where no turn fits.
        pieces: windows of each row, 1 where it is not cut; int64, (rows,).
        starts: where in its row each window starts; int32, (windows of all rows,).
        counts: of the batch.
    """

    encoded: Encoded
    pieces: NDArray[np.int64]
    starts: NDArray[np.int32]
    counts: SplitCounts


@dataclass
class _Cut:
    """One conversation that is too long.

    Attributes:
        row: of the batch.
        length: tokens of it whole.
        head: the system messages it starts with.
        turns: its other messages.
        tools: of the row.
        words: tokens of the words of each turn, without what the template adds; (turns,).
        sizes: what each turn is thought to take within a window; (turns,).
        head_size: what the head is thought to take.
        windows: the first turn of each window, and the one after its last.
        found: their tokens.
        left_out: tokens of the head with each turn that is too long.
    """

    row: int
    length: int
    head: list[Message]
    turns: list[list[Message]]
    tools: list[Any] | None
    words: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    sizes: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    head_size: float = 0.0
    windows: list[tuple[int, int]] = field(default_factory=list)
    found: list[_Piece] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)

    def messages(self, first: int, end: int) -> list[Message]:
        """The conversation that the window of `turns[first:end]` is."""
        return [*self.head, *chain.from_iterable(self.turns[first:end])]


class WindowCutter:
    """Cuts the conversations of more than `limit` tokens."""

    def __init__(self, render: Renderer, encode: Encoder, limit: int) -> None:
        self._render = render
        self._encode = encode
        self._limit = limit

    def __call__(self, batch: pa.RecordBatch, encoded: Encoded, where: Callable[[int], str]) -> Windows:
        """Cuts what is too long in a batch; the rest of it is not touched.

        Args:
            batch: the rows.
            encoded: their tokens.
            where: names a row of the batch in a message.

        Raises:
            SourceError: The chat template takes a conversation, but not a window of it.
            TokenizerError: The tokenizer fails on a text.
        """
        cuts: list[_Cut] = []
        for row in np.flatnonzero(encoded.lengths > self._limit).tolist():
            messages, tools = self._render.conversation(batch, row)
            cuts.append(_Cut(row, int(encoded.lengths[row]), *_turns(messages), tools))
        if cuts:
            self._predict(cuts)
            self._find(cuts, where)
            self._take_loss_once(cuts, where)
        return _joined(encoded, cuts, self._counted(cuts, where))

    def _predict(self, cuts: list[_Cut]) -> None:
        """Sets what turns and heads are thought to take: their words, and of the rest of the row a share a message."""
        words = [_words(message) for cut in cuts for message in cut.messages(0, len(cut.turns))]
        counts = self._encode.ids(words)[1].astype(np.float64)
        start = 0
        for cut in cuts:
            turns = np.array([len(turn) for turn in cut.turns])
            head, stop = start + len(cut.head), start + len(cut.head) + int(turns.sum())
            total = max(1.0, float(counts[start:stop].sum()))
            # A template that leaves words out, such as earlier reasoning, leaves them out anywhere, for all we know.
            shown = counts[start:stop] * min(1.0, cut.length / total)
            share = max(0.0, cut.length - total) / (stop - start)
            cut.words = np.add.reduceat(shown[head - start :], np.cumsum(turns) - turns)
            cut.sizes = cut.words + turns * share
            cut.head_size = float(shown[: head - start].sum()) + len(cut.head) * share
            start = stop

    def _find(self, cuts: list[_Cut], where: Callable[[int], str]) -> None:
        """Finds the windows of all rows, a try of each row a call of the tokenizer."""
        searches = [(cut, _search(cut, self._limit)) for cut in cuts]
        waiting = [(cut, search, next(search)) for cut, search in searches]
        while waiting:
            pieces = self._tokens([(cut, window) for cut, _, window in waiting], where)
            after = []
            for (cut, search, _), piece in zip(waiting, pieces, strict=True):
                with suppress(StopIteration):
                    after.append((cut, search, search.send(piece)))
            waiting = after

    def _tokens(self, windows: list[tuple[_Cut, tuple[int, int]]], where: Callable[[int], str]) -> Iterator[_Piece]:
        """Tokens of windows."""
        texts, turns = zip(*(self._text(cut, cut.messages(*window), where) for cut, window in windows), strict=True)
        encoded = self._encode(Rendered(list(texts), list(turns)), self._render.loss_rule)
        ends = np.cumsum(encoded.lengths)[:-1]
        return zip(np.split(encoded.input_ids, ends), np.split(encoded.labels, ends), strict=True)

    def _text(
        self, cut: _Cut, messages: list[Message], where: Callable[[int], str]
    ) -> tuple[str, list[tuple[int, int]]]:
        try:
            return self._render.chat(messages, cut.tools)
        except RowError as error:
            raise SourceError(f"{where(cut.row)}: in a window of it, {error}") from error.__cause__

    def _take_loss_once(self, cuts: list[_Cut], where: Callable[[int], str]) -> None:
        """Takes no loss on what windows after the first repeat, where loss is taken on every token."""
        if self._render.loss_rule is LossRule.ASSISTANT:
            return
        for cut in cuts:
            if len(cut.found) < 2:
                continue
            head = self._head_ids(cut, where)
            for index, (ids, _) in enumerate(cut.found[1:], start=1):
                labels = ids.copy()
                labels[: shared_tokens(ids, head)] = NO_LOSS
                cut.found[index] = ids, labels

    def _head_ids(self, cut: _Cut, where: Callable[[int], str]) -> NDArray[np.int32]:
        """Tokens that all windows of a conversation start with: its system messages and tools."""
        if not cut.head and not cut.tools:
            return np.zeros(0, dtype=np.int32)
        window = cut.messages(*cut.windows[-1])
        if cut.head:
            try:
                alone = self._render.chat(cut.head, cut.tools)[0]
            except RowError:
                pass  # Many templates want a user message.
            else:
                # Others write the system prompt into the first user message: alone it is nothing.
                if _words(cut.head[-1]).strip() in alone and self._text(cut, window, where)[0].startswith(alone):
                    return self._encode.ids([alone])[0]
        # What stays the same whatever the first turn says; the opening of that turn cannot be told from it.
        at = len(cut.head)
        said = [[*window[:at], {**window[at], "content": words}, *window[at + 1 :]] for words in ("a", "b")]
        one, other = (self._encode.ids([self._text(cut, messages, where)[0]])[0] for messages in said)
        return one[: shared_tokens(one, other)]

    def _counted(self, cuts: list[_Cut], where: Callable[[int], str]) -> SplitCounts:
        counts = SplitCounts()
        for cut in cuts:
            counts.split += len(cut.windows) > 0
            counts.windows += len(cut.windows)
            counts.turns_left_out += len(cut.left_out)
            if not cut.windows:
                counts.rows_left_out += 1
                counts.tokens_left_out += cut.length
            elif cut.left_out:
                counts.rows_shortened += 1
                head = len(self._head_ids(cut, where))
                counts.tokens_left_out += sum(length - head for length in cut.left_out)
        return counts


def _turns(messages: list[Message]) -> tuple[list[Message], list[list[Message]]]:
    """The system messages a conversation starts with, and its turns, at least one."""
    at = next((index for index, message in enumerate(messages) if message["role"] not in _HEAD_ROLES), None)
    if at is None:
        return [], [messages]
    turns: list[list[Message]] = [[]]
    asked = False
    for message in messages[at:]:
        if message["role"] == "user" and asked:
            turns.append([])
        asked = asked or message["role"] == "user"
        turns[-1].append(message)
    return messages[:at], turns


def _words(message: Message) -> str:
    """Everything a message says, without its role."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)

    return "\n".join(chain.from_iterable(strings(value) for key, value in message.items() if key != "role"))


def _search(cut: _Cut, limit: int) -> Generator[tuple[int, int], _Piece, None]:
    """Finds the windows of a conversation, each with as many turns as fit, and notes them in `cut`.

    Yields:
        The first turn of a window to try, and the one after its last; takes its tokens.
    """
    before = np.concatenate([np.zeros(1), np.cumsum(cut.sizes)])  # tokens before each turn, (turns + 1,)

    def reach(tokens: float) -> int:
        """The last turn that starts at or before `tokens`."""
        return int(np.searchsorted(before, tokens, side="right")) - 1

    first, turns = 0, len(cut.turns)
    while first < turns:
        # Turns up to `fits` are known to fit, those up to `over` not to.
        fits, over, length = first, turns + 1, 0
        end = max(first + 1, reach(before[first] + limit - cut.head_size))
        while fits < end < over:
            piece = yield first, end
            length = len(piece[0])
            if length <= limit:
                fits, best = end, piece
                # Half, since a template may leave out some of a turn's words.
                if end == turns or length + cut.words[end] / 2 > limit:
                    break
                end = max(end + 1, reach(before[end] + limit - length))
            else:
                over = end
                end = max(fits + 1, reach(before[end] + limit - length))
            end = min(end, over - 1)
        if fits == first:
            cut.left_out.append(length)
            first += 1
        else:
            cut.windows.append((first, fits))
            cut.found.append(best)
            first = fits


def _joined(encoded: Encoded, cuts: list[_Cut], counts: SplitCounts) -> Windows:
    """The rows of a batch with windows in place of the rows that are cut."""
    rows = len(encoded.lengths)
    if not cuts:
        return Windows(encoded, np.ones(rows, dtype=np.int64), np.zeros(rows, dtype=np.int32), counts)
    ends = np.cumsum(encoded.lengths).tolist()
    lengths, pieces = encoded.lengths.copy(), np.ones(rows, dtype=np.int64)
    parts: list[_Piece] = []
    starts: list[NDArray[np.int32]] = []
    row = start = 0
    for cut in cuts:
        stop = ends[cut.row] - cut.length
        parts += [(encoded.input_ids[start:stop], encoded.labels[start:stop]), *cut.found]
        windows = np.array([len(ids) for ids, _ in cut.found], dtype=np.int32)
        starts += [np.zeros(cut.row - row, dtype=np.int32), np.cumsum(windows, dtype=np.int32) - windows]
        lengths[cut.row], pieces[cut.row] = windows.sum(), len(windows)
        row, start = cut.row + 1, ends[cut.row]
    parts.append((encoded.input_ids[start:], encoded.labels[start:]))
    starts.append(np.zeros(rows - row, dtype=np.int32))
    input_ids, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Windows(Encoded(input_ids, labels, lengths, encoded.merged), pieces, np.concatenate(starts), counts)

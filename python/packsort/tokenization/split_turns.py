"""Cutting of long conversations between turns, into windows.

A window is a conversation of its own: the conversation's leading system messages and a run of whole turns, rendered by
the chat template. Whatever the template does to the first or last message, it does in each window. A turn is a user
message with all messages up to the next one. Messages before the first user message belong to the first turn. In packs,
each window is a piece of its row.

The search takes as many turns as fit, window by window. Only the template knows how long a window becomes, so the
search predicts a size from the tokens of the turns' words and then renders and tokenizes the window. The rows of a
batch are searched side by side, one window of each per call, so that the tokenizer's threads have work.
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

from packsort.schema import NO_LOSS
from packsort.tokenization.encode import Encoded, Encoder, shared_tokens
from packsort.tokenization.limits import TemplateLimitError, of_row
from packsort.tokenization.messages import Conversation, Message, RowError
from packsort.tokenization.render import Rendered, Renderer
from packsort.tokenization.spans import Span
from packsort.tokenization.tally import SplitCounts

_HEAD_ROLES = {"system", "developer"}
# Token ids and labels of a window: int32, (tokens,) each.
_WindowTokens = tuple[NDArray[np.int32], NDArray[np.int32]]


@dataclass
class Windows:
    """Rows of a batch, the long ones cut into windows.

    Attributes:
        encoded: Tokens of the rows. A row that is cut has the tokens of its windows, one window after another; it is
            empty if no turn fits.
        per_row: Number of windows of each row, 1 if it is not cut: int64, (rows,).
        starts: First token of each window in its row: int32, (windows of all rows,).
        counts: Counts of the batch.
    """

    encoded: Encoded
    per_row: NDArray[np.int64]
    starts: NDArray[np.int32]
    counts: SplitCounts


@dataclass
class _Cut:
    """One conversation that is too long.

    Attributes:
        row: Its row in the batch.
        length: Tokens of the whole conversation.
        head: Its leading system messages.
        turns: Its other messages, by turn.
        whole: The conversation.
        words: Tokens of the words of each turn, without those that the template adds: (turns,).
        sizes: Predicted tokens of each turn in a window: (turns,).
        head_size: Predicted tokens of the head.
        windows: First turn of each window, and the turn after its last.
        found: Tokens of each window.
        left_out: Tokens of the head and one turn, for each turn that is too long.
    """

    row: int
    length: int
    head: list[Message]
    turns: list[list[Message]]
    whole: Conversation
    words: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    sizes: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    head_size: float = 0.0
    windows: list[tuple[int, int]] = field(default_factory=list)
    found: list[_WindowTokens] = field(default_factory=list)
    left_out: list[int] = field(default_factory=list)

    def messages(self, first: int, end: int) -> list[Message]:
        """Return the messages of the window with `turns[first:end]`."""
        return [*self.head, *chain.from_iterable(self.turns[first:end])]

    def window(self, first: int, end: int) -> Conversation:
        """Return the conversation of the window with `turns[first:end]`."""
        return self.whole.with_messages(self.messages(first, end))


class WindowCutter:
    """Cuts conversations of more than `limit` tokens.

    Args:
        render: Renderer of the rows.
        encode: Tokenizer of the rows.
        limit: The most tokens of a window.
    """

    def __init__(self, render: Renderer, encode: Encoder, limit: int) -> None:
        self._render = render
        self._encode = encode
        self._limit = limit

    def __call__(self, batch: pa.RecordBatch, encoded: Encoded, where: Callable[[int], str]) -> Windows:
        """Cut the rows of a batch that are too long, and leave the others as they are.

        Args:
            batch: The rows.
            encoded: Tokens of the rows.
            where: Names a row of the batch in a message.

        Raises:
            SourceError: The chat template accepts a conversation, but refuses a window of it.
            TokenizerError: The tokenizer fails on a text.
        """
        cuts: list[_Cut] = []
        for row in np.flatnonzero(encoded.lengths > self._limit).tolist():
            whole = self._render.conversation(batch, row)
            cuts.append(_Cut(row, int(encoded.lengths[row]), *_turns(list(whole.messages)), whole))
        if cuts:
            self._predict(cuts)
            self._find(cuts, where)
            self._take_loss_once(cuts, where)
        return _joined(encoded, cuts, self._counted(cuts, where))

    def _predict(self, cuts: list[_Cut]) -> None:
        """Predict the tokens of turns and heads: those of their words, and an equal share of the rest a message."""
        words = [_words(message) for cut in cuts for message in cut.messages(0, len(cut.turns))]
        counts = self._encode.ids(words)[1].astype(np.float64)
        start = 0
        for cut in cuts:
            turns = np.array([len(turn) for turn in cut.turns])
            head, stop = start + len(cut.head), start + len(cut.head) + int(turns.sum())
            total = max(1.0, float(counts[start:stop].sum()))
            # A template may leave words out, such as earlier reasoning. Nothing tells where, so all words shrink alike.
            shown = counts[start:stop] * min(1.0, cut.length / total)
            share = max(0.0, cut.length - total) / (stop - start)
            cut.words = np.add.reduceat(shown[head - start :], np.cumsum(turns) - turns)
            cut.sizes = cut.words + turns * share
            cut.head_size = float(shown[: head - start].sum()) + len(cut.head) * share
            start = stop

    def _find(self, cuts: list[_Cut], where: Callable[[int], str]) -> None:
        """Find the windows of all rows; each call of the tokenizer tries one window of each row."""
        searches = [(cut, _search(cut, self._limit)) for cut in cuts]
        waiting = [(cut, search, next(search)) for cut, search in searches]
        while waiting:
            tried = self._tokens([(cut, window) for cut, _, window in waiting], where)
            after = []
            for (cut, search, _), tokens in zip(waiting, tried, strict=True):
                with suppress(StopIteration):
                    after.append((cut, search, search.send(tokens)))
            waiting = after

    def _tokens(
        self, windows: list[tuple[_Cut, tuple[int, int]]], where: Callable[[int], str]
    ) -> Iterator[_WindowTokens]:
        """Render and tokenize windows."""
        texts, turns = zip(*(self._chat(cut, cut.window(*window), where) for cut, window in windows), strict=True)
        encoded = self._encode(Rendered(list(texts), list(turns)), self._render.loss_rule)
        ends = np.cumsum(encoded.lengths)[:-1]
        return zip(np.split(encoded.input_ids, ends), np.split(encoded.labels, ends), strict=True)

    def _chat(self, cut: _Cut, part: Conversation, where: Callable[[int], str]) -> tuple[str, list[Span]]:
        try:
            return self._render.chat(part)
        except (RowError, TemplateLimitError) as error:
            raise of_row(error, f"{where(cut.row)}: in a window of the conversation") from error.__cause__

    def _text(self, cut: _Cut, part: Conversation, where: Callable[[int], str]) -> str:
        try:
            return self._render.text(part)
        except (RowError, TemplateLimitError) as error:
            raise of_row(error, f"{where(cut.row)}: in a window of the conversation") from error.__cause__

    def _take_loss_once(self, cuts: list[_Cut], where: Callable[[int], str]) -> None:
        """Take the loss off the head in windows after the first, if every token carries loss."""
        if self._render.loss_rule.by_turns:
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
        """Return the tokens that all windows of a conversation start with: its system messages and tools."""
        if not cut.head and not cut.whole.tools:
            return np.zeros(0, dtype=np.int32)
        window = cut.window(*cut.windows[-1])
        if cut.head:
            try:
                alone = self._render.text(cut.whole.with_messages(cut.head))
            except RowError:
                pass  # Many templates refuse a conversation without a user message.
            else:
                # Some templates write the system prompt into the first user message. Alone it renders to nothing.
                if _words(cut.head[-1]).strip() in alone and self._text(cut, window, where).startswith(alone):
                    return self._encode.ids([alone])[0]
        # The head is what stays the same whatever the first turn says. The opening of that turn counts as part of it.
        at = len(cut.head)
        before, first, after = window.messages[:at], window.messages[at], window.messages[at + 1 :]
        said = [window.with_messages([*before, {**first, "content": words}, *after]) for words in ("a", "b")]
        one, other = (self._encode.ids([self._text(cut, part, where)])[0] for part in said)
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
    """Split a conversation into its leading system messages and its turns, at least one."""
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
    """Return all text of a message, without its role."""

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            for item in value.values() if isinstance(value, dict) else value:
                yield from strings(item)

    return "\n".join(chain.from_iterable(strings(value) for key, value in message.items() if key != "role"))


def _search(cut: _Cut, limit: int) -> Generator[tuple[int, int], _WindowTokens, None]:
    """Find the windows of a conversation, each with as many turns as fit, and store them in `cut`.

    Yields:
        The first turn of a window to try, and the turn after its last. The caller sends the window's tokens.
    """
    before = np.concatenate([np.zeros(1), np.cumsum(cut.sizes)])  # tokens before each turn, (turns + 1,)

    def reach(tokens: float) -> int:
        """Return the last turn that starts at or before `tokens`."""
        return int(np.searchsorted(before, tokens, side="right")) - 1

    first, turns = 0, len(cut.turns)
    while first < turns:
        # `turns[first:fits]` is known to fit, `turns[first:over]` is known not to.
        fits, over, length = first, turns + 1, 0
        end = max(first + 1, reach(before[first] + limit - cut.head_size))
        while fits < end < over:
            tokens = yield first, end
            length = len(tokens[0])
            if length <= limit:
                fits, best = end, tokens
                # Half, because a template may leave out some of a turn's words.
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
    """Put the windows in place of the rows that are cut."""
    per_row = (encoded.lengths > 0).astype(np.int64)  # a row without tokens has no window
    if not cuts:
        return Windows(encoded, per_row, np.zeros(per_row.sum(), dtype=np.int32), counts)
    ends = np.cumsum(encoded.lengths).tolist()
    lengths = encoded.lengths.copy()
    parts: list[_WindowTokens] = []
    starts: list[NDArray[np.int32]] = []
    row = start = 0
    for cut in cuts:
        stop = ends[cut.row] - cut.length
        parts += [(encoded.input_ids[start:stop], encoded.labels[start:stop]), *cut.found]
        windows = np.array([len(ids) for ids, _ in cut.found], dtype=np.int32)
        starts += [np.zeros(per_row[row : cut.row].sum(), dtype=np.int32), np.cumsum(windows, dtype=np.int32) - windows]
        lengths[cut.row], per_row[cut.row] = windows.sum(), len(windows)
        row, start = cut.row + 1, ends[cut.row]
    parts.append((encoded.input_ids[start:], encoded.labels[start:]))
    starts.append(np.zeros(per_row[row:].sum(), dtype=np.int32))
    input_ids, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Windows(Encoded(input_ids, labels, lengths, encoded.merged), per_row, np.concatenate(starts), counts)

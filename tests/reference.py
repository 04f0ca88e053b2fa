"""Readable, slow versions of the core's algorithms, for tests."""

from __future__ import annotations

from collections.abc import Sequence


def first_fit_decreasing(lengths: Sequence[int], max_length: int) -> list[list[int]]:
    """Pack longest first, equal lengths in input order, into the first open pack with room."""
    packs: list[list[int]] = []
    rooms: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        pack = next((pack for pack, room in enumerate(rooms) if lengths[i] <= room), len(packs))
        if pack == len(packs):
            packs.append([])
            rooms.append(max_length)
        packs[pack].append(i)
        rooms[pack] -= lengths[i]
    return packs


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

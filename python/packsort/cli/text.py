"""Numbers and pairs as a person reads them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from packsort.cli.output import line_width, shown

if TYPE_CHECKING:
    from packsort.shards.index_record import IndexRecord
    from packsort.shards.manifest import Manifest
    from packsort.sources.files.skipped import Skipped

_NARROWEST = 20  # columns that values have at least
_WORTH_SAYING = 0.002  # share of packs above the lower bound from which `optimal` is worth its seconds


def lines(pairs: list[tuple[str, str]]) -> str:
    """Return names and values, one pair per line, with the values in a column.

    Where lines have a width, long values continue on further lines of their column, else each pair has one line.

    Example:
        >>> print(lines([("packs", "3"), ("efficiency", "99.97%")]))
        packs       3
        efficiency  99.97%
    """
    pairs = [(shown(name), shown(text)) for name, text in pairs]
    names = max(len(name) for name, _ in pairs) + 2
    width = line_width()
    if width is None:
        return "\n".join(f"{name:<{names}}{text}" for name, text in pairs)
    wrap = textwrap.TextWrapper(
        width=max(width, names + _NARROWEST),
        subsequent_indent=" " * names,
        break_long_words=False,  # paths
        break_on_hyphens=False,
    )
    found = []
    for name, text in pairs:
        wrap.initial_indent = f"{name:<{names}}"
        found.append(wrap.fill(text))
    return "\n".join(found)


def rows_read(rows_by_split: Mapping[str, int], skipped: Sequence[Skipped]) -> list[tuple[str, str]]:
    """Say which splits were read, unless there is only that of training, and what was skipped.

    Args:
        rows_by_split: Rows of each split, in the order to show.
        skipped: Files that were not read.

    Example:
        >>> rows_read({"train": 9, "test": 1}, [])
        [('splits', 'train with 9 rows, test with 1')]
    """
    pairs = [("" if index else "skipped", str(one)) for index, one in enumerate(skipped)]
    if set(rows_by_split) - {"train"} or any(one.reason == "split" for one in skipped):
        first, *others = rows_by_split
        texts = [
            f"{first} with {rows_by_split[first]:,} rows",
            *(f"{one} with {rows_by_split[one]:,}" for one in others),
        ]
        text = ", ".join(texts)
        pairs.insert(0, ("splits" if others else "split", text))
    return pairs


def beside_bound(strategy: str, packs: int, lower_bound: int) -> str:
    """Say how many packs there are above the lower bound, and which strategy may need fewer."""
    above = packs - lower_bound
    if above == 0:
        return "the fewest possible"
    text = f"{above:,} ({above / lower_bound:.2%}) above the lower bound"
    if strategy in ("ffd", "bfd") and above > _WORTH_SAYING * lower_bound:
        text += f"; `--strategy optimal` may save up to {above:,}"
    return text


def in_order(window: int, most: int, mean: float, seed: int | None) -> str:
    """Say how far sequences stand from their places in the source.

    Args:
        window: Most sequences that another was taken past.
        most: Most places between where a sequence stands in the packs and in the source.
        mean: Their mean.
        seed: Seed that shuffled the packs, or None.

    Example:
        >>> in_order(64, 64, 12.3456, None)
        'that of the source, window 64; a sequence stands up to 64 places from its own, 12.3 on average'
    """
    order = "that of the source" if seed is None else f"packs shuffled by seed {seed}"
    return f"{order}, window {window:,}; a sequence stands up to {most:,} places from its own, {mean:,.1f} on average"


def order_of_rows(manifest: Manifest) -> list[tuple[str, str]]:
    """Say how far sequences stand from their places in the source, where they were packed in its order."""
    options, counts = manifest.options, manifest.counts
    if options.window is None or counts.max_displacement is None or counts.mean_displacement is None:
        return []
    return [("order", in_order(options.window, counts.max_displacement, counts.mean_displacement, options.seed))]


def index_files(index: IndexRecord) -> str:
    """Say which files packs of an index are gathered from, and how.

    Args:
        index: Record of an index-only directory.
    """
    names = [f"`{file.absolute}`" for file in index.files[:3]]
    more = f" and {len(index.files) - 3:,} more" if len(index.files) > 3 else ""
    how = "mapped" if index.is_mapped else f"read by row group, up to {index.block_bytes / 1e6:,.1f} MB at a time"
    return f"{', '.join(names)}{more}, {how}; they must stay as they are"

"""Numbers and pairs as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packsort.sources.files.skipped import Skipped

_WORTH_SAYING = 0.002  # share of packs above the lower bound from which `optimal` is worth its seconds


def lines(pairs: list[tuple[str, str]]) -> str:
    """Return names and values, one pair per line, with the values in a column."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in pairs)


def rows_read(rows_by_split: Mapping[str, int], skipped: Iterable[Skipped]) -> list[tuple[str, str]]:
    """Say which splits were read, unless all rows are of the training split, and what was skipped.

    Args:
        rows_by_split: Rows of each split.
        skipped: Files that were not read.

    Example:
        >>> rows_read({"train": 9, "test": 1}, [])
        [('splits', 'train with 9 rows, test with 1')]
    """
    pairs = [("" if index else "skipped", str(one)) for index, one in enumerate(skipped)]
    if set(rows_by_split) - {"train"}:
        first, *others = rows_by_split.items()
        text = ", ".join([f"{first[0]} with {first[1]:,} rows", *(f"{name} with {rows:,}" for name, rows in others)])
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

"""Numbers and pairs as a person reads them."""

from __future__ import annotations

_WORTH_SAYING = 0.002  # share of packs above the lower bound from which `optimal` is worth its seconds


def lines(pairs: list[tuple[str, str]]) -> str:
    """Return names and values, one pair per line, with the values in a column."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in pairs)


def beside_bound(strategy: str, packs: int, lower_bound: int) -> str:
    """Say how many packs there are above the lower bound, and which strategy may need fewer."""
    above = packs - lower_bound
    if above == 0:
        return "the fewest possible"
    text = f"{above:,} ({above / lower_bound:.2%}) above the lower bound"
    if strategy in ("ffd", "bfd") and above > _WORTH_SAYING * lower_bound:
        text += f"; `--strategy optimal` may save up to {above:,}"
    return text

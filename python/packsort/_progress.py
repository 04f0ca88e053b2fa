"""Report the progress of long calls.

A function that works in stages takes `stage`, a callable that opens one: `stage(name, total=, unit=)` returns a context
manager, which yields a function to call with the units done since its last call and an optional note.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

Advance = Callable[..., None]
"""Called with the units done since its last call, and `note=` for a text to show."""

Stage = Callable[..., AbstractContextManager[Advance]]
"""Called with a name, `total=` and `unit=`; opens a stage of the work."""

SearchProgress = Callable[[int, int, float], None]
"""Called by the search for the fewest packs with packs, their lower bound, and the gap between them."""


@contextmanager
def no_progress(name: str, *, total: int | None = None, unit: str = "") -> Iterator[Advance]:
    """No-op progress reporter."""
    yield lambda done, note="": None


def note_search(advance: Advance) -> SearchProgress:
    """Return a `SearchProgress` that shows packs and bound as the note of a stage."""
    return lambda packs, bound, gap: advance(0, f"{packs:,} packs, {gap:.3%} above the bound of {bound:,}")

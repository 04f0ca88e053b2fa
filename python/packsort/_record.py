"""Frozen dataclasses that are stored as JSON objects and can be read like dictionaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Self


class Record(Mapping[str, Any]):
    """Base of frozen dataclasses whose attributes are also items, in the order of their declaration.

    A subclass is declared with `@dataclass(frozen=True, eq=False)`, so that it equals any mapping of the same items.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True, eq=False)
        ... class Point(Record):
        ...     x: int
        ...     y: int = 0
        >>> point = Point.from_json({"x": 3})
        >>> point.x, point["y"], dict(point) == point
        (3, 0, True)
    """

    def __getitem__(self, name: str) -> Any:
        if name not in set(self):
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (field.name for field in fields(self))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(fields(self))  # type: ignore[arg-type]

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Self:
        """Return the record that a JSON object holds.

        Args:
            facts: The object. Items that the record does not declare are left out: later versions may add some.

        Raises:
            TypeError: An item without a default is missing, or `facts` is no mapping.
        """
        if not isinstance(facts, Mapping):
            raise TypeError(f"expected an object, got {facts!r}")
        return cls(**{field.name: facts[field.name] for field in fields(cls) if field.name in facts})  # type: ignore[arg-type]

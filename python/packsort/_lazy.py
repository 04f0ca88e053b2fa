"""Attributes that are computed on first use, without a lock.

`functools.cached_property` of Python 3.11 holds one lock for all instances of a class while it computes. Threads then
wait for each other's plans, and a child that is forked meanwhile waits forever for a thread that it does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar, overload

T = TypeVar("T")


class lazy_property(Generic[T]):  # noqa: N801 - used like `property`
    """Property that is computed on first use and kept in the instance.

    Threads that ask at once may compute it twice; all get the value of the first that is done.

    Args:
        compute: Method that computes the value, and always the same value.

    Example:
        >>> class Circle:
        ...     def __init__(self, radius):
        ...         self.radius = radius
        ...     @lazy_property
        ...     def area(self):
        ...         return 3.14 * self.radius**2
        >>> circle = Circle(2)
        >>> circle.area, vars(circle)
        (12.56, {'radius': 2, 'area': 12.56})
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> Self | T:
        if instance is None:
            return self
        # Not a data descriptor, so from now on the instance's own attribute is found first. `setdefault` is atomic.
        value: T = vars(instance).setdefault(self._name, self._compute(instance))
        return value

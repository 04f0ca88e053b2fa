"""Clock of chat templates, stopped at the start of one day so that all rows of a run see the same date."""

from __future__ import annotations

from datetime import date, datetime, time


class Clock:
    """Start of a day, in place of the time at which a template is rendered.

    Args:
        day: The date, such as `2024-07-26`. None is today.

    Attributes:
        day: The date.
        was_read: Whether a template has read it.

    Example:
        >>> clock = Clock("2024-07-26")
        >>> clock.strftime_now("%d %B %Y"), clock.was_read
        ('26 July 2024', True)
    """

    def __init__(self, day: str | None = None) -> None:
        found = date.today() if day is None else date.fromisoformat(day)
        self.day = found.isoformat()
        self.was_read = False
        self._start = datetime.combine(found, time())

    def strftime_now(self, format: str) -> str:
        """Format the start of the day; transformers gives templates a function of this name."""
        self.was_read = True
        return self._start.strftime(format)

"""Facts about a store's objects: answers that were given once stay the same while a source is opened."""

from __future__ import annotations

from collections.abc import Iterable

from packsort._stores.store import ObjectInfo, Store


class Listing:
    """Objects and folders of a store, as they were found.

    Args:
        store: The store.

    Attributes:
        store: As given.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._objects: dict[str, ObjectInfo] = {}
        self._folders: set[str] = set()
        self._missing: set[str] = set()
        self._tops: list[str] = []

    def add(self, url: str, facts: ObjectInfo) -> None:
        """Note an object."""
        self._objects[url] = facts

    def add_folder(self, url: str) -> bool:
        """Note a folder; return whether it is new."""
        new = url not in self._folders
        self._folders.add(url)
        return new

    def close(self, top: str) -> None:
        """Note that everything under a folder is known."""
        self._tops.append(top.rstrip("/") + "/")

    def is_complete(self, folder: str) -> bool:
        """Return whether everything under a folder is known."""
        return any(f"{folder.rstrip('/')}/".startswith(top) for top in self._tops)

    def under(self, top: str) -> Iterable[str]:
        """Return the URLs of the objects under a folder that are known."""
        start = top.rstrip("/") + "/"
        return [url for url in self._objects if url.startswith(start)]

    def info(self, url: str) -> ObjectInfo | None:
        """Return the facts of an object, or None for a folder.

        Raises:
            FileNotFoundError: There is neither.
            OSError: The store does not answer.
        """
        if url in self._objects:
            return self._objects[url]
        if url in self._folders:
            return None
        if url in self._missing or any(url.startswith(top) for top in self._tops):
            raise FileNotFoundError(url)
        try:
            facts = self.store.info(url)
        except FileNotFoundError:
            self._missing.add(url)
            raise
        if facts is None:
            self._folders.add(url)
        else:
            self._objects[url] = facts
        return facts

"""Sources of a stream: each pass begins at the first item, or where a state was taken.

There are four kinds:

- A source with a `state_dict` of its own continues from it: `StatefulSource`, `DatasetsSource`.
- Any other iterable is read from its beginning, and the items that were read before are skipped: `StreamSource`.
- The `state_dict` of MosaicML Streaming and LitData counts the samples of all ranks, which a stream does not know. It
  tells the epoch of a pass; the items are skipped: `EpochSource`.
- A `datasets.IterableDataset` that shuffles loses its shuffle buffer in its own state, so its items are skipped too:
  `ReadAgainSource`.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from packsort._pickles import said
from packsort.errors import OptionError, PacksortError, SourceError
from packsort.torch._state_checks import integer

Inspect = Callable[[int, Any], None]
"""Called with the number of each item that is skipped, and the item."""

# Required arguments of the `state_dict` of MosaicML Streaming and LitData, and those that describe the first sample.
_AT_THE_BEGINNING = {
    ("num_samples", "from_beginning"): (0, True),
    ("num_samples_yielded", "num_workers", "batch_size"): (0, 1, 1),
}


class StreamSource:
    """Iterable without a state: items that were read before are skipped.

    Args:
        source: An iterable that can be iterated again, or a function that returns an iterable.
    """

    def __init__(self, source: Any) -> None:
        self._source = source

    def set_epoch(self, epoch: int) -> None:
        """Tell the source the epoch of its next pass, if it takes one."""
        if hasattr(self._source, "set_epoch"):
            self._source.set_epoch(epoch)

    def open(self, place: Any, taken: int, inspect: Inspect) -> Iterator[Any]:
        """Begin a pass.

        Args:
            place: What `place` returned in the pass to continue, or None.
            taken: Number of items that were read in that pass.
            inspect: Called with each item that is skipped.

        Raises:
            SourceError: The source has fewer items than were read.
        """
        items: Iterator[Any] = iter(self._source) if hasattr(self._source, "__iter__") else iter(self._source())
        for number in range(taken):
            try:
                item = next(items)
            except StopIteration:
                raise SourceError(
                    f"the source ended after {number:,} sequences, but the state is of a stream that had read "
                    f"{taken:,}: resume it on the same source"
                ) from None
            inspect(number, item)
        return items

    def place(self) -> Any:
        """Return the source's own state after the last item, or None if the items are counted."""
        return None

    def _load(self, place: Any) -> None:
        """Give the source its own state.

        Raises:
            SourceError: It does not take it.
        """
        try:
            self._source.load_state_dict(copy.deepcopy(place))
        except PacksortError:
            raise
        except Exception as error:
            raise SourceError(
                f"the source does not take the state that it is resumed with ({said(error)}): resume "
                "it on the same source"
            ) from error


class EpochSource(StreamSource):
    """Source whose state tells its epoch, and whose items are skipped.

    Args:
        source: The source.
        arguments: Arguments of its `state_dict` that describe the first sample of the pass.
    """

    def __init__(self, source: Any, arguments: tuple[Any, ...]) -> None:
        super().__init__(source)
        self._arguments = arguments

    def open(self, place: Any, taken: int, inspect: Inspect) -> Iterator[Any]:
        """Begin a pass, in the epoch of the place."""
        if place is not None:
            self._load(place)
        return super().open(None, taken, inspect)

    def place(self) -> Any:
        """Return the state of the beginning of this pass."""
        return copy.deepcopy(self._source.state_dict(*self._arguments))


class StatefulSource(StreamSource):
    """Source that saves its place.

    Args:
        source: The source.
        rewinds: Whether a pass after one that was resumed begins at the first item by itself.
    """

    def __init__(self, source: Any, *, rewinds: bool) -> None:
        super().__init__(source)
        self._rewinds = rewinds
        self._beginning: tuple[Any, ...] | None = None  # the source's state before any pass, or nothing if it had none
        self._moved = False  # a state was loaded, and passes may begin there

    def open(self, place: Any, taken: int, inspect: Inspect) -> Iterator[Any]:
        """Begin a pass at the place."""
        if not self._rewinds and self._beginning is None:
            try:
                self._beginning = (copy.deepcopy(self._source.state_dict()),)
            except Exception:  # `_rewind` says so
                self._beginning = ()
        if place is not None:
            self._load(place)
            self._moved = True
            return iter(self._source)
        if self._moved and not self._rewinds:
            self._rewind()
        return super().open(None, taken, inspect)

    def place(self) -> Any:
        """Return the source's own state."""
        return copy.deepcopy(self._source.state_dict())

    def _rewind(self) -> None:
        """Undo the state that was loaded: a source may begin each later pass from it."""
        if not self._beginning:
            raise SourceError(
                "the source was resumed and cannot begin anew, for it had no state before its first pass: make the "
                "stream and its source again for the next pass"
            )
        self._source.load_state_dict(copy.deepcopy(self._beginning[0]))
        self._moved = False


class DatasetsSource(StatefulSource):
    """A `datasets.IterableDataset`, which takes a state only in the epoch of that state."""

    def __init__(self, source: Any) -> None:
        super().__init__(source, rewinds=False)

    def open(self, place: Any, taken: int, inspect: Inspect) -> Iterator[Any]:
        """Begin a pass at the place, in its epoch."""
        if isinstance(place, Mapping) and "epoch" in place:
            self._source.set_epoch(integer("epoch of the source's state", place["epoch"]))
        return super().open(place, taken, inspect)

    def _rewind(self) -> None:
        self._source.load_state_dict(None)
        self._moved = False


class ReadAgainSource(StreamSource):
    """A `datasets.IterableDataset` whose own state is not exact: the seed and the epoch repeat its order."""

    def open(self, place: Any, taken: int, inspect: Inspect) -> Iterator[Any]:
        """Begin a pass in the epoch of the place."""
        if isinstance(place, Mapping) and "epoch" in place:
            self._source.set_epoch(integer("epoch of the source's state", place["epoch"]))
        return super().open(None, taken, inspect)

    def place(self) -> Any:
        """Return the epoch of this pass."""
        return {"epoch": int(self._source.epoch)}


def find_source(source: Any) -> StreamSource:
    """Return a source as a stream reads it.

    Args:
        source: An iterable, or a function that returns one.

    Raises:
        OptionError: The source is no iterable, can be iterated only once, or has a state that nobody here can save.
    """
    iterable = hasattr(source, "__iter__") and not isinstance(source, (str, bytes, Mapping))
    if isinstance(source, type) or not (iterable or callable(source)):
        raise OptionError(f"source must be an iterable of sequences, got a {type(source).__name__}")
    source = _without_restart(source)
    if hasattr(source, "state_dict") and hasattr(source, "load_state_dict"):
        required = _required_arguments(source.state_dict)
        if required in _AT_THE_BEGINNING:
            return EpochSource(source, _AT_THE_BEGINNING[required])
        if required:
            raise OptionError(
                f"source must have a `state_dict` without arguments, got one that needs {', '.join(required)}: pass a "
                "function that returns the source, such as `lambda: source`, to skip what was read instead"
            )
        if _module(source, "datasets") and isinstance(source, sys.modules["datasets"].IterableDataset):
            return ReadAgainSource(source) if _loses_its_place(source) else DatasetsSource(source)
        return StatefulSource(source, rewinds=_module(source, "torchdata"))
    if isinstance(source, Iterator):
        raise OptionError(
            f"source must be iterable more than once, got a {type(source).__name__}, which a resumed run or a second "
            "pass cannot read: pass the function that makes it, such as `lambda: read(path)` for `read(path)`"
        )
    return StreamSource(source)


def _without_restart(source: Any) -> Any:
    """Return a node of torchdata as a loader that ends where its nodes end.

    A `Loader` restarts when it is resumed at the end, which would read everything again.
    """
    nodes = sys.modules.get("torchdata.nodes")
    if nodes is not None and isinstance(source, (nodes.BaseNode, nodes.Loader)):
        root = source.root if isinstance(source, nodes.Loader) else source
        return nodes.Loader(root, restart_on_stop_iteration=False)
    return source


def _required_arguments(function: Any) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin that does not say
        return ()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return tuple(one.name for one in parameters if one.default is one.empty and one.kind not in kinds)


def _module(source: Any, name: str) -> bool:
    return any(kind.__module__.partition(".")[0] == name for kind in type(source).__mro__)


def _loses_its_place(dataset: Any) -> bool:
    """Return whether the own state of a `datasets.IterableDataset` is not exact.

    It leaves out what waits in a shuffle buffer. In datasets 4 it also leaves out rows of a batched `map`, which 5.2
    keeps.
    """
    version = tuple(int(part) for part in sys.modules["datasets"].__version__.split(".")[:2])
    waiting: list[Any] = [dataset._ex_iterable]
    while waiting:
        one = waiting.pop()
        if "Shuffled" in type(one).__name__ and hasattr(one, "buffer_size"):
            return True
        if version < (5, 2) and getattr(one, "batched", False):
            return True
        inner = [getattr(one, "ex_iterable", None), *(getattr(one, "ex_iterables", None) or ())]
        waiting.extend(x for x in inner if x is not None)
    return False

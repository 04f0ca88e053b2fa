"""Open the files of a source, and report how far that is: JSON and CSV are read whole to know them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from packsort._options.input import InputConfig
from packsort._progress import Advance, current_stage, ignore
from packsort._stores import StorePath
from packsort.errors import SourceError
from packsort.sources.formats.detect import open_file
from packsort.sources.formats.reader import Reader

_FILES_AT_ONCE = 8
_WORTH_SHOWING = 32 << 20  # bytes; fewer are open before anybody looks


def open_files(paths: Sequence[Path], config: InputConfig) -> list[Reader | SourceError]:
    """Open files, and objects of stores several at a time: each takes some requests, which mostly wait.

    Args:
        paths: The files.
        config: Options of what goes in.

    Returns:
        Their readers, or the errors of files that are to be skipped.

    Raises:
        SourceError: A file cannot be opened, and none is to be skipped; or none can be opened.
    """

    def attempt(path: Path, advance: Advance = ignore) -> Reader | SourceError:
        try:
            return open_file(path, memory_map=config.memory_map, advance=advance)
        except SourceError as error:
            if config.on_error != "skip":
                raise
            return error

    if isinstance(paths[0], StorePath):
        with (
            current_stage("opening", total=len(paths), unit="files") as advance,
            ThreadPoolExecutor(min(_FILES_AT_ONCE, len(paths))) as pool,
        ):
            tried: list[Reader | SourceError] = []
            for found in pool.map(attempt, paths):
                tried.append(found)
                advance(1)
    else:
        tried = _opened(paths, attempt)
    errors = [found for found in tried if isinstance(found, SourceError)]
    if len(errors) == len(tried):
        raise errors[0]
    return tried


def _opened(
    paths: Sequence[Path], attempt: Callable[[Path, Advance], Reader | SourceError]
) -> list[Reader | SourceError]:
    """Open files of a disk; report the bytes of many, because text is read whole."""
    sizes = [_size(path) for path in paths]
    total = sum(sizes)
    if total < _WORTH_SHOWING:
        return [attempt(path, ignore) for path in paths]
    tried: list[Reader | SourceError] = []
    with current_stage("opening", total=total, unit="bytes") as advance:
        for path, size in zip(paths, sizes, strict=True):
            left = size

            def count(done: int) -> None:
                nonlocal left
                done = min(done, left)  # compressed files hold more than their size
                left -= done
                advance(done)

            tried.append(attempt(path, count))
            advance(left)
    return tried


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # opening it will say why
        return 0

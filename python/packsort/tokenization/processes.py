"""Tokenization in several processes, for more cores than one process of Python keeps busy.

Each process has a tokenizer of its own, and renders, encodes and counts whole chunks. They are started anew rather than
forked, because a fork of a process with threads may hang.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from packsort._options.input import InputConfig
from packsort._options.memory import FIXED_BYTES, check_least_memory, used_memory
from packsort._threads import start_thread
from packsort.errors import TokenizerError
from packsort.tokenization.batches import BatchTokenizer, TokenBatch
from packsort.tokenization.threads import Chunk

_PROCESS_BYTES = 512 << 20  # it takes seconds to import transformers
_BYTES_OF_ROWS = 256 << 20  # texts and tokens of the batches on their way, and of a row group that is written
_LEAST_ROWS = 50_000
_LEAST_CORES = 4
_MOST_BY_DEFAULT = 16


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to make the tokenizer of a source.

    Attributes:
        schema: Columns of the rows.
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
        config: Options of what goes in.
        keep: Other columns to copy.
        split_turns: The most tokens of a window, or None.
    """

    schema: pa.Schema
    tokenizer: Any
    config: InputConfig
    keep: Sequence[str]
    split_turns: int | None

    def make(self) -> BatchTokenizer:
        """Return the tokenizer.

        Raises:
            OptionError, SourceError, TokenizerError: As for `packsort.tokenize`.
        """
        return BatchTokenizer(self.schema, self.tokenizer, self.config, keep=self.keep, split_turns=self.split_turns)

    def on(self, date: str | None) -> Recipe:
        """Return the recipe for one day, so that a process that starts after midnight makes the same tokens."""
        return replace(self, config=replace(self.config, template_date=date))


def num_processes(wanted: int | str | None, rows: int, memory_limit: int | None = None) -> int:
    """Return how many processes tokenize; 1 is this one.

    Args:
        wanted: A number, None for 1, or `auto`: one for each core of up to 16 if there are at least 4 cores and 50,000
            rows, and no more than fit `memory_limit`.
        rows: Number of rows.
        memory_limit: Bytes of memory that this process and those may take together, or None for any number.

    Raises:
        OptionError: The limit is too small for this process, or for as many as are wanted.

    Example:
        >>> num_processes(3, 10), num_processes(None, 10**9), num_processes("auto", 10)
        (3, 1, 1)
    """
    least = used_memory() + FIXED_BYTES + _BYTES_OF_ROWS
    if memory_limit is not None:
        check_least_memory(memory_limit, least, "tokenizing")
    if wanted != "auto":
        number = int(wanted or 1)
        if memory_limit is not None and number > 1:
            least += number * _PROCESS_BYTES
            check_least_memory(
                memory_limit, least, f"{number} processes", "raise it, or pass `num_proc` for fewer processes"
            )
        return number
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = _MOST_BY_DEFAULT if memory_limit is None else (memory_limit - least) // _PROCESS_BYTES
    return max(1, min(cores, _MOST_BY_DEFAULT, most)) if cores >= _LEAST_CORES and rows >= _LEAST_ROWS else 1


def in_processes(recipe: Recipe, chunks: Iterator[Chunk], learned: Any, processes: int) -> Iterator[TokenBatch]:
    """Tokenize chunks in several processes.

    Args:
        recipe: Their tokenizer.
        chunks: The chunks. Some more than there are processes are read ahead.
        learned: What each chunk starts from.
        processes: Number of processes.

    Yields:
        The tokens of each batch, in order.

    Raises:
        SourceError: A row cannot be tokenized; the message names it.
        TokenizerError: The tokenizer fails, or cannot be given to another process; or a process has ended.
    """
    try:
        given = pickle.dumps((recipe, learned))
    except Exception as error:  # a tokenizer of a class of its own may raise anything
        raise TokenizerError(
            f"the tokenizer cannot be given to other processes ({error}): pass num_proc=None"
        ) from error
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, _start, (given,))
    waiting: deque[Future[list[TokenBatch]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(_tokenize, chunk))
            if len(waiting) > processes + 1:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool as error:
        raise TokenizerError(
            "a process that tokenizes has ended, perhaps for want of memory; or it could not start, because the script "
            "that calls packsort has no `if __name__ == '__main__':`: pass a smaller num_proc, or None"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_tokenizer: BatchTokenizer
_learned: Any


def _start(given: bytes) -> None:
    """Make the tokenizer of this process."""
    global _tokenizer, _learned
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes
    if not start_thread(_end_with_parent):
        raise RuntimeError("no thread can be started that ends this process with its parent")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    pa.set_cpu_count(1)
    recipe, _learned = pickle.loads(given)
    _tokenizer = recipe.make()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _tokenize(chunk: Chunk) -> list[TokenBatch]:
    """Tokenize a chunk in this process."""
    _tokenizer.render.learned = _learned
    batches = (_tokenizer.rendered(rows, place) for place, rows in chunk)
    return [_tokenizer.finished(batch, _tokenizer.encoded(batch)) for batch in batches]

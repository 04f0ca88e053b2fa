"""Tokenization in this process: one batch is rendered while others are encoded on the tokenizer's threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from packsort._arrow import to_numpy
from packsort.schema import INPUT_IDS, LABELS
from packsort.tokenization.batches import BatchTokenizer, Place, RenderedBatch, TokenBatch
from packsort.tokenization.encode import Encoded

# Two calls are under way: one in the Rust threads, and one whose tokens are turned into arrays.
_CALLS_AHEAD = 2

Chunk: TypeAlias = list[tuple[Place, pa.RecordBatch]]
"""Batches that follow each other in one file."""


def in_threads(
    tokenize: BatchTokenizer, chunks: Iterable[Chunk], learned: Any = None, made: pa.Table | None = None
) -> Iterator[TokenBatch]:
    """Tokenize chunks in this process.

    Args:
        tokenize: Their tokenizer.
        chunks: The chunks.
        learned: What each chunk starts from. None is what the first chunk teaches.
        made: Tokens of all rows, uncut, that are known.

    Yields:
        The tokens of each batch, in order.

    Raises:
        SourceError: A row cannot be tokenized; the message names it.
        TokenizerError: The tokenizer fails.
    """
    row = 0
    with ThreadPoolExecutor(_CALLS_AHEAD, thread_name_prefix="packsort-tokenize") as pool:
        waiting: deque[tuple[RenderedBatch, Future[Encoded]]] = deque()
        try:
            for chunk in chunks:
                if learned is not None:
                    tokenize.render.learned = learned
                for place, rows in chunk:
                    batch = tokenize.rendered(rows, place, tokens_known=made is not None)
                    if made is None:
                        call = pool.submit(tokenize.encoded, batch)
                    else:
                        call = pool.submit(_encoded, made.slice(row, len(rows)))
                    row += len(rows)
                    waiting.append((batch, call))
                    if len(waiting) > _CALLS_AHEAD:
                        batch, call = waiting.popleft()
                        yield tokenize.finished(batch, call.result())
                if learned is None:
                    learned = tokenize.render.learned
            while waiting:
                batch, call = waiting.popleft()
                yield tokenize.finished(batch, call.result())
        finally:
            for _, call in waiting:
                call.cancel()


def _encoded(table: pa.Table) -> Encoded:
    """Return tokens that were made before."""
    ids, labels = (to_numpy(table[name].combine_chunks().flatten()) for name in (INPUT_IDS, LABELS))
    lengths = to_numpy(pc.list_value_length(table[INPUT_IDS])).astype(np.int64)
    return Encoded(ids, labels, lengths)

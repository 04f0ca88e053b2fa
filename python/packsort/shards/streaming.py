"""Pass over the tokens of a source that is bigger than memory: they are counted, and written to a spool."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import xxhash

from packsort._ahead import read_ahead
from packsort._arrow import list_offsets, to_numpy
from packsort._progress import Advance
from packsort.gathering.places import Places
from packsort.gathering.spool import Spool
from packsort.shards.loss_counts import LossCounter
from packsort.sources.tokens.rows import TokenRows

_BATCHES_A_RUN = 8
_DIGEST_BYTES = 32 << 20


def fill_spool(
    spool: Spool, tokens: TokenRows, places: Places, losses: LossCounter, run_bytes: int, advance: Advance
) -> None:
    """Read all tokens, check and count them, and write them to a spool, one run while the next is read.

    Args:
        spool: The spool.
        tokens: The tokens.
        places: Packs of their rows.
        losses: Counter of the sequences without loss.
        run_bytes: Bytes of a run, approximately.
        advance: Called with the number of rows that were written.

    Raises:
        SourceError: A value is wrong, or a file has changed.
        OutputError: The spool cannot be written.
    """

    def add(first: int, table: pa.Table) -> int:
        pieces = places.of_rows(first, first + table.num_rows)
        losses.add(first, table, pieces)
        spool.add(first, table, pieces)
        return int(table.num_rows)

    waiting: Future[int] | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="packsort-spool") as pool:
        for first, table in _runs(tokens, run_bytes):
            if waiting is not None:
                advance(waiting.result())
            waiting = pool.submit(add, first, table)
            del table
        if waiting is not None:
            advance(waiting.result())


def _runs(tokens: TokenRows, run_bytes: int) -> Iterator[tuple[int, pa.Table]]:
    """Yield batches joined into runs: first row and table."""
    parts: list[pa.Table] = []
    start = size = 0
    for first, table in read_ahead(tokens.batches(run_bytes // _BATCHES_A_RUN)):
        if parts and size + table.nbytes > run_bytes:
            yield start, pa.concat_tables(parts)
            parts, size = [], 0
        if not parts:
            start = first
        parts.append(table)
        size += table.nbytes
    if parts:
        yield start, pa.concat_tables(parts)


def rows_digest(tokens: TokenRows, most_bytes: int = _DIGEST_BYTES) -> str:
    """Return a digest of token columns, whatever the batches that they come in."""
    found = {name: (xxhash.xxh3_128(), xxhash.xxh3_128()) for name in tokens.schema.names}
    for _, table in tokens.batches(most_bytes):
        for name, (lengths, values) in found.items():
            for chunk in table[name].chunks:
                lengths.update(np.diff(list_offsets(chunk)).data)
                values.update(np.ascontiguousarray(to_numpy(chunk.flatten())).data)
    parts = [(name, str(tokens.schema.field(name).type), *(part.hexdigest() for part in found[name])) for name in found]
    return xxhash.xxh3_128_hexdigest(repr(parts).encode())

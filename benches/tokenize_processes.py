"""Processor time of `packsort tokenize --num-proc`, of the process that reads and writes, and of those that tokenize.

Their ratio is the number of processes that one keeps busy. Times are processor times, which other work on the machine
disturbs less than a clock. What starting costs is the same for both numbers of rows, so it is subtracted. The
conversations lie in `../shared/data`; without them nothing is measured.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

import packsort
from packsort.tokenization.tokenizer import load_tokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = ("multi_turn", "single_turn")
FEW, MANY = 2_000, 14_000


def seconds(rows: pa.Table, folder: Path) -> tuple[float, float]:
    """Return the processor seconds of this process and of its children for tokenizing some rows."""
    pq.write_table(rows, folder / "rows.parquet", row_group_size=5_000)
    tokenizer = load_tokenizer(DATA / "tokenizer")
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    before = [resource.getrusage(kind) for kind in kinds]
    packsort.write_tokens(folder / "rows.parquet", folder / "tokens", tokenizer, overwrite=True, num_proc=2)
    after = [resource.getrusage(kind) for kind in kinds]
    own, children = (
        new.ru_utime + new.ru_stime - old.ru_utime - old.ru_stime for old, new in zip(before, after, strict=True)
    )
    return own, children


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    for name in FILES if DATA.is_dir() else ():
        table = pq.read_table(DATA / f"{name}.parquet", columns=["messages"])
        with tempfile.TemporaryDirectory() as folder:
            seconds(table.slice(0, FEW), Path(folder))  # imports what the others need
            (few, few_children), (many, many_children) = (
                seconds(table.slice(0, count), Path(folder)) for count in (FEW, MANY)
            )
        one, other = (1e6 * each / (MANY - FEW) for each in (many - few, many_children - few_children))
        print(
            f"{name:12} {one:8.1f} us a conversation to read and write, {other:8.1f} us to tokenize: {other / one:.0f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())

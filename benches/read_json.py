"""Read JSON Lines, compared with pyarrow's own reader, which takes dates for timestamps and names no line in errors."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.json
from bench import Figure, Way, arguments, lognormal, measure, show, write_json

from packsort.sources.formats import blocks
from packsort.sources.source import open_source

CONVERSATIONS = 50_000
MEDIAN = 700  # characters of a message
# "\u00e9" and the line break are escaped in JSON, and "\u4e2d" takes three bytes.
TEXT = 'The quick brown fox is caf\u00e9 number 12; \u4e2d, [x] {y} "z"\n' * 400


def write(path: Path) -> None:
    """Write conversations of two to six messages."""
    draw = np.random.default_rng(0)
    lengths = iter(lognormal(CONVERSATIONS * 6, MEDIAN).tolist())
    starts = iter(draw.integers(0, 5_000, CONVERSATIONS * 6).tolist())
    with path.open("w", encoding="utf-8") as file:
        for row, turns in enumerate(draw.integers(1, 4, CONVERSATIONS).tolist()):
            messages = []
            for role in ("user", "assistant") * turns:
                first = next(starts)
                messages.append({"role": role, "content": TEXT[first : first + next(lengths)]})
            file.write(json.dumps({"messages": messages, "id": row}, ensure_ascii=False) + "\n")


def run(rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "chats.jsonl")
        write(path)
        columns = ["messages", "id"]

        def ours() -> object:
            return open_source(path).read(columns)

        def twice() -> None:
            kept, blocks.KEPT_BYTES = blocks.KEPT_BYTES, 0
            try:
                for _ in open_source(path).batches(columns):
                    pass
            finally:
                blocks.KEPT_BYTES = kept

        assert open_source(path).read(columns).equals(pyarrow.json.read_json(path))
        size = path.stat().st_size
        ways = [
            Way("packsort", ours, note=f"{size / 1e6:,.0f} MB, opened and read"),
            Way("pyarrow", lambda: pyarrow.json.read_json(path), 0.5, "read_json"),
            Way(
                "packsort, nothing kept", twice, note="as the part of a source beyond 512 MiB: parsed twice, in batches"
            ),
        ]
        return measure("read_json/chats", size, ways, rounds)


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = run(args.rounds or 5)
    show(figures, "bytes")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())

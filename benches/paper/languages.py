"""Make conversations in twelve languages from XQuAD, for docs/paper/languages.toml.

    git clone https://github.com/google-deepmind/xquad && git -C xquad checkout 7d30520
    python benches/paper/languages.py xquad languages.parquet

XQuAD (Artetxe et al., 2020, CC BY-SA 4.0) has the same 240 paragraphs of Wikipedia in each language, with questions. A
conversation is the first question of a paragraph, and the paragraph as its answer. The column `source` is the language.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def main() -> None:
    """Write the conversations of all languages."""
    folder, out = map(Path, sys.argv[1:])
    rows = [row for path in sorted(folder.glob("xquad.*.json")) for row in conversations(path)]
    pq.write_table(pa.Table.from_pylist(rows), out)
    print(f"{len(rows):,} conversations")


def conversations(path: Path) -> Iterator[dict[str, object]]:
    """Yield the conversations of a file."""
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for paragraph in article["paragraphs"]:
            question, answer = paragraph["qas"][0]["question"], paragraph["context"]
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            yield {"messages": messages, "source": path.suffixes[0][1:]}


if __name__ == "__main__":
    main()

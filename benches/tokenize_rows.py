"""Tokenize real conversations, compared with `tokenizers.encode_batch_fast` alone on the same rendered texts.

The conversations lie in `../shared/data`; without them nothing is measured.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow.parquet as pq
from bench import Figure, Way, arguments, measure, show, write_json

import packsort
from packsort.tokenization.tokenizer import load_tokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = ("multi_turn", "single_turn")
LEAST = 1 / 1.3  # packsort takes at most 1.3 times as long


def run(name: str, rounds: int) -> list[Figure]:
    marked = load_tokenizer(DATA / "tokenizer")
    text = marked.chat_template.replace("{% generation %}", "").replace("{% endgeneration %}", "")
    plain = load_tokenizer(DATA / "tokenizer", chat_template=text)
    table = pq.read_table(DATA / f"{name}.parquet", columns=["messages"])
    texts = marked.apply_chat_template(table["messages"].to_pylist(), tokenize=False)
    backend = marked.backend_tokenizer
    tokens = packsort.tokenize(table, marked).read()
    assert tokens["input_ids"].to_pylist()[:50] == [one.ids for one in backend.encode_batch_fast(texts[:50])]
    assert packsort.tokenize(table, plain).read()["input_ids"] == tokens["input_ids"]
    count = sum(tokens["length"].to_pylist())
    figures = []
    for kind, tokenizer in (("marks", marked), ("no_marks", plain)):
        ways = [
            Way("packsort", lambda tokenizer=tokenizer: packsort.tokenize(table, tokenizer).read(), note="with labels"),
            Way("encode_batch_fast", lambda: backend.encode_batch_fast(texts), LEAST, "rendered texts, one call"),
        ]
        figures += measure(f"tokenize/{name}/{kind}", count, ways, rounds)
    return figures


def main() -> int:
    args = arguments(__doc__).parse_args()
    figures = [figure for name in FILES if DATA.is_dir() for figure in run(name, args.rounds or 3)]
    show(figures, "tokens")
    write_json(figures, args.json)
    return int(not all(figure.met for figure in figures))


if __name__ == "__main__":
    sys.exit(main())

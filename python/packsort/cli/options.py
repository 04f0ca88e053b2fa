"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the source: one or more files, folders or patterns."""
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="Parquet or Arrow files, folders or glob patterns")


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Adds what `packsort.plan` takes."""
    parser.add_argument("--max-length", type=int, required=True, metavar="N", help="the most tokens a pack may hold")
    parser.add_argument(
        "--strategy",
        choices=["ffd", "bfd", "padding", "random"],
        default="ffd",
        help="first-fit decreasing, best-fit decreasing as TRL's, one sequence a pack, or shuffled, concatenated and "
        "cut (ffd)",
    )
    parser.add_argument(
        "--overlong",
        choices=["error", "drop", "truncate", "split"],
        default="error",
        help="what becomes of sequences longer than --max-length (error)",
    )
    parser.add_argument("--max-sequences", type=int, metavar="N", help="the most sequences a pack may hold")
    parser.add_argument(
        "--num-packs-multiple-of",
        type=int,
        default=1,
        metavar="N",
        help="split packs until their number is a multiple of N, such as ranks x accumulation (1)",
    )
    parser.add_argument("--groups", metavar="COLUMN", help="packs never mix rows that differ in this column")
    parser.add_argument("--alone", metavar="COLUMN", help="rows where this boolean column is true get a pack each")
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="shuffles packs and equal lengths; `none` does not (0)"
    )
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="shuffles anew for each epoch (0)")


def plan_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_plan_options`, as `packsort.plan` names them."""
    names = ("strategy", "overlong", "max_sequences", "num_packs_multiple_of", "groups", "alone", "seed", "epoch")
    return {name: getattr(args, name) for name in names}


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def lines(pairs: list[tuple[str, str]]) -> str:
    """Names and values, one pair a line, values in a column."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in pairs)


def _seed(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


_seed.__name__ = "number"  # argparse's "invalid number value"

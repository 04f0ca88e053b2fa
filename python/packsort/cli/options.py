"""Options that several commands share."""

from __future__ import annotations

import argparse
from typing import Any


def add_source(parser: argparse.ArgumentParser) -> None:
    """Adds the source: one or more files, folders or patterns."""
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="Parquet or Arrow files, folders or glob patterns")


def add_plan_options(parser: argparse.ArgumentParser, *, conversations: bool = False) -> None:
    """Adds what `packsort.plan` takes; with `conversations`, what tokenizing adds to that."""
    parser.add_argument("--max-length", type=int, required=True, metavar="N", help="the most tokens a pack may hold")
    parser.add_argument(
        "--strategy",
        choices=["ffd", "bfd", "hybrid", "padding", "random", "optimal"],
        default="ffd",
        help="first-fit decreasing, best-fit decreasing as TRL's, the first with --splittable rows cut to fill the "
        "room left, one sequence a pack, shuffled, concatenated and cut, or the fewest packs, with proof (ffd)",
    )
    parser.add_argument(
        "--gap",
        type=_fraction,
        metavar="SHARE",
        help="`--strategy optimal` stops at so much above the proven bound, such as 0.05%% (a pack, or a "
        "millionth of them)",
    )
    parser.add_argument(
        "--max-iterations",
        type=int,
        metavar="N",
        help="it stops after N linear programs, at the same plan on any threads",
    )
    parser.add_argument("--max-seconds", type=float, metavar="S", help="it stops after S seconds, wherever it is then")
    parser.add_argument(
        "--overlong",
        choices=["error", "drop", "truncate", "split", *(["split_turns"] if conversations else [])],
        default="error",
        help="what becomes of sequences longer than --max-length (error)"
        + ("; split_turns cuts conversations between turns and repeats the system prompt" if conversations else ""),
    )
    parser.add_argument(
        "--truncation-side",
        choices=["right", "left"],
        default="right",
        help="where `--overlong truncate` takes tokens off (right)",
    )
    parser.add_argument("--max-sequences", type=int, metavar="N", help="the most sequences a pack may hold")
    parser.add_argument(
        "--pad-to-multiple-of",
        type=int,
        default=1,
        metavar="N",
        help="each sequence takes a multiple of N tokens of its pack (1)",
    )
    parser.add_argument(
        "--num-packs-multiple-of",
        type=int,
        default=1,
        metavar="N",
        help="split packs until their number is a multiple of N, such as ranks x accumulation (1)",
    )
    parser.add_argument("--groups", metavar="COLUMN", help="packs never mix rows that differ in this column")
    parser.add_argument("--splittable", metavar="COLUMN", help="rows that `--strategy hybrid` may cut: boolean")
    parser.add_argument("--alone", metavar="COLUMN", help="rows where this boolean column is true get a pack each")
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="shuffles packs and equal lengths; `none` does not (0)"
    )
    parser.add_argument("--epoch", type=int, default=0, metavar="N", help="shuffles anew for each epoch (0)")


def plan_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `add_plan_options`, as `packsort.plan` names them."""
    names = (
        "strategy",
        "overlong",
        "truncation_side",
        "max_sequences",
        "pad_to_multiple_of",
        "num_packs_multiple_of",
        "groups",
        "splittable",
        "alone",
        "seed",
        "epoch",
        "gap",
        "max_iterations",
        "max_seconds",
    )
    return {name: getattr(args, name) for name in names}


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def lines(pairs: list[tuple[str, str]]) -> str:
    """Names and values, one pair a line, values in a column."""
    width = max(len(name) for name, _ in pairs)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in pairs)


def token(text: str) -> int | str:
    """A token given by its id or its text."""
    return int(text) if text.lstrip("-").isdecimal() else text


def beside_bound(strategy: str, packs: int, lower_bound: int) -> str:
    """How many packs there are beside the fewest, and what might have fewer."""
    above = packs - lower_bound
    if above == 0:
        return "the fewest possible"
    text = f"{above:,} ({above / lower_bound:.2%}) above the lower bound"
    if strategy in ("ffd", "bfd") and above > _WORTH_SAYING * lower_bound:
        text += f"; `--strategy optimal` may save up to {above:,}"
    return text


_WORTH_SAYING = 0.002


def _fraction(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


_fraction.__name__ = "share"


def _seed(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


_seed.__name__ = "number"  # argparse's "invalid number value"

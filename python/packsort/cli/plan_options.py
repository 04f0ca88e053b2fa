"""Arguments of the commands that plan, with the names, choices and defaults of `packsort.options`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, get_args

from packsort import _checks
from packsort._options.choices import (
    STRATEGIES,
    STRATEGY_ALIASES,
    Overlong,
    OverlongInShards,
    Seed,
    Strategy,
    TruncationSide,
)
from packsort._options.plan import PlanConfig
from packsort.cli import sizes
from packsort.cli.parser import PACKING, REQUIRED, SEARCH, group
from packsort.errors import OptionError

_DEFAULTS = {one.name: one.default for one in fields(PlanConfig)}


def add_max_length(parser: argparse.ArgumentParser, **more: Any) -> None:
    """Add the most tokens of a pack."""
    group(parser, REQUIRED).add_argument(
        "--max-length",
        type=sizes.tokens,
        required=True,
        metavar="N",
        help=more.pop("help", "most tokens of a pack, such as 4096 or 8k, which is 8192"),
        **more,
    )


def add_plan_options(parser: argparse.ArgumentParser, *, conversations: bool = False) -> None:
    """Add the options of a plan.

    Args:
        parser: Parser of the command.
        conversations: Whether the command tokenizes conversations and can cut them between turns.
    """
    names: list[str] = []

    def add(group: Any, name: str, help: str, **more: Any) -> None:
        names.append(name)
        default = more.setdefault("default", _DEFAULTS[name])
        if default is not None:
            help += f" (default: {default})"
        group.add_argument(f"--{name.replace('_', '-')}", help=help, **more)

    add_max_length(parser)
    packs = group(parser, PACKING)
    add(
        packs,
        "strategy",
        "ffd: first-fit decreasing. bfd: best-fit decreasing, the packs of TRL's bfd. hybrid: ffd that cuts "
        "--splittable sequences to use the room that is left. padding: one sequence per pack. random: shuffle, "
        "concatenate and cut. in_order: rows in the order of SOURCE, next-fit with a look-ahead of --window. "
        "optimal: the fewest packs, with proof. greedy is ffd",
        type=_strategy,
        choices=get_args(Strategy),
        metavar="NAME",  # all names in a row are longer than a line
    )
    overlong = (
        "sequences longer than --max-length. error: stop. drop: leave them out. truncate: keep --max-length tokens. "
        "split: cut them into pieces"
    )
    if conversations:
        overlong += ". split_turns: cut conversations between turns, and repeat the system prompt"
    add(packs, "overlong", overlong, choices=get_args(OverlongInShards if conversations else Overlong))
    add(
        packs,
        "truncation_side",
        "side on which --overlong truncate removes tokens",
        choices=get_args(TruncationSide),
    )
    add(
        packs,
        "max_sequences",
        "most sequences of a pack. ffd, bfd and hybrid put short ones beside long ones where that takes fewer packs",
        type=int,
        metavar="N",
    )
    add(
        packs,
        "pad_to_multiple_of",
        "every sequence occupies a multiple of N tokens, padding included",
        type=sizes.tokens,
        metavar="N",
    )
    add(
        packs,
        "num_packs_multiple_of",
        "split packs until their number is a multiple of N, such as ranks x accumulation steps",
        type=int,
        metavar="N",
    )
    add(packs, "groups", "packs never mix rows that differ in this column", metavar="COLUMN")
    add(packs, "splittable", "boolean column of the rows that --strategy hybrid may cut", metavar="COLUMN")
    add(packs, "alone", "boolean column of the rows that get a pack of their own", metavar="COLUMN")
    add(
        packs,
        "seed",
        "seed that shuffles packs and sequences of equal length, with in_order whole packs; `none` keeps the order of "
        "the strategy, `auto` is none for in_order and 0 for others",
        type=_seed,
        default="auto",
        metavar="N",
    )
    add(packs, "epoch", "epoch of the shuffle", type=int, metavar="N")
    add(
        packs,
        "window",
        "rows that --strategy in_order takes another past at most; 0 is plain next-fit (default: 64)",
        type=int,
        metavar="N",
    )
    search = group(parser, SEARCH)
    add(
        search,
        "gap",
        "stop at this share above the proven lower bound, such as 0.05%%; by default at one pack, or a millionth of "
        "all packs",
        type=_share,
        metavar="SHARE",
    )
    add(
        search,
        "max_iterations",
        "stop after N linear programs, at the same plan on any number of threads",
        type=int,
        metavar="N",
    )
    add(search, "max_seconds", "stop after S seconds", type=float, metavar="S")
    parser.set_defaults(plan_options=tuple(names))


def plan_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_plan_options`, with `seed` and `epoch`, as keyword arguments of `packsort.plan`."""
    return {name: getattr(args, name) for name in args.plan_options}


def _strategy(text: str) -> str:
    try:
        return _checks.one_of("strategy", text, STRATEGIES, STRATEGY_ALIASES)
    except OptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def _seed(text: str) -> Seed:
    if text.lower() in ("none", "auto"):
        return "auto" if text.lower() == "auto" else None
    return int(text)


# argparse names a wrong value by the function: "invalid number value: 'many'".
_share.__name__ = "share"
_seed.__name__ = "number"

"""Arguments that several commands share.

Options of the plan have the names, choices and defaults of `packsort.options`.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, get_args

from packsort._options.choices import (
    EmptySequences,
    LossChoice,
    OnError,
    Overlong,
    OverlongInShards,
    Seed,
    Strategy,
    TruncationSide,
)
from packsort._options.input import InputConfig
from packsort._options.plan import PlanConfig

_INPUT_DEFAULTS = {one.name: one.default for one in fields(InputConfig)}
_DEFAULTS = {one.name: one.default for one in fields(PlanConfig)}


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the source: one or more files, folders or patterns."""
    parser.add_argument(
        "source",
        nargs="+",
        metavar="SOURCE",
        help="Parquet, Arrow, JSON Lines, JSON, CSV or Megatron files, folders, glob patterns, URLs of these such as "
        "s3://bucket/rows, or hf:owner/name:split",
    )


def add_input_options(parser: argparse.ArgumentParser, *, text: bool) -> None:
    """Add the options of what goes in.

    Args:
        parser: Parser of the command.
        text: Whether the command tokenizes text.
    """
    group = parser.add_argument_group("rows")
    group.add_argument(
        "--split",
        metavar="NAME",
        help="split to read, such as train or train+validation, or all, where SOURCE has several",
    )
    group.add_argument(
        "--columns",
        type=_columns,
        metavar="NAME=COLUMN,...",
        help="columns of SOURCE to read under other names, such as prompt=question,completion=answer",
    )
    group.add_argument(
        "--empty",
        choices=get_args(EmptySequences),
        default=_INPUT_DEFAULTS["empty"],
        help="rows without tokens. error: stop. drop: leave them out (default: error)",
    )
    group.add_argument(
        "--on-error",
        choices=get_args(OnError),
        default=_INPUT_DEFAULTS["on_error"],
        help="files that cannot be read. error: stop. skip: name them and leave them out (default: error)",
    )
    add_memory_map(group)
    names = ["split", "columns", "empty", "on_error", "memory_map"]
    if text:
        names += ["loss", "template_date", "num_proc"]
        group = parser.add_argument_group("labels")
        group.add_argument(
            "--loss",
            choices=get_args(LossChoice),
            default=_INPUT_DEFAULTS["loss"],
            help="tokens that carry loss. assistant: the assistant's turns. completion: completions without their "
            "prompts. all: every token. auto: assistant for conversations, completion for prompts with completions, "
            "all for text (default: auto)",
        )
        group.add_argument(
            "--template-date", metavar="DATE", help="date that the chat template sees, such as 2024-07-26"
        )
        parser.add_argument_group("speed").add_argument(
            "--num-proc",
            type=int,
            metavar="N",
            help="processes that tokenize (default: one for each core, up to 16, where there are 4 cores and 50,000 "
            "rows or more; else one)",
        )
    parser.set_defaults(input_options=tuple(names))


def add_memory_map(parser: Any) -> None:
    """Add the option to read files instead of mapping them."""
    parser.add_argument(
        "--no-memory-map",
        dest="memory_map",
        action="store_false",
        help="read Arrow files instead of mapping them: a mapped file that another program shortens ends the process",
    )


def add_memory_limit(parser: Any, more: str = "") -> None:
    """Add the limit of memory.

    Args:
        parser: Parser of the command, or a group.
        more: What becomes of what does not fit.
    """
    parser.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help=f"bytes of memory to take, such as 8GB{more} (default: half of what the machine, its cgroup and ulimit "
        "allow)",
    )


def input_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_input_options` as keyword arguments."""
    options = {name: getattr(args, name) for name in args.input_options}
    if "num_proc" in options and options["num_proc"] is None and getattr(args, "tokenizer", None) is not None:
        options["num_proc"] = "auto"
    return options


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

    packs = parser.add_argument_group("packs")
    packs.add_argument("--max-length", type=int, required=True, metavar="N", help="most tokens of a pack")
    add(
        packs,
        "strategy",
        "ffd: first-fit decreasing. bfd: best-fit decreasing, the packs of TRL's bfd. hybrid: ffd that cuts "
        "--splittable sequences to use the room that is left. padding: one sequence per pack. random: shuffle, "
        "concatenate and cut. in_order: rows in the order of SOURCE, next-fit with a look-ahead of --window. "
        "optimal: the fewest packs, with proof",
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
    add(packs, "max_sequences", "most sequences of a pack", type=int, metavar="N")
    add(
        packs,
        "pad_to_multiple_of",
        "every sequence occupies a multiple of N tokens, padding included",
        type=int,
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
    order = parser.add_argument_group("order")
    add(
        order,
        "seed",
        "seed that shuffles packs and sequences of equal length, with in_order whole packs; `none` keeps the order of "
        "the strategy, `auto` is none for in_order and 0 for others",
        type=_seed,
        default="auto",
        metavar="N",
    )
    add(order, "epoch", "epoch of the shuffle", type=int, metavar="N")
    add(
        order,
        "window",
        "rows that --strategy in_order takes another past at most; 0 is plain next-fit (default: 64)",
        type=int,
        metavar="N",
    )
    search = parser.add_argument_group("search, for --strategy optimal")
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


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def token(text: str) -> int | str:
    """Return a token given by its id or its text."""
    return int(text) if text.lstrip("-").isdecimal() else text


def _share(text: str) -> float:
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


def _columns(text: str) -> dict[str, str]:
    pairs = [pair.partition("=")[::2] for pair in text.split(",")]
    if not all(name and column for name, column in pairs):
        raise ValueError
    return dict(pairs)


def _seed(text: str) -> Seed:
    if text.lower() in ("none", "auto"):
        return "auto" if text.lower() == "auto" else None
    return int(text)


# argparse names a wrong value by the function: "invalid number value: 'many'".
_share.__name__ = "share"
_seed.__name__ = "number"
_columns.__name__ = "NAME=COLUMN"

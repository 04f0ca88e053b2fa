"""Arguments that several commands share; those of plans are in `plan_options`."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any, get_args

from packsort._options.choices import EmptySequences, LossChoice, OnError
from packsort._options.input import InputConfig
from packsort.cli.parser import GENERAL, OUTPUT, READING, REQUIRED, TOKENIZING, group

_INPUT_DEFAULTS = {one.name: one.default for one in fields(InputConfig)}


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the source: one or more files, folders or patterns."""
    group(parser, REQUIRED).add_argument(
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
    reading = group(parser, READING)
    reading.add_argument(
        "--split",
        metavar="NAME",
        help="split to read, such as train or train+validation, or all, where SOURCE has several",
    )
    reading.add_argument(
        "--columns",
        type=_columns,
        metavar="NAME=COLUMN,...",
        help="columns of SOURCE to read under other names, such as prompt=question,completion=answer",
    )
    reading.add_argument(
        "--empty",
        choices=get_args(EmptySequences),
        default=_INPUT_DEFAULTS["empty"],
        help="rows without tokens. error: stop. drop: leave them out (default: error)",
    )
    reading.add_argument(
        "--on-error",
        choices=get_args(OnError),
        default=_INPUT_DEFAULTS["on_error"],
        help="files that cannot be read. error: stop. skip: name them and leave them out (default: error)",
    )
    add_memory_map(parser)
    names = ["split", "columns", "empty", "on_error", "memory_map"]
    if text:
        names += ["loss", "template_date", "num_proc"]
        tokenizing = group(parser, TOKENIZING)
        tokenizing.add_argument(
            "--loss",
            choices=get_args(LossChoice),
            default=_INPUT_DEFAULTS["loss"],
            help="tokens that carry loss. assistant: the assistant's turns. completion: completions without their "
            "prompts. all: every token. auto: assistant for conversations, completion for prompts with completions, "
            "all for text (default: auto)",
        )
        tokenizing.add_argument(
            "--template-date", metavar="DATE", help="date that the chat template sees, such as 2024-07-26"
        )
        tokenizing.add_argument(
            "--num-proc",
            type=int,
            metavar="N",
            help="processes that tokenize (default: one for each core, up to 16, where there are 4 cores and 50,000 "
            "rows or more; else one)",
        )
    parser.set_defaults(input_options=tuple(names))


def add_memory_map(parser: argparse.ArgumentParser) -> None:
    """Add the option to read files instead of mapping them."""
    group(parser, READING).add_argument(
        "--no-memory-map",
        dest="memory_map",
        action="store_false",
        help="read Arrow files instead of mapping them: a mapped file that another program shortens ends the process",
    )


def add_memory_limit(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add the limit of memory.

    Args:
        parser: Parser of the command.
        more: What becomes of what does not fit.
    """
    group(parser, GENERAL).add_argument(
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


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    group(parser, OUTPUT).add_argument("--json", action="store_true", help="print the result as JSON")


def token(text: str) -> int | str:
    """Return a token given by its id or its text."""
    return int(text) if text.lstrip("-").isdecimal() else text


def _columns(text: str) -> dict[str, str]:
    pairs = [pair.partition("=")[::2] for pair in text.split(",")]
    if not all(name and column for name, column in pairs):
        raise ValueError
    return dict(pairs)


# argparse names a wrong value by the function: "invalid NAME=COLUMN value: 'prompt'".
_columns.__name__ = "NAME=COLUMN"

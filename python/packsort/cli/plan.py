"""`packsort plan`: which sequences would share a pack, without moving a token."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from packsort.cli.options import add_json, add_plan_options, add_source, beside_bound, lines, plan_options
from packsort.cli.stopwatch import Stopwatch


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "plan",
        help="decide which sequences share a pack, and save that",
        description="Plans on the column `length`, or on the lengths of `input_ids`, and saves the plan to a file that "
        "`packsort.load_plan` reads.",
    )
    add_source(parser)
    parser.add_argument(
        "-o", "--out", metavar="FILE", help="the plan's file, such as plan.arrow; none: only the summary"
    )
    add_plan_options(parser)
    parser.add_argument("--overwrite", action="store_true", help="replace the file")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from packsort import _checks
    from packsort._progress import note_search
    from packsort.errors import OutputExistsError
    from packsort.gathering import plan_lengths
    from packsort.sources.lengths import source_lengths
    from packsort.sources.source import open_source

    _checks.max_length(args.max_length)
    if args.out and Path(args.out).exists() and not args.overwrite:
        raise OutputExistsError(f"`{args.out}` is already there; `--overwrite` replaces it")
    watch = Stopwatch()
    with watch.stage("reading"):
        source = open_source(args.source)
        lengths, column = source_lengths(source)
    with watch.stage("planning") as advance:
        options = plan_options(args) | {"on_progress": note_search(advance)}
        planned = plan_lengths(source, lengths, column, args.max_length, **options)
        bound = planned.lower_bound
    if args.out:
        planned.save(args.out)
    facts: dict[str, Any] = {
        "sequences": planned.num_sequences,
        "tokens": planned.num_tokens,
        "packs": planned.num_packs,
        "lower_bound": bound,
        "gap": planned.gap,
        "efficiency": planned.efficiency,
        "dropped": planned.num_dropped,
        "truncated": planned.num_truncated,
        "tokens_lost": planned.tokens_lost,
        "split": planned.num_split,
        "padding": planned.num_padding,
        "patterns": planned.num_patterns,
        "fingerprint": planned.fingerprint,
    }
    if args.json:
        print(json.dumps({**facts, "out": args.out, "seconds": watch.seconds}))
        return 0
    shown = facts | {
        "packs": f"{planned.num_packs:,}, {beside_bound(planned.strategy, planned.num_packs, bound)}",
        "efficiency": f"{planned.efficiency:.2%}",
    }
    del shown["gap"]
    pairs = [
        (name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in shown.items()
        if value != 0
    ]
    print(lines([*pairs, *([("wrote", args.out)] if args.out else []), ("time", watch.text())]))
    return 0

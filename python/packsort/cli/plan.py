"""`packsort plan`: decide which sequences share a pack, without moving a token."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from packsort.cli.options import add_input_options, add_json, add_source, input_options
from packsort.cli.parser import OUTPUT, Subparsers, add_command, group
from packsort.cli.plan_options import add_plan_options, plan_options
from packsort.cli.results import say_result
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.text import beside_bound, in_order, lines, rows_read

if TYPE_CHECKING:
    from packsort.planning.plan import Plan
    from packsort.sources.source import Source


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "plan",
        usage="SOURCE... --max-length N",
        help="decide which sequences share a pack, and save the plan",
        description="Plan the column `length`, or the lengths of `input_ids`, and save the plan to a file that "
        "packsort.load_plan reads.",
        examples=(
            "packsort plan tokens.parquet --max-length 8k",
            "packsort plan 'lengths/*.parquet' --max-length 8k\n--strategy optimal --max-seconds 60 -o plan.arrow",
        ),
    )
    add_source(parser)
    output = group(parser, OUTPUT)
    output.add_argument(
        "-o", "--out", metavar="FILE", help="file of the plan, such as plan.arrow; without it, nothing is saved"
    )
    output.add_argument("--overwrite", action="store_true", help="replace the file")
    add_json(parser)
    add_input_options(parser, text=False)
    add_plan_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort._atomic import output_errors, output_file
    from packsort._options.input import take_input_options
    from packsort._options.plan import plan_config
    from packsort._progress import note_search
    from packsort._stores import place
    from packsort.gathering.planned import plan_lengths
    from packsort.sources.files.skipped import count_skipped
    from packsort.sources.source import open_source
    from packsort.sources.tokens.lengths import source_lengths
    from packsort.sources.unreadable import without_unreadable

    options, given = plan_options(args), take_input_options(input_options(args))
    seed, epoch = options.pop("seed"), options.pop("epoch")
    config = plan_config("plan", args.max_length, options, seed=seed, epoch=epoch, empty=given.empty)
    watch = Stopwatch()
    with output_file(place(args.out), overwrite=args.overwrite) if args.out else nullcontext() as output:

        def plan(source: Source) -> tuple[Source, Plan]:
            with watch.stage("reading", total=source.num_rows, unit="rows") as advance:
                lengths, column = source_lengths(source, advance=advance)
            with watch.stage("planning") as advance:
                options = replace(config, on_progress=note_search(advance))
                return source, plan_lengths(source, lengths, column, options)

        source, planned = without_unreadable(open_source(args.source, given), given, plan)
        bound, skipped = planned.lower_bound, count_skipped(source.skipped)
        if output is not None:
            with output_errors(place(args.out)):
                planned.save(output.file)
    facts: dict[str, Any] = {
        "sequences": planned.num_sequences,
        "tokens": planned.num_tokens,
        "packs": planned.num_packs,
        "lower_bound": bound,
        "gap": planned.gap,
        "efficiency": planned.efficiency,
        "dropped": planned.num_dropped,
        "empty": planned.num_empty,
        "truncated": planned.num_truncated,
        "tokens_lost": planned.tokens_lost,
        "split": planned.num_split,
        "padding": planned.num_padding,
        **_order(planned),
        "patterns": planned.num_patterns,
        "fingerprint": planned.fingerprint,
    }
    if args.json:
        more = {"rows_by_split": source.rows_by_split, "skipped": [vars(one) for one in skipped]}
        say_result(args, {"out": args.out, "max_length": args.max_length, **facts, **more}, watch)
        return 0
    shown = facts | {
        "packs": f"{planned.num_packs:,}, {beside_bound(planned.strategy, planned.num_packs, bound)}",
        "efficiency": f"{planned.efficiency:.2%}",
    }
    for name in ("gap", "window", "max_displacement", "mean_displacement"):
        shown.pop(name, None)
    if planned.window is not None:
        shown["order"] = in_order(planned.window, planned.max_displacement, planned.mean_displacement, planned.seed)
    pairs = [
        (name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
        for name, value in shown.items()
        if value != 0
    ]
    pairs = [*rows_read(source.rows_by_split, skipped), *pairs]
    print(lines([*pairs, *([("wrote", args.out)] if args.out else []), ("time", watch.text())]))
    return 0


def _order(planned: Plan) -> dict[str, Any]:
    """Return how far sequences stand from their places in the source, where that is what was asked for."""
    if planned.window is None:
        return {}
    return {
        "window": planned.window,
        "max_displacement": planned.max_displacement,
        "mean_displacement": planned.mean_displacement,
    }

"""`packsort compare`: padding, random packing and greedy packing side by side."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

from packsort._options.choices import OverlongInComparison
from packsort._options.input import take_input_options
from packsort.cli.options import add_input_options, add_json, add_memory_limit, add_source, input_options
from packsort.cli.output import shown
from packsort.cli.parser import OUTPUT, PACKING, Subparsers, add_command, group
from packsort.cli.plan_options import add_max_length
from packsort.cli.results import say_result
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.text import lines, rows_read
from packsort.cli.tokenizer import add_tokenizer_options, choose_tokenizer

if TYPE_CHECKING:
    from packsort._options.input import InputConfig
    from packsort.comparison.compare import Comparison
    from packsort.comparison.results import AtLength
    from packsort.sources.source import Source
    from packsort.tokenization.choice import TokenizerChoice


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "compare",
        usage="SOURCE... --max-length N...",
        help="compare padding, random packing and greedy packing",
        description="Compare padding, random packing and greedy packing of the same sequences by packs, steps, "
        "padding, cut sequences, attention, estimated time and idle ranks, and advise which to choose. Reads the "
        "column `length`, or the lengths of `input_ids`; with --tokenizer, conversations or text.",
        examples=(
            "packsort compare tokens.parquet --max-length 4k 8k 16k",
            "packsort compare chats.jsonl --max-length 8k\n--tokenizer ./tokenizer --html report.html",
        ),
    )
    add_source(parser)
    add_max_length(parser, nargs="+", help="most tokens of a pack, such as 4096 or 8k, which is 8192; one or more")
    packing, output = group(parser, PACKING), group(parser, OUTPUT)
    packing.add_argument(
        "--batch-size", type=int, default=4, metavar="N", help="packs of a step on one rank (default: 4)"
    )
    packing.add_argument("--world-size", type=int, default=8, metavar="N", help="ranks (default: 8)")
    packing.add_argument(
        "--turns",
        metavar="COLUMN",
        help="column that tells multi-turn conversations: numbers of turns, booleans, `messages`, or `labels`, whose "
        "runs of tokens with loss are counted (default: `messages` or `labels`)",
    )
    packing.add_argument(
        "--model",
        default="8B",
        metavar="SIZE|DIR",
        help="model whose cost estimates the time: 1B, 3B, 8B, 70B, 405B (Llama 3), or a folder with a config.json "
        "(default: 8B)",
    )
    packing.add_argument(
        "--overlong",
        choices=get_args(OverlongInComparison),
        default="truncate",
        help="treatment of sequences longer than a max length (default: truncate)",
    )
    packing.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the shuffle (default: 0)")
    packing.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="compare packing in the order of SOURCE as well, with a look-ahead of N rows (0 is plain next-fit)",
    )
    output.add_argument("--html", metavar="FILE", help="write a report with plots, one file that needs no network")
    output.add_argument("--overwrite", action="store_true", help="replace that file")
    add_memory_limit(parser)
    add_json(parser)
    add_input_options(parser, text=False)
    add_tokenizer_options(parser, required=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort._atomic import output_errors, output_file
    from packsort._stores import place
    from packsort.comparison.compare import compare
    from packsort.comparison.page import check_report, render
    from packsort.sources.files.skipped import count_skipped
    from packsort.sources.source import open_source
    from packsort.sources.unreadable import open_readable, without_unreadable

    if args.html is not None:
        check_report()
    options = {
        "batch_size": args.batch_size,
        "world_size": args.world_size,
        "model": args.model,
        "seed": args.seed,
        "window": args.window,
        "overlong": args.overlong,
        "memory_limit": args.memory_limit,
    }
    compare([1], args.max_length, **options)  # reports a wrong option before minutes of tokenizing
    watch = Stopwatch()
    given = take_input_options(input_options(args))
    turns = args.turns
    with output_file(place(args.html), overwrite=args.overwrite) if args.html is not None else nullcontext() as output:

        def compared(rows: Source) -> tuple[Source, Comparison]:
            source: Any = rows
            counted = turns
            if args.tokenizer is not None:
                source, counted = _tokenized(rows, turns, choose_tokenizer(args), given, args.memory_limit, watch)
            with watch.stage("comparing"):
                return rows, compare(source, args.max_length, turns=counted, empty=given.empty, **options)

        opened = (open_source if args.tokenizer is None else open_readable)(args.source, given)
        rows, comparison = without_unreadable(opened, given, compared)
        comparison = replace(comparison, skipped=count_skipped(rows.skipped))
        if output is not None:
            with watch.stage("plotting"), output_errors(place(args.html)):
                output.file.write(render(comparison).encode())
    if args.json:
        facts = {name.removeprefix("num_"): value for name, value in comparison.to_dict().items()}
        say_result(args, {**facts, "html": args.html}, watch)
    else:
        _show(comparison, rows_read(rows.rows_by_split, comparison.skipped), args.html, watch)
    return 0


def _tokenized(
    source: Source,
    turns: str | None,
    choice: TokenizerChoice,
    given: InputConfig,
    memory_limit: str | None,
    watch: Stopwatch,
) -> tuple[Any, Any]:
    """Return the lengths and the turns of conversations or text; the tokens are not kept."""
    from packsort._options.memory import find_memory_limit
    from packsort.comparison.tokenized import tokenized_lengths
    from packsort.comparison.turns import source_turns

    with watch.stage("counting turns"):
        found, _ = source_turns(source, turns)
    return tokenized_lengths(source, choice, given, watch.stage, memory_limit=find_memory_limit(memory_limit)), found


def _show(comparison: Comparison, read: list[tuple[str, str]], html: str | None, watch: Stopwatch) -> None:
    from packsort.cli.console import open_console
    from packsort.comparison import figures

    console = open_console()
    batch = f"{comparison.batch_size:,} packs on each of {comparison.world_size:,} ranks"
    facts = [
        *read,
        ("sequences", f"{comparison.num_sequences:,}, the longest has {comparison.longest:,} tokens"),
        ("tokens", f"{comparison.num_tokens:,}"),
        *([("empty", f"{comparison.num_empty:,} more are left out")] if comparison.num_empty else []),
        ("multi-turn", figures.multi_turn_note(comparison)),
        ("batch", batch),
    ]
    print(lines(facts))
    for at in comparison.at:
        _show_one(console, at, comparison.window)
    if comparison.summary:
        _say(console, "which max_length", comparison.summary)
    _say(console, "batch size and learning rate", comparison.learning_rate)
    _say(console, "how time is estimated", (figures.time_note(comparison),))
    print()
    print(lines([*([("wrote", html)] if html else []), ("time", watch.text())]))


def _show_one(console: Any, at: AtLength, window: int | None) -> None:
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    from packsort.comparison import figures

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for method, (name, below) in zip(at.methods, figures.heads(at, window), strict=True):
        chosen = "bold" if method.name == at.advice.choice else None
        table.add_column(Text(f"{name}\n{below}"), justify="right", style=chosen, no_wrap=True)
    for line in figures.table(at):
        table.add_row(line.name, *line.cells)
    _say(console, f"max_length {at.max_length:,}: choose {figures.NAMES[at.advice.choice]}", ())
    # A narrow terminal wraps lines, so no figure is lost. Rich would cut them off.
    console.width = max(console.width, Measurement.get(console, console.options.update(width=1000), table).maximum)
    console.print(table)
    console.print()
    _say(console, None, (*at.advice.reasons, at.batch.note))


def _say(console: Any, title: str | None, texts: tuple[str, ...]) -> None:
    """Print paragraphs under a title, wrapped without the trailing spaces that rich leaves."""
    import textwrap

    if title is not None:
        console.print()
        console.rule(title, align="left", characters="-")
    for text in texts:
        print(textwrap.fill(shown(text), min(console.width, 110), initial_indent="- ", subsequent_indent="  "))

"""`packsort compare`: pad or pack, and how?"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packsort.cli.options import add_json, add_source, lines
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.tokenize import add_tokenizer_options, tokenizer_from

if TYPE_CHECKING:
    from packsort.comparison.compare import Comparison
    from packsort.comparison.results import AtLength


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="padding, random packing and greedy packing side by side",
        description="Compares padding, random packing and greedy packing of the same sequences by rows, steps, "
        "padding, what is split, attention, estimated time and how busy ranks are, and says what to choose. Reads "
        "the column `length`, or the lengths of `input_ids`; with --tokenizer, conversations or text.",
    )
    add_source(parser)
    parser.add_argument(
        "--max-length", type=int, nargs="+", required=True, metavar="N", help="the most tokens of a row; one or more"
    )
    parser.add_argument("--batch-size", type=int, default=4, metavar="N", help="rows on one rank in a step (4)")
    parser.add_argument("--world-size", type=int, default=8, metavar="N", help="ranks (8)")
    parser.add_argument(
        "--turns",
        metavar="COLUMN",
        help="tells multi-turn conversations: turns (integers), booleans, `messages`, or `labels`, whose runs of "
        "tokens with loss are counted (`messages` or `labels` where there)",
    )
    parser.add_argument(
        "--model",
        default="8B",
        metavar="SIZE|DIR",
        help="whose costs estimate time: 1B, 3B, 8B, 70B, 405B (Llama 3), or a folder with a config.json (8B)",
    )
    parser.add_argument(
        "--overlong",
        choices=["error", "drop", "truncate"],
        default="truncate",
        help="what becomes of sequences longer than a max length (truncate)",
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="shuffles (0)")
    parser.add_argument("--html", metavar="FILE", help="write a report with plots, one file that needs no network")
    parser.add_argument("--overwrite", action="store_true", help="replace that file")
    add_tokenizer_options(parser, required=False)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from packsort._atomic import replace_file
    from packsort.comparison.compare import compare
    from packsort.comparison.page import check_report, render
    from packsort.errors import OutputExistsError
    from packsort.sources.source import open_source

    if args.html is not None:
        check_report()
        if Path(args.html).exists() and not args.overwrite:
            raise OutputExistsError(f"`{args.html}` is already there; `--overwrite` replaces it")
    options = {
        "batch_size": args.batch_size,
        "world_size": args.world_size,
        "model": args.model,
        "seed": args.seed,
        "overlong": args.overlong,
    }
    compare([1], args.max_length, **options)  # what is wrong with them is said before minutes of tokenizing
    watch = Stopwatch()
    source: Any = open_source(args.source)
    turns = args.turns
    if args.tokenizer is not None:
        source, turns = _tokenized(source, turns, args, watch)
    with watch.stage("comparing"):
        comparison = compare(source, args.max_length, turns=turns, **options)
    if args.html is not None:
        with watch.stage("plotting"):
            page = render(comparison).encode()
        with replace_file(Path(args.html)) as file:
            file.write(page)
    if args.json:
        print(json.dumps({**comparison.to_dict(), "html": args.html, "seconds": watch.seconds}))
    else:
        _show(comparison, args.html, watch)
    return 0


def _tokenized(source: Any, turns: str | None, args: argparse.Namespace, watch: Stopwatch) -> tuple[Any, Any]:
    """Lengths and turns of conversations or text; the tokens themselves are not kept."""
    import numpy as np

    from packsort.comparison.turns import source_turns
    from packsort.tokenization.tokenize import tokenize

    with watch.stage("counting turns"):
        found, _ = source_turns(source, turns)
    with watch.stage("loading the tokenizer"):
        tokenizer = tokenizer_from(args)
    with watch.stage("tokenizing", total=source.num_rows, unit="sequences") as advance:
        tables = tokenize(source, tokenizer, on_progress=advance)
        lengths = np.concatenate([table["length"].to_numpy() for table in tables])
    return lengths, found


def _show(comparison: Comparison, html: str | None, watch: Stopwatch) -> None:
    from rich.console import Console

    from packsort.comparison import figures

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 110
    batch = f"{comparison.batch_size:,} packs on each of {comparison.world_size:,} ranks"
    facts = [
        ("sequences", f"{comparison.num_sequences:,}, the longest has {comparison.longest:,} tokens"),
        ("tokens", f"{comparison.num_tokens:,}"),
        ("multi-turn", figures.multi_turn_note(comparison)),
        ("batch", batch),
    ]
    print(lines(facts))
    for at in comparison.at:
        _show_one(console, at)
    if comparison.summary:
        _say(console, "which max_length", comparison.summary)
    _say(console, "batch size and learning rate", comparison.learning_rate)
    _say(console, "how time is estimated", (figures.time_note(comparison),))
    print()
    print(lines([*([("wrote", html)] if html else []), ("time", watch.text())]))


def _show_one(console: Any, at: AtLength) -> None:
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    from packsort.comparison import figures

    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for method, (name, below) in zip(at.methods, figures.heads(at), strict=True):
        chosen = "bold" if method.name == at.advice.choice else None
        table.add_column(Text(f"{name}\n{below}"), justify="right", style=chosen, no_wrap=True)
    for line in figures.table(at):
        table.add_row(line.name, *line.cells)
    _say(console, f"max_length {at.max_length:,}: choose {figures.NAMES[at.advice.choice]}", ())
    # Figures are not cut on a narrow terminal: it wraps lines, where rich would leave out their ends.
    console.width = max(console.width, Measurement.get(console, console.options.update(width=1000), table).maximum)
    console.print(table)
    console.print()
    _say(console, None, (*at.advice.reasons, at.batch.note))


def _say(console: Any, title: str | None, texts: tuple[str, ...]) -> None:
    """Paragraphs under a title, wrapped without the spaces at the end of lines that rich leaves."""
    import textwrap

    if title is not None:
        console.print()
        console.rule(title, align="left", characters="-")
    for text in texts:
        print(textwrap.fill(text, min(console.width, 110), initial_indent="- ", subsequent_indent="  "))

"""`packsort compare`: padding, random packing and greedy packing side by side."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, get_args

from packsort._options.choices import ComparedMethod, OverlongInComparison
from packsort.cli.options import add_input_options, add_json, add_memory_limit, add_source, input_options
from packsort.cli.output import line_width, shown
from packsort.cli.parser import OUTPUT, PACKING, TOKENIZING, Subparsers, add_command, group
from packsort.cli.plan_options import add_max_length
from packsort.cli.results import say_result
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.text import lines, rows_read
from packsort.cli.tokenizer import add_tokenizer_options, choose_tokenizer

if TYPE_CHECKING:
    from packsort.comparison.compare import Comparison

_NAMES = {"rows": "packs", "padding_tokens": "padding", "above_lower_bound": "gap"}


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
            "packsort compare chats.jsonl --max-length 8k\n--tokenizer ./tokenizer --tokens kept",
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
        "--epochs", type=int, default=1, metavar="N", help="epochs of the run, in which steps are counted (default: 1)"
    )
    packing.add_argument(
        "--methods",
        nargs="+",
        choices=get_args(ComparedMethod),
        metavar="NAME",
        help="methods to compare beside ffd (greedy packing) and padding. Strategies of packing: bfd, optimal, hybrid, "
        "in_order, random. only_single: multi-turn conversations alone. padding_best: batches of like length. "
        "padding_fixed: to the limit (default: random padding_best padding_fixed)",
    )
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
        help="treatment of sequences longer than a max length. split_turns: cut conversations between turns (default: "
        "truncate)",
    )
    packing.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the shuffle (default: 0)")
    packing.add_argument(
        "--window",
        type=int,
        metavar="N",
        help="compare packing in the order of SOURCE as well, with a look-ahead of N rows (0 is plain next-fit)",
    )
    output.add_argument("--details", action="store_true", help="show every figure")
    output.add_argument("--html", metavar="FILE", help="write a report with plots, one file that needs no network")
    output.add_argument("--overwrite", action="store_true", help="replace that file")
    add_memory_limit(parser)
    add_json(parser)
    add_input_options(parser, text=True)
    add_tokenizer_options(parser, required=False)
    group(parser, TOKENIZING).add_argument(
        "--tokens",
        metavar="DIR",
        help="folder that keeps the tokens: `packsort pack --tokens DIR` with the same files, tokenizer and options of "
        "rows and labels does not make them again",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort._atomic import output_errors, output_file
    from packsort._stores import place
    from packsort.comparison.compare import compare
    from packsort.comparison.page import check_report, render

    if args.html is not None:
        check_report()
    watch = Stopwatch()
    with output_file(place(args.html), overwrite=args.overwrite) if args.html is not None else nullcontext() as output:
        comparison = compare(
            args.source,
            args.max_length,
            methods=args.methods,
            tokenizer=None if args.tokenizer is None else choose_tokenizer(args),
            batch_size=args.batch_size,
            world_size=args.world_size,
            epochs=args.epochs,
            turns=args.turns,
            model=args.model,
            seed=args.seed,
            window=args.window,
            overlong=args.overlong,
            memory_limit=args.memory_limit,
            tokens=args.tokens,
            stage=watch.stage,
            **input_options(args),
        )
        if output is not None:
            with watch.stage("plotting"), output_errors(place(args.html)):
                output.file.write(render(comparison).encode())
    if args.json:
        say_result(args, {**_facts(comparison), "html": args.html, "tokens_kept": args.tokens}, watch)
    else:
        _show(comparison, args, watch)
    return 0


def _facts(comparison: Comparison) -> dict[str, Any]:
    """Return the figures under the names that every command uses."""
    facts = {name.removeprefix("num_"): value for name, value in comparison.to_dict().items()}
    for at in facts["at"]:
        for name, method in at["methods"].items():
            at["methods"][name] = {_NAMES.get(own, own): value for own, value in method.items()}
    return facts


def _show(comparison: Comparison, args: argparse.Namespace, watch: Stopwatch) -> None:
    """Print the answer first, then what it rests on."""
    from packsort.cli.console import PIPE
    from packsort.comparison import figures
    from packsort.comparison.answer import answer, answer_at
    from packsort.comparison.text import render_at

    width = line_width() or PIPE
    _say(width, answer(comparison))
    for at in comparison.at:
        if len(comparison.at) > 1:
            _head(width, f"max_length {at.max_length:,}: {answer_at(at)}")
        else:
            print()
        print(render_at(comparison, at, width, details=args.details))
        print()
        _say(width, *at.advice.reasons, at.batch.note, mark="- ")
    if comparison.summary:
        _head(width, "which max_length")
        _say(width, *comparison.summary, mark="- ")
    _head(width, "batch size and learning rate")
    _say(width, *comparison.learning_rate, mark="- ")
    _head(width, "how time is estimated")
    _say(width, figures.time_note(comparison), mark="- ")
    print()
    pairs = [*rows_read(comparison.rows_by_split, comparison.skipped), *figures.facts(comparison)]
    if args.tokenizer is not None:
        pairs.append(("kept tokens", args.tokens or "none; --tokens DIR keeps them for `packsort pack`"))
    if args.html:
        pairs.append(("wrote", args.html))
    if not args.details:
        pairs.append(("more", "--details shows every figure" + ("" if args.html else ", --html FILE plots")))
    print(lines([*pairs, ("time", watch.text())]))


def _head(width: int, text: str) -> None:
    print()
    _say(width, text)
    print("-" * min(width, 79))


def _say(width: int, *texts: str, mark: str = "") -> None:
    """Print paragraphs."""
    from packsort.comparison.text import wrapped

    for text in texts:
        print(wrapped(shown(text), width, mark=mark))

"""`packsort experiment`: padding and packing, trained and compared on one's own data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from packsort.cli.options import add_json, add_source
from packsort.cli.parser import PACKING, READING, REQUIRED, RUNNING, TOKENIZING, Subparsers, add_command, group
from packsort.cli.results import say_result
from packsort.cli.sizes import tokens
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.text import lines
from packsort.errors import OptionError


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "experiment",
        usage="SOURCE... --max-length N... -o DIR",
        help="train small models by padding and packing, and compare time and quality",
        description="Train a model from the same initial weights on the same conversations by padding, random packing, "
        "greedy packing and their variants, and report time, memory and held-out loss of each (arXiv 2410.08081). "
        "A run that was stopped goes on where it was. Needs packsort[experiment].",
        examples=(
            "packsort experiment chats.jsonl --max-length 4k\n-o report --tokenizer ./tokenizer --minutes 10",
            "packsort experiment chats.jsonl --max-length 2k 4k\n-o report --model ./model --conversations 2000 20000",
        ),
    )
    add_source(parser)
    required, running, packing = group(parser, REQUIRED), group(parser, RUNNING), group(parser, PACKING)
    required.add_argument(
        "--max-length", type=tokens, nargs="+", metavar="N", help="most tokens of a row, such as 4096 or 4k; or --study"
    )
    required.add_argument("-o", "--out", required=True, metavar="DIR", help="folder for figures and report")
    running.add_argument(
        "--model",
        default="5M",
        metavar="SIZE|DIR",
        help="size of a model with random weights, 50K, 200K, 1M, 5M, 25M, 100M, 350M or 1B, or the folder of a "
        "checkpoint (default: 5M)",
    )
    running.add_argument("--device", default="auto", metavar="NAME", help="device (default: the first GPU, or the CPU)")
    running.add_argument("--epochs", type=int, default=1, metavar="N", help="passes over the data (default: 1)")
    running.add_argument(
        "--learning-rate", type=float, metavar="RATE", help="highest learning rate (default: 1e-3, checkpoints 1e-5)"
    )
    running.add_argument("--seeds", type=int, nargs="+", default=[0], metavar="N", help="seeds to run (default: 0)")
    running.add_argument(
        "--study", metavar="FILE", help="TOML file that lists the runs, in place of the options of runs and of packing"
    )
    packing.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="methods to run: padding, padding_fixed, padding_best, random, ffd, optimal, only_single, ffd_sample, "
        "hybrid, and those with document masks also with _unmasked (default: all but hybrid)",
    )
    packing.add_argument("--batch-size", type=int, default=4, metavar="N", help="rows of a step (default: 4)")
    reading = group(parser, READING)
    reading.add_argument(
        "--conversations", type=int, nargs="+", metavar="N", help="conversations to train on; one number or several"
    )
    reading.add_argument(
        "--minutes",
        type=float,
        default=10.0,
        metavar="N",
        help="time for reading and all runs, from which the conversations follow unless they are given (default: 10)",
    )
    reading.add_argument("--held-out", type=int, default=200, metavar="N", help="conversations held out (default: 200)")
    reading.add_argument("--by", metavar="COLUMN", help="column whose values have their losses reported apart")
    reading.add_argument("--split", metavar="NAME", help="split to read, where SOURCE has several")
    group(parser, TOKENIZING).add_argument(
        "--tokenizer", metavar="DIR", help="folder or name of the tokenizer (default: that of the checkpoint)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    try:
        from packsort import experiment
    except ImportError as error:
        raise OptionError(str(error)) from error

    if args.study is not None:
        study = experiment.load_study(Path(args.study))
    elif args.max_length is None:
        raise OptionError("max_length is missing: pass `max_length` or `study`")
    else:
        given: dict[str, Any] = {} if args.methods is None else {"methods": args.methods}
        study = experiment.compare_methods(
            args.max_length,
            model=args.model,
            conversations=args.conversations,
            minutes=args.minutes,
            batch_size=args.batch_size,
            epochs=args.epochs,
            learning_rate=args.learning_rate,
            seeds=args.seeds,
            held_out=args.held_out,
            **given,
        )
    watch = Stopwatch()
    found = experiment.run(
        args.source,
        args.out,
        study,
        tokenizer=args.tokenizer,
        by=args.by,
        split=args.split,
        device=args.device,
        stage=watch.stage,
    )
    paths = {"report": str(found.report), "results": str(found.results)}
    if args.json:
        say_result(args, {"out": args.out, **paths, "runs": len(found.runs)}, watch)
    else:
        print(lines([("runs", f"{len(found.runs):,}"), *paths.items(), ("time", watch.text())]))
    return 0

"""`packsort tokenize`: conversations, prompts with completions, or text in; token files out."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from packsort.cli.options import add_input_options, add_json, add_memory_limit, add_source, input_options
from packsort.cli.parser import OUTPUT, REQUIRED, Subparsers, add_command, group
from packsort.cli.results import say_result
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.text import lines, rows_read
from packsort.cli.tokenizer import add_tokenizer_options, load_chosen_tokenizer

if TYPE_CHECKING:
    from packsort.tokenization.files import TokenizedFiles


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "tokenize",
        usage="SOURCE... -o PATH --tokenizer DIR",
        help="turn conversations or text into token files",
        description="Tokenize the column `messages` (with the chat template), `prompt` and `completion`, or `text` of "
        "any source. The column `labels` marks the tokens that carry loss.",
        examples=(
            "packsort tokenize chats.jsonl -o tokens\n--tokenizer Qwen/Qwen3-0.6B",
            "packsort tokenize hf:owner/name:train -o tokens\n--tokenizer ./tokenizer --keep source",
        ),
    )
    add_source(parser)
    group(parser, REQUIRED).add_argument(
        "-o",
        "--out",
        required=True,
        metavar="PATH",
        help="folder that gets one file for each file of SOURCE; or one .parquet or .arrow file",
    )
    output = group(parser, OUTPUT)
    output.add_argument("--keep", nargs="+", default=[], metavar="COLUMN", help="other columns to copy")
    output.add_argument(
        "--overwrite", action="store_true", help="replace the file, or what packsort wrote in --out before"
    )
    add_memory_limit(parser, ", those of --num-proc included")
    add_json(parser)
    add_tokenizer_options(parser, required=True)
    add_input_options(parser, text=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort._options.input import take_input_options
    from packsort.sources.files.skipped import count_skipped
    from packsort.sources.unreadable import open_readable
    from packsort.tokenization.files import write_tokens

    options = input_options(args)
    source = open_readable(args.source, take_input_options(dict(options)))
    del options["on_error"]  # every file has been read
    watch = Stopwatch()
    tokenizer = load_chosen_tokenizer(args, watch.stage)
    with watch.stage("tokenizing", total=source.num_rows, unit="sequences") as advance:
        written = write_tokens(
            source,
            args.out,
            tokenizer,
            overwrite=args.overwrite,
            keep=args.keep,
            memory_limit=args.memory_limit,
            on_progress=advance,
            **options,
        )
    skipped = count_skipped(source.skipped)
    if args.json:
        files = [str(path) for path in written.files]
        more = {"out": args.out, "rows_by_split": source.rows_by_split, "skipped": [vars(one) for one in skipped]}
        say_result(args, {**asdict(written), "files": files, **more}, watch)
    else:
        read = rows_read(source.rows_by_split, skipped)
        print(lines([*read, *_summary(written, watch.seconds["tokenizing"])]))
    return 0


def _summary(written: TokenizedFiles, seconds: float) -> list[tuple[str, str]]:
    from packsort.tokenization.loss import describe_loss

    share = written.loss_tokens / max(1, written.tokens)
    pairs = [
        ("sequences", f"{written.sequences:,}"),
        ("tokens", f"{written.tokens:,}"),
        ("loss on", describe_loss(written.loss_rule)),
        ("loss tokens", f"{written.loss_tokens:,} ({share:.1%})"),
    ]
    if written.empty:
        pairs.append(("empty", f"{written.empty:,} rows have no tokens and stay as empty lists"))
    if written.without_loss:
        pairs.append(("without loss", f"{written.without_loss:,} sequences have no token that carries loss"))
    pairs += [("note", str(note)) for note in written.notes]
    pairs.append(("time", f"{seconds:.1f} s, {written.tokens / seconds:,.0f} tokens/s"))
    pairs += [("wrote", str(path)) for path in written.files[:10]]
    if len(written.files) > 10:
        pairs.append(("", f"and {len(written.files) - 10:,} more files"))
    return pairs

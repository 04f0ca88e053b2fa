"""`packsort verify`: prove that packs hold their source."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from packsort._progress import Stage
from packsort.cli.options import add_json, add_memory_limit, add_memory_map
from packsort.cli.output import say_text, tell
from packsort.cli.parser import READING, REQUIRED, Subparsers, add_command, group
from packsort.cli.results import say_result
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.tokenizer import add_tokenizer_options, load_chosen_tokenizer, load_recorded_tokenizer

if TYPE_CHECKING:
    from packsort.shards.manifest import Manifest
    from packsort.shards.verify import Verification


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "verify",
        usage="DIR",
        help="prove that packs hold their source, every token once",
        description="Check the files, checksums and counts of a packed directory. With --source, prove that every "
        "token of every sequence is in exactly one pack, in order, with its labels. Conversations and text are "
        "tokenized again, with --tokenizer, or with the tokenizer that the manifest names if this machine has it.",
        examples=("packsort verify packed", "packsort verify packed --source chats.jsonl"),
    )
    group(parser, REQUIRED).add_argument("packed", metavar="DIR", help="packed directory")
    group(parser, READING).add_argument(
        "--source", nargs="+", metavar="SOURCE", help="files, folders or patterns that were packed, in the same order"
    )
    add_memory_limit(parser, "; tokens of text that do not fit wait in a temporary file")
    add_memory_map(parser)
    add_json(parser)
    add_tokenizer_options(parser, required=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort.shards.files import ShardFiles
    from packsort.shards.verify import open_packed, verify

    shards = ShardFiles(args.packed, memory_map=args.memory_map)
    manifest = shards.manifest
    source = open_packed(args.source, manifest, memory_map=args.memory_map) if args.source else None
    tokenizer = None
    watch = Stopwatch()
    if source is not None and manifest.tokenizer is not None:
        if args.tokenizer:
            tokenizer = load_chosen_tokenizer(args, watch.stage)
        else:
            tokenizer = _recorded(args, manifest.tokenizer.name, watch.stage)
    result = verify(shards, source, tokenizer=tokenizer, memory_limit=args.memory_limit, stage=watch.stage)
    if args.json:
        say_result(args, asdict(result), watch, status=0 if result else 1)
    elif result:
        _show(result, manifest, watch)
    else:
        _show_problems(result, args.packed)
    return 0 if result else 1


def _recorded(args: argparse.Namespace, name: str, stage: Stage) -> object:
    """Load the tokenizer that the manifest names.

    Raises:
        TokenizerError: This machine does not have it.
    """
    from packsort.errors import TokenizerError

    try:
        return load_recorded_tokenizer(args, name, stage)
    except TokenizerError as error:
        raise TokenizerError(
            f"nothing was compared with the source: the packs were made with tokenizer `{name}`, and a name out of a "
            f"manifest is not looked for on the Hub ({error}): pass `tokenizer` to name one"
        ) from error


def _show_problems(result: Verification, packed: str) -> None:
    for problem in result.problems:
        tell(problem)
    if result.num_problems > len(result.problems):
        tell(f"and {result.num_problems - len(result.problems):,} more")
    tell(f"error: `{packed}` fails verification: {result.num_problems:,} problems")


def _show(result: Verification, manifest: Manifest, watch: Stopwatch) -> None:
    counts = manifest.counts
    sequences = f"{result.sequences:,} sequences"
    if counts.split:
        sequences = f"{result.sequences:,} pieces of sequences, {counts.split:,} of them cut"
    say_text(f"ok: {result.packs:,} packs, {sequences}, {result.tokens:,} tokens; checksums match")
    if result.against_source:
        left_out = [f"{counts.dropped:,} sequences that are too long"] if counts.dropped else []
        left_out += [f"{counts.turns_left_out:,} turns that are too long alone"] if counts.turns_left_out else []
        but = f", except {' and '.join(left_out)}" if left_out else ""
        say_text(f"ok: every token of every sequence is in exactly one pack, in order, with its labels{but}")
        if counts.truncated:
            kept = "last" if manifest.options.truncation_side == "left" else "first"
            say_text(f"ok: {counts.truncated:,} sequences keep their {kept} {manifest.max_length:,} tokens")
    else:
        say_text("pass --source to compare the packs with what was packed")
    say_text(f"time: {watch.text()}")

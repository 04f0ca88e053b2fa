"""`packsort verify`: the proof that nothing is lost or changed."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from packsort.cli.options import add_json
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.tokenize import add_tokenizer_options, tokenizer_from


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "verify",
        help="prove that packs hold their source, each token once",
        description="Checks files, checksums and counts of a packed directory. With --source, proves that every token "
        "of every sequence is in exactly one pack, in order, with its labels. Packs that were tokenized from their "
        "source are compared with its tokens made anew, by --tokenizer or the tokenizer that the manifest names.",
    )
    parser.add_argument("packed", metavar="DIR", help="the packed directory")
    parser.add_argument("--source", nargs="+", metavar="SOURCE", help="what it was packed from, in the same order")
    add_tokenizer_options(parser, required=False)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from packsort.shards.reader import open_shards
    from packsort.shards.verify import verify
    from packsort.sources.source import open_source

    shards = open_shards(args.packed)
    source = open_source(args.source) if args.source else None
    about = shards.manifest.tokenizer
    tokenizer = None
    watch = Stopwatch()
    if source is not None and about is not None:
        args.tokenizer = args.tokenizer or about.name
        with watch.stage("loading the tokenizer"):
            tokenizer = tokenizer_from(args)
    result = verify(shards, source, tokenizer=tokenizer, stage=watch.stage)
    if args.json:
        print(json.dumps({"ok": result.ok, **asdict(result), "seconds": watch.seconds}))
        return 0 if result.ok else 1
    for problem in result.problems:
        print(problem, file=sys.stderr)
    if result.num_problems > len(result.problems):
        print(f"and {result.num_problems - len(result.problems):,} more", file=sys.stderr)
    if not result.ok:
        print(f"error: `{args.packed}` is not right: {result.num_problems:,} problems", file=sys.stderr)
        return 1
    split = shards.manifest.counts.split
    number = f"{result.sequences:,} {f'pieces ({split:,} sequences are cut)' if split else 'sequences'}"
    what = f"{result.packs:,} packs, {number}, {result.tokens:,} tokens"
    proof = "every token of every sequence is in exactly one pack, in order, with its labels"
    dropped, turns = shards.manifest.counts.dropped, shards.manifest.counts.turns_left_out
    left_out = [f"{dropped:,} that are too long"] if dropped else []
    left_out += [f"{turns:,} turns that are too long alone"] if turns else []
    print(f"ok: {what}; checksums hold")
    if result.against_source:
        but = f", but for the {' and the '.join(left_out)}" if left_out else ""
        print(f"ok: compared with the source: {proof}{but}")
        if shards.manifest.counts.truncated:
            side = "before their last" if shards.manifest.options["truncation_side"] == "left" else "after"
            print(f"ok: {shards.manifest.counts.truncated:,} sequences are cut {side} {shards.max_length:,} tokens")
    else:
        print("give --source to compare the tokens with what was packed")
    print(f"time: {watch.text()}")
    return 0

"""`packsort pack`: from conversations or tokens to packed shards."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from packsort.cli.options import add_json, add_plan_options, add_source, beside_bound, lines, plan_options, token
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.tokenize import add_tokenizer_options, tokenizer_from

if TYPE_CHECKING:
    from packsort.shards.manifest import Manifest


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "pack",
        help="pack token files, or conversations, into shards",
        description="Packs whole sequences into rows of at most --max-length tokens and writes shards and a manifest. "
        "With --tokenizer, `messages`, `prompt` and `completion`, or `text` are tokenized first.",
    )
    add_source(parser)
    parser.add_argument("-o", "--out", required=True, metavar="DIR", help="the packed directory to write")
    add_plan_options(parser, conversations=True)
    parser.add_argument(
        "--separator", type=token, metavar="TOKEN", help="a token, its id or its text, between sequences of a pack"
    )
    parser.add_argument(
        "--pad-token-id", type=int, metavar="N", help="what fills sequences up (the tokenizer's, or else 0)"
    )
    add_tokenizer_options(parser, required=False)
    parser.add_argument("--format", choices=["arrow", "parquet"], default="arrow", help="of the shards (arrow)")
    parser.add_argument("--shard-size", default="256MB", metavar="SIZE", help="of a shard, uncompressed (256MB)")
    parser.add_argument("--overwrite", action="store_true", help="replace what packsort wrote in --out before")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from packsort import _checks
    from packsort.shards.writer import write_shards
    from packsort.sources.source import open_source

    _checks.max_length(args.max_length)
    source = open_source(args.source)
    watch = Stopwatch()
    tokenizer = None
    if args.tokenizer is not None:
        with watch.stage("loading the tokenizer"):
            tokenizer = tokenizer_from(args)
    manifest = write_shards(
        source,
        args.out,
        args.max_length,
        tokenizer=tokenizer,
        **plan_options(args),
        separator=args.separator,
        pad_token_id=args.pad_token_id,
        format=args.format,
        shard_size=args.shard_size,
        overwrite=args.overwrite,
        stage=watch.stage,
    )
    print(_as_json(manifest, watch) if args.json else summary(manifest, args.out, watch))
    return 0


def _as_json(manifest: Manifest, watch: Stopwatch) -> str:
    seconds = {name: round(value, 3) for name, value in watch.seconds.items()}
    return json.dumps({**json.loads(manifest.to_json()), "efficiency": manifest.efficiency, "seconds": seconds})


def summary(manifest: Manifest, out: str, watch: Stopwatch) -> str:
    """What a person wants to know at the end."""
    from packsort.tokenization.loss import describe_loss

    counts = manifest.counts
    bound = beside_bound(manifest.options["strategy"], counts.packs, counts.lower_bound)
    padded = counts.tokens / max(1, counts.sequences * manifest.max_length)
    pairs = [
        ("sequences", f"{counts.sequences:,} of {counts.rows:,} rows"),
        ("tokens", f"{counts.tokens:,}"),
        ("packs", f"{counts.packs:,} of {manifest.max_length:,} tokens, {bound}"),
        ("efficiency", f"{manifest.efficiency:.2%} of the packs' room is tokens"),
        (
            "padding",
            f"one sequence a row would make {counts.sequences:,} rows, {padded:.2%} tokens: "
            f"{counts.sequences / max(1, counts.packs):.1f} times as many rows",
        ),
    ]
    for number, what, name in ((counts.separators, "separators", "separator"), (counts.padding, "padded", "padding")):
        if number:
            of = counts.packs * manifest.max_length
            pairs.append((what, f"{number:,} tokens of {name} in the packs, {number / of:.2%} of their room"))
    longer = f"longer than {manifest.max_length:,}"
    if counts.dropped:
        pairs.append(("dropped", f"{counts.dropped:,} sequences {longer}{_of_files(manifest, 'dropped')}"))
    if counts.truncated:
        kept = "last" if manifest.options["truncation_side"] == "left" else "first"
        what = f"{counts.truncated:,} sequences {longer} keep their {kept} tokens{_of_files(manifest, 'truncated')}"
        pairs.append(("truncated", what))
    if counts.split:
        how = "cut between turns" if manifest.options["overlong"] == "split_turns" else "cut and in more than one piece"
        pairs.append(("split", f"{counts.split:,} sequences are {how}{_of_files(manifest, 'split')}"))
    if counts.turns_left_out:
        what = f"{counts.turns_left_out:,} turns are too long alone{_of_files(manifest, 'turns_left_out')}"
        pairs.append(("left out", what))
    if counts.tokens_lost:
        what = f"{counts.tokens_lost:,} tokens are not in the packs{_of_files(manifest, 'tokens_lost')}"
        pairs.append(("lost", what))
    if manifest.tokenizer is not None:
        info = manifest.tokenizer
        pairs.append(("loss on", f"{describe_loss(info.loss_rule)}; {info.loss_tokens:,} tokens before packing"))
        if info.without_loss:
            pairs.append(("without loss", f"{info.without_loss:,} sequences have no token that carries loss"))
        pairs += [("note", str(note)) for note in info.notes]
    if manifest.left_out:
        pairs.append(("left out", ", ".join(f"`{name}`" for name in manifest.left_out) + " (not per-token)"))
    size = sum(shard.bytes for shard in manifest.shards)
    files = "1 shard" if len(manifest.shards) == 1 else f"{len(manifest.shards):,} shards"
    pairs += [("wrote", f"{files}, {size / 1e6:,.1f} MB in {out}"), ("time", watch.text())]
    return lines(pairs)


def _of_files(manifest: Manifest, reason: str) -> str:
    """How much of it each file has, those with most first, where there are several files."""
    if len(manifest.sources) < 2:
        return ""
    found = sorted(((one[reason], one["path"]) for one in manifest.sources if one[reason]), key=lambda one: -one[0])
    more = f", and {len(found) - 3:,} more files" if len(found) > 3 else ""
    return ": " + ", ".join(f"{number:,} of `{path}`" for number, path in found[:3]) + more

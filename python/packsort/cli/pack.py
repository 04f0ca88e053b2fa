"""`packsort pack`: from conversations or tokens to packed shards."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from packsort._options.choices import ShardFormat
from packsort.cli.options import (
    add_input_options,
    add_json,
    add_memory_limit,
    add_source,
    input_options,
    token,
)
from packsort.cli.parser import GENERAL, OUTPUT, PACKING, REQUIRED, TOKENIZING, Subparsers, add_command, group
from packsort.cli.plan_options import add_plan_options, plan_options
from packsort.cli.results import manifest_facts, say_result
from packsort.cli.stopwatch import Stopwatch
from packsort.cli.text import beside_bound, index_files, lines, order_of_rows, rows_read
from packsort.cli.tokenizer import add_tokenizer_options, choose_tokenizer
from packsort.schema import LOSS_MASKS

if TYPE_CHECKING:
    from packsort.shards.manifest import Manifest


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "pack",
        usage="SOURCE... -o DIR --max-length N",
        help="pack token files, or conversations, into shards",
        description="Pack whole sequences into packs of at most --max-length tokens, and write shards and a manifest. "
        "With --tokenizer, `messages`, `prompt` and `completion`, or `text` are tokenized first.",
        examples=(
            "packsort pack chats.jsonl -o packed --max-length 8k\n--tokenizer Qwen/Qwen3-0.6B",
            "packsort pack 'tokens/*.parquet' -o packed\n--max-length 4096 --overlong truncate --shard-size 1GB",
        ),
    )
    add_source(parser)
    output = group(parser, OUTPUT)
    group(parser, REQUIRED).add_argument(
        "-o", "--out", metavar="DIR", help="packed directory to write; --dry-run needs none"
    )
    output.add_argument(
        "--dry-run",
        action="store_true",
        help="tokenize and plan, say what would be written, and write nothing",
    )
    output.add_argument(
        "--format",
        choices=get_args(ShardFormat),
        default="arrow",
        help="file format of the shards: arrow is memory-mapped (default: arrow)",
    )
    output.add_argument(
        "--shard-size",
        default="256MB",
        metavar="SIZE",
        help="bytes of a shard before compression, such as 256MB or 1GiB (default: 256MB)",
    )
    add_memory_limit(
        parser, "; tokens that do not fit pass through a hidden file beside --out; with --engine ray, of each task"
    )
    output.add_argument("--overwrite", action="store_true", help="replace what packsort wrote in --out before")
    output.add_argument(
        "--index-only",
        action="store_true",
        help="write which rows each pack holds, and no tokens: packs are gathered from SOURCE, Parquet or uncompressed "
        "Arrow, which must stay as it is; SOURCE may be an index already, whose tokens are not read",
    )
    group(parser, GENERAL).add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="local: this process. ray: the Ray cluster of RAY_ADDRESS or this machine; SOURCE holds tokens, and all "
        "nodes see SOURCE and --out (default: local)",
    )
    add_json(parser)
    add_tokenizer_options(parser, required=False)
    add_input_options(parser, text=True)
    add_plan_options(parser, conversations=True)
    packing = group(parser, PACKING)
    packing.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="columns with one value for each row, such as its source or reward, that packs keep",
    )
    packing.add_argument(
        "--separator", type=token, metavar="TOKEN", help="token between two sequences of a pack: its id or its text"
    )
    packing.add_argument(
        "--pad-token-id", type=int, metavar="N", help="token id of padding (default: the tokenizer's, or 0)"
    )
    group(parser, TOKENIZING).add_argument(
        "--tokens",
        metavar="DIR",
        help="folder that keeps the tokens for further calls with the same files, tokenizer and options of rows and "
        "labels; without it they are kept, hidden beside --out, only if planning them fails",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort.shards.config import shard_config
    from packsort.shards.dry_run import dry_run
    from packsort.shards.writer import write_shards_of_config

    if args.out is None and not args.dry_run:
        args.parser.error("the following arguments are required: -o/--out")
    own = {"separator": args.separator, "pad_token_id": args.pad_token_id, "keep": args.keep}
    options = plan_options(args) | input_options(args) | own
    seed, epoch = options.pop("seed"), options.pop("epoch")
    config = shard_config(
        "write_shards",
        args.max_length,
        options,
        seed=seed,
        epoch=epoch,
        format=args.format,
        shard_size=args.shard_size,
        memory_limit=args.memory_limit,
        index_only=args.index_only,
    )
    config.input.check_tokenizer(args.tokenizer)
    watch = Stopwatch()
    if args.engine == "ray":
        from packsort.cli.ray_engine import pack_with_ray

        manifest = pack_with_ray(args, config, watch.stage)
        return _say(args, manifest, _written(manifest, args.out), watch)
    choice = None if args.tokenizer is None else choose_tokenizer(args)
    if args.dry_run:
        folder, out = (None if name is None else Path(name) for name in (args.tokens, args.out))
        manifest, shards = dry_run(args.source, config, choice, tokens=folder, out=out, stage=watch.stage)
        wrote = f"nothing; {_shards(shards)} without --dry-run"
    else:
        manifest = write_shards_of_config(
            args.source,
            args.out,
            config,
            tokenizer=choice,
            overwrite=args.overwrite,
            tokens=args.tokens,
            stage=watch.stage,
        )
        wrote = _written(manifest, args.out)
    return _say(args, manifest, wrote, watch)


def _say(args: argparse.Namespace, manifest: Manifest, wrote: str, watch: Stopwatch) -> int:
    if args.json:
        say_result(args, {"out": args.out, "dry_run": args.dry_run, **manifest_facts(manifest)}, watch)
    else:
        print(summary(manifest, wrote, watch))
    return 0


def _shards(count: int) -> str:
    return "1 shard" if count == 1 else f"{count:,} shards"


def _written(manifest: Manifest, out: str) -> str:
    size = sum(shard.bytes for shard in manifest.shards) + (manifest.index.bytes if manifest.index else 0)
    return f"{_shards(len(manifest.shards))}, {size / 1e6:,.1f} MB in {out}"


def summary(manifest: Manifest, wrote: str, watch: Stopwatch) -> str:
    """Return what a person wants to know at the end.

    Args:
        manifest: Record of the packs.
        wrote: What was written, in words.
        watch: Seconds of the stages.
    """
    counts = manifest.counts
    bound = beside_bound(manifest.options.strategy, counts.packs, counts.lower_bound)
    padded = counts.tokens / max(1, counts.sequences * manifest.max_length)
    room = counts.packs * manifest.max_length
    pairs = [
        *rows_read(manifest.rows_by_split, manifest.skipped),
        ("sequences", f"{counts.sequences:,} of {counts.rows:,} rows"),
        ("tokens", f"{counts.tokens:,}"),
        ("packs", f"{counts.packs:,} of {manifest.max_length:,} tokens, {bound}"),
        ("efficiency", f"{manifest.efficiency:.2%} of the room in packs holds tokens"),
    ]
    pairs += order_of_rows(manifest)
    if not counts.split:  # a sequence that is cut does not fit one pack
        pairs.append(
            (
                "padding",
                f"one sequence per pack would take {counts.sequences:,} packs, {padded:.2%} of their room used: "
                f"{counts.sequences / max(1, counts.packs):.1f} times as many",
            )
        )
    if counts.separators:
        pairs.append(("separators", f"{counts.separators:,} tokens, {counts.separators / room:.2%} of the packs"))
    if counts.padding:
        pairs.append(("padded", f"{counts.padding:,} tokens of padding, {counts.padding / room:.2%} of the packs"))
    pairs += _left_out(manifest)
    if manifest.tokenizer is not None:
        from packsort.tokenization.loss import describe_loss

        info = manifest.tokenizer
        pairs.append(("loss on", f"{describe_loss(info.loss_rule)}; {info.loss_tokens:,} tokens before packing"))
        if info.without_loss and not counts.without_loss:
            pairs.append(("without loss", f"{info.without_loss:,} sequences have no token that carries loss"))
        pairs += [("note", str(note)) for note in info.notes]
    if counts.without_loss:
        packs = f", and {counts.packs_without_loss:,} packs hold only such" if counts.packs_without_loss else ""
        pairs.append(("without loss", f"{counts.without_loss:,} sequences have no token that carries loss{packs}"))
    loss_masks = [f"`{name}`" for name in manifest.masks if name in LOSS_MASKS]
    if loss_masks:
        verb = "is" if len(loss_masks) == 1 else "are"
        pairs.append(("loss on", f"tokens where {' and '.join(loss_masks)} {verb} 1"))
    if manifest.options.keep:
        columns = ", ".join(_kept(manifest, name) for name in manifest.options.keep)
        pairs.append(("kept", f"columns with a value for each sequence: {columns}"))
    if manifest.left_out:
        columns = ", ".join(f"`{name}`" for name in manifest.left_out)
        pairs.append(("left out", f"columns without a value for each token: {columns}"))
    if manifest.index is not None:
        pairs.append(("tokens in", index_files(manifest.index)))
    pairs += [("note", remark) for remark in manifest.remarks()]
    pairs += [("wrote", wrote), ("time", watch.text())]
    return lines(pairs)


def _kept(manifest: Manifest, name: str) -> str:
    texts = manifest.dictionaries.get(name)
    return f"`{name}`" if texts is None else f"`{name}` ({len(texts):,} {'text' if len(texts) == 1 else 'texts'})"


def _left_out(manifest: Manifest) -> list[tuple[str, str]]:
    """Say what was left out or cut, by reason and by file."""
    counts, options = manifest.counts, manifest.options
    longer = f"longer than {manifest.max_length:,} tokens"
    kept = "last" if options.truncation_side == "left" else "first"
    where = "between turns" if options.overlong == "split_turns" else "into pieces"
    found = (
        ("dropped", f"{counts.dropped:,} sequences {longer}", "dropped"),
        ("truncated", f"{counts.truncated:,} sequences {longer} keep their {kept} tokens", "truncated"),
        ("split", f"{counts.split:,} sequences are cut {where}", "split"),
        ("left out", f"{counts.turns_left_out:,} turns are too long alone", "turns_left_out"),
        ("lost", f"{counts.tokens_lost:,} tokens are in no pack", "tokens_lost"),
        ("empty", f"{counts.empty:,} sequences have no tokens and are left out", "empty"),
    )
    return [(name, text + _by_file(manifest, reason)) for name, text, reason in found if getattr(counts, reason)]


def _by_file(manifest: Manifest, reason: str) -> str:
    """Return the numbers of the three files with the most, if there are several files."""
    if len(manifest.sources) < 2:
        return ""
    found = sorted(((one[reason], one.path) for one in manifest.sources if one[reason]), key=lambda one: -one[0])
    more = f", and {len(found) - 3:,} more files" if len(found) > 3 else ""
    return ": " + ", ".join(f"{number:,} in `{path}`" for number, path in found[:3]) + more

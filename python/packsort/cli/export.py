"""`packsort export`: packs as the files of other trainers."""

from __future__ import annotations

import argparse
from typing import get_args

from packsort._options.choices import ExportFormat
from packsort.cli.options import add_json, add_memory_limit, add_memory_map
from packsort.cli.output import say, tell
from packsort.cli.parser import OUTPUT, REQUIRED, Subparsers, add_command, group
from packsort.cli.results import say_result
from packsort.cli.stopwatch import Stopwatch


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "export",
        usage="DIR -o DIR",
        help="write packs as the files of another trainer",
        description="Write one Parquet file for each shard, with the columns of Megatron-Bridge's and NeMo's packed "
        "Parquet (megatron) or of TRL's pack_dataset (trl). For Megatron-Bridge, _PACK-SIZE_metadata.jsonl beside them "
        "holds what its reader needs for fixed shapes. Or write train.bin and train.idx for the GPT training of "
        "Megatron-Core (megatron-bin), each pack one document.",
        examples=("packsort export packed -o megatron", "packsort export packed -o trl --format trl"),
    )
    required, output = group(parser, REQUIRED), group(parser, OUTPUT)
    required.add_argument("packed", metavar="DIR", help="packed directory")
    required.add_argument("-o", "--out", required=True, metavar="DIR", help="folder to write to")
    output.add_argument(
        "--format",
        choices=get_args(ExportFormat),
        default="megatron",
        help="trainer that reads the files (default: megatron)",
    )
    output.add_argument(
        "--pad-token-id",
        type=int,
        metavar="ID",
        help="with megatron-bin, the padding token of Megatron's tokenizer, or -1 where it has none (default: that of "
        "the packs)",
    )
    output.add_argument("--overwrite", action="store_true", help="replace what an earlier export wrote in --out")
    add_memory_limit(parser)
    add_memory_map(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort.shards.export import export, metadata_path
    from packsort.shards.files import ShardFiles

    shards = ShardFiles(args.packed, memory_map=args.memory_map)
    watch = Stopwatch()
    written = export(
        shards,
        args.out,
        format=args.format,
        pad_token_id=args.pad_token_id,
        overwrite=args.overwrite,
        memory_limit=args.memory_limit,
        stage=watch.stage,
    )
    files = [str(file) for file in written]
    metadata = str(metadata_path(shards, args.out)) if args.format == "megatron" else None
    if args.json:
        counts = shards.manifest.counts
        facts = {"out": args.out, "format": args.format, "files": files, "metadata": metadata}
        say_result(
            args, {**facts, "packs": counts.packs, "sequences": counts.sequences, "tokens": counts.tokens}, watch
        )
        return 0
    say(*files)
    if metadata:
        tell(f"metadata for fixed shapes (`packed_metadata_path`): `{metadata}`")
    return 0

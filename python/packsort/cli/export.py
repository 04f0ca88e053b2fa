"""`packsort export`: packs in the files of other trainers."""

from __future__ import annotations

import argparse
import json

from packsort.cli.options import add_json


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write packs as the Parquet that another trainer reads",
        description="Writes a Parquet file a shard: the packed Parquet of Megatron-Bridge and NeMo, or the columns of "
        "TRL's pack_dataset.",
    )
    parser.add_argument("packed", metavar="DIR", help="the packed directory")
    parser.add_argument("-o", "--out", required=True, metavar="DIR", help="the folder to write to")
    parser.add_argument("--format", choices=["megatron", "trl"], default="megatron", help="whose (megatron)")
    parser.add_argument("--overwrite", action="store_true", help="replace files of the same names")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from packsort.shards.export import export

    files = [str(file) for file in export(args.packed, args.out, format=args.format, overwrite=args.overwrite)]
    print(json.dumps({"files": files}) if args.json else "\n".join(files))
    return 0

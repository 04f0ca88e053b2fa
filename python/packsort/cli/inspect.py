"""`packsort inspect`: one pack, by `inspect_packs`, or rows before they are packed, by `inspect_rows`."""

from __future__ import annotations

import argparse

from packsort.cli.options import add_input_options, add_json
from packsort.cli.parser import OUTPUT, REQUIRED, SHOWING, Subparsers, add_command, group
from packsort.cli.results import say_result
from packsort.cli.tokenizer import add_tokenizer_options, load_recorded_tokenizer


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "inspect",
        usage="DIR|SOURCE...",
        help="show rows of a source before they are packed, or the sequences of one pack",
        description="With --rows, show rows of SOURCE before anything is packed: how they are read and rendered, and "
        "which tokens carry loss. Without it, show where each sequence of a pack begins and ends, and which row of the "
        "source it is; and show the text of some, with marks around what carries loss, where this machine has the "
        "tokenizer that the manifest names.",
        examples=(
            "packsort inspect packed --pack 7 --sequence 2",
            "packsort inspect --rows chats.jsonl --row 100\n--tokenizer ./tokenizer",
        ),
    )
    group(parser, REQUIRED).add_argument(
        "packed", nargs="+", metavar="DIR|SOURCE", help="packed directory; with --rows, files, folders or patterns"
    )
    showing = group(parser, SHOWING)
    showing.add_argument(
        "--pack", type=int, metavar="N", help="number of the pack, from 0; -1 is the last (default: 0)"
    )
    showing.add_argument("--rows", action="store_true", help="show rows of a source instead of a pack")
    showing.add_argument("--row", type=int, metavar="N", help="with --rows, the first row to show, from 0 (default: 0)")
    showing.add_argument(
        "--sequence", type=int, metavar="N", help="the first sequence of the pack to show, from 0; -1 is the last"
    )
    showing.add_argument(
        "--count", type=int, metavar="K", help="the most rows or sequences to show (default: 3; 1 with --sequence)"
    )
    showing.add_argument("--full", action="store_true", help="show whole texts instead of their beginnings and ends")
    group(parser, OUTPUT).add_argument(
        "--as-config",
        action="store_true",
        help="print the options of the packed directory as a file for `packsort pack --config`",
    )
    add_json(parser)
    add_tokenizer_options(parser, required=False)
    add_input_options(parser, text=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort._stores import place
    from packsort.errors import OptionError
    from packsort.shards.manifest import NAME

    if args.rows:
        from packsort.cli.inspect_rows import show_rows

        return show_rows(args)
    for name in ("row", *args.input_options):
        if name != "memory_map" and getattr(args, name) != args.parser.get_default(name):
            raise OptionError(f"{name} is for rows, and there are packs; to see rows, pass rows=True")
    packed, *more = args.packed
    if more or (place(packed).exists() and not (place(packed) / NAME).exists()):
        raise OptionError(f"`{more[0] if more else packed}` is no packed directory; to see rows, pass rows=True")
    if args.as_config:
        return _show_config(args, packed)
    from packsort.cli.inspect_packs import show_pack

    return show_pack(args)


def _show_config(args: argparse.Namespace, packed: str) -> int:
    """Print the options of a packed directory as a file for `packsort pack --config`."""
    from packsort._warn import warn
    from packsort.cli.config_text import config_text, template_doubt
    from packsort.errors import TokenizerError
    from packsort.shards.files import ShardFiles

    manifest = ShardFiles(packed, memory_map=args.memory_map).manifest
    text = config_text(manifest, packed, args.chat_template)
    info = manifest.tokenizer
    if info is not None and info.chat_template is not None:
        try:
            tokenizer = load_recorded_tokenizer(args, info.name)
        except TokenizerError:
            tokenizer = None
        if doubt := template_doubt(info, tokenizer):
            warn([doubt])
    if args.json:
        say_result(args, {"shows": "config", "config": text})
    else:
        print(text, end="")
    return 0

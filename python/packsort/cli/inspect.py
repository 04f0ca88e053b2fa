"""`packsort inspect`: the sequences of one pack, and their text; `inspect_rows` shows rows before they are packed."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from packsort.cli.decoded import decoded_runs, marked_text, shortened
from packsort.cli.options import add_input_options, add_json
from packsort.cli.output import say_json, shown
from packsort.cli.parser import REQUIRED, SHOWING, Subparsers, add_command, group
from packsort.cli.text import index_files, lines, order_of_rows
from packsort.cli.tokenizer import add_tokenizer_options, load_chosen_tokenizer
from packsort.schema import INPUT_IDS, LABELS, PADDING, PIECE_STARTS, SEQ_LENGTHS, SEQUENCE_IDS

if TYPE_CHECKING:
    from packsort.shards.reader import Shards


def add_parser(subparsers: Subparsers) -> None:
    """Add the command to the command line."""
    parser = add_command(
        subparsers,
        "inspect",
        usage="DIR|SOURCE...",
        help="show rows of a source before they are packed, or the sequences of one pack",
        description="With --rows, show rows of SOURCE before anything is packed: how they are read and rendered, and "
        "which tokens carry loss. Without it, show where each sequence of a pack begins and ends, and which row of the "
        "source it is; with a tokenizer, show its text and mark the text that carries loss.",
        examples=(
            "packsort inspect packed --pack 7",
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
    showing.add_argument("--count", type=int, metavar="K", help="with --rows, the most rows to show (default: 3)")
    showing.add_argument("--full", action="store_true", help="show whole texts instead of their beginnings and ends")
    add_json(parser)
    add_tokenizer_options(parser, required=False)
    add_input_options(parser, text=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit status."""
    from packsort import _checks
    from packsort._stores import place
    from packsort.errors import OptionError
    from packsort.shards.manifest import NAME
    from packsort.shards.reader import open_shards

    if args.rows:
        from packsort.cli.inspect_rows import show_rows

        return show_rows(args)
    _refuse_options_of_rows(args)
    (packed, *more), number = args.packed, args.pack or 0
    path = place(packed)
    if more or (path.exists() and not (path / NAME).exists()):
        raise OptionError(f"`{more[0] if more else packed}` is no packed directory; to see rows, pass rows=True")
    shards = open_shards(packed, memory_map=args.memory_map)
    try:
        number = _checks.pack_number(number, len(shards), f"`{packed}`")
    except IndexError as error:
        raise OptionError(str(error)) from None
    tokenizer: Any = load_chosen_tokenizer(args) if args.tokenizer else None
    facts = describe(shards, number, tokenizer)
    if args.json:
        say_json(facts)
    else:
        _show(shards, facts, full=args.full)
    return 0


def _refuse_options_of_rows(args: argparse.Namespace) -> None:
    """Refuse options that do nothing without --rows."""
    from packsort.errors import OptionError

    for name in ("row", "count", *args.input_options):
        if name != "memory_map" and getattr(args, name) != args.parser.get_default(name):
            raise OptionError(f"{name} is for rows, and there are packs; to see rows, pass rows=True")


def describe(shards: Shards, number: int, tokenizer: Any = None) -> dict[str, Any]:
    """Return one pack and its segments: where each begins and ends, its source row, its loss tokens and its text."""
    pack = shards[number]
    labels = pack.get(LABELS)
    begin = 0
    sequences = []
    starts = pack.get(PIECE_STARTS)
    for i, (row, length) in enumerate(zip(pack[SEQUENCE_IDS].tolist(), pack[SEQ_LENGTHS].tolist(), strict=True)):
        end = begin + length
        one: dict[str, Any] = {"begin": begin, "end": end, "tokens": length, "row": row, **_origin(shards, row)}
        if starts is not None:
            one["piece_start"] = int(starts[i])
        if labels is not None:
            one["loss_tokens"] = int((labels[begin:end] >= 0).sum())
        if shards.manifest.options.keep and row >= 0:
            one["kept"] = {name: _kept(shards, name, pack[name][i]) for name in shards.manifest.options.keep}
        ids = pack[INPUT_IDS][begin:end]
        if tokenizer is None:
            one["input_ids"] = ids.tolist()
        else:
            one["runs"] = decoded_runs(tokenizer, ids, None if labels is None else labels[begin:end])
        sequences.append(one)
        begin = end
    return {
        "pack": number,
        "packs": len(shards),
        "tokens": begin,
        "max_length": shards.max_length,
        **_order(shards),
        **({} if shards.tokens is None else {"tokens_in": [file.path for file in shards.tokens.files]}),
        "sequences": sequences,
    }


def _order(shards: Shards) -> dict[str, Any]:
    """Return how far the sequences of all packs stand from their places in the source, if packs are in its order."""
    options, counts = shards.manifest.options, shards.manifest.counts
    if options.strategy != "in_order":
        return {}
    moved = {"max_displacement": counts.max_displacement, "mean_displacement": counts.mean_displacement}
    return {"efficiency": shards.manifest.efficiency, "window": options.window, **moved}


def _kept(shards: Shards, name: str, value: Any) -> Any:
    """Return a value that is kept, text in place of its code."""
    texts = shards.dictionaries.get(name)
    return value.item() if texts is None else texts[value]


def _origin(shards: Shards, row: int) -> dict[str, Any]:
    """Return the file of a source row and the row within it, or the kind of a filler."""
    if row < 0:
        return {"filler": "padding" if row == PADDING else "separator"}
    for source in shards.manifest.sources:
        if row < source.rows:
            return {"file": source.path, "file_row": row}
        row -= source.rows
    return {}


def _show(shards: Shards, facts: dict[str, Any], *, full: bool) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160  # a pipe has no width to fit
    left = facts["max_length"] - facts["tokens"]
    print(
        lines(
            [
                ("pack", f"{facts['pack']:,} of {facts['packs']:,}"),
                ("tokens", f"{facts['tokens']:,} of {facts['max_length']:,}, {left:,} left"),
                *order_of_rows(shards.manifest),
                ("columns", ", ".join(shards.column_names)),
                *([] if shards.manifest.index is None else [("tokens in", index_files(shards.manifest.index))]),
            ]
        )
    )
    table = Table("sequence", "begins", "ends", "tokens", "loss tokens", "source", box=None, pad_edge=False)
    for i, one in enumerate(facts["sequences"]):
        loss = one.get("loss_tokens")
        where = f"{one['file']} row {one['file_row']}" if "file" in one else f"row {one['row']}"
        source = one.get("filler", where)
        if "piece_start" in one and "filler" not in one:
            source += f", from token {one['piece_start']:,}"
        cells = [str(i), *(f"{one[name]:,}" for name in ("begin", "end", "tokens"))]
        table.add_row(*cells, "all" if loss is None else f"{loss:,}", Text(shown(source), overflow="fold"))
    console.print(table)
    for i, one in enumerate(facts["sequences"]):
        text = marked_text(one["runs"]) if "runs" in one else Text(" ".join(map(str, one["input_ids"])))
        console.print()
        kept = "".join(f", {name} {value!r}" for name, value in one.get("kept", {}).items())
        title = Text(shown(f"sequence {i}: tokens {one['begin']:,} to {one['end']:,}{kept}"))
        console.rule(title, align="left", characters="-")
        console.print(text if full else shortened(text), soft_wrap=True)

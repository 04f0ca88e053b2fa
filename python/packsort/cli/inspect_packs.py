"""`packsort inspect` of packs: where the sequences of a pack begin and end, where they come from, and their text."""

from __future__ import annotations

import argparse
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from packsort.cli.decoded import decoded_runs, marked_text, shortened
from packsort.cli.output import line_width, shown
from packsort.cli.results import say_result
from packsort.cli.text import index_files, lines, order_of_rows
from packsort.cli.tokenizer import load_chosen_tokenizer, load_recorded_tokenizer
from packsort.schema import INPUT_IDS, LABELS, PADDING, PIECE_STARTS, SEQ_LENGTHS, SEQUENCE_IDS

if TYPE_CHECKING:
    from rich.table import Table

    from packsort.shards.reader import Shards

_MOST_LINES = 20  # of the table


def show_pack(args: argparse.Namespace) -> int:
    """Run `packsort inspect` for a pack, and return its exit status."""
    from packsort import _checks
    from packsort.errors import OptionError
    from packsort.shards.reader import open_shards

    (packed,) = args.packed
    shards = open_shards(packed, memory_map=args.memory_map)
    try:
        number = _checks.pack_number(args.pack or 0, len(shards), f"`{packed}`")
    except IndexError as error:
        raise OptionError(str(error)) from None
    listed, texts = _chosen(args, len(shards[number][SEQ_LENGTHS]))
    tokenizer, missing = _tokenizer(args, shards)
    facts = describe(shards, number, tokenizer)
    if args.json:
        say_result(args, {"shows": "pack", **facts})
        return 0
    _show(shards, facts, listed, texts, full=args.full)
    if missing is not None:
        print()
        print(lines([("note", missing)]))
    return 0


def _chosen(args: argparse.Namespace, number: int) -> tuple[range, range]:
    """Return which sequences of a pack the table lists, and of which the text is shown."""
    from packsort import _checks
    from packsort.errors import OptionError

    count = (3 if args.sequence is None else 1) if args.count is None else _checks.integer("count", args.count, 1)
    if args.sequence is None:
        return range(min(number, _MOST_LINES)), range(min(number, count))
    if not -number <= args.sequence < number:
        raise OptionError(f"sequence must be between 0 and {number - 1:,} in this pack, got {args.sequence:,}")
    first = args.sequence % number
    texts = range(first, min(number, first + count))
    return texts[:_MOST_LINES], texts


def _tokenizer(args: argparse.Namespace, shards: Shards) -> tuple[Any, str | None]:
    """Return the tokenizer that is chosen or that the manifest names, or None and the reason."""
    from packsort.errors import TokenizerError

    info = shards.manifest.tokenizer
    if args.tokenizer:
        return load_chosen_tokenizer(args), None
    if info is None:
        return None, "the packs were made of tokens: pass --tokenizer to see their text"
    try:
        return load_recorded_tokenizer(args, info.name), None
    except TokenizerError:
        return None, f"this machine has no tokenizer `{info.name}`, which the manifest names: pass --tokenizer"


def describe(shards: Shards, number: int, tokenizer: Any = None) -> dict[str, Any]:
    """Return one pack and its segments: where each begins and ends, its source row, its loss tokens and its text."""
    pack = shards[number]
    labels = pack.get(LABELS)
    begin = 0
    segments = []
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
        one["input_ids"] = ids.tolist()
        if tokenizer is not None:
            one["runs"] = decoded_runs(tokenizer, ids, None if labels is None else labels[begin:end])
        segments.append(one)
        begin = end
    return {
        "pack": number,
        "packs": len(shards),
        "tokens": begin,
        "max_length": shards.max_length,
        **_order(shards),
        **({} if shards.tokens is None else {"tokens_in": [file.path for file in shards.tokens.files]}),
        "sequences": int((pack[SEQUENCE_IDS] >= 0).sum()),
        "segments": segments,
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


def _show(shards: Shards, facts: dict[str, Any], listed: range, texts: range, *, full: bool) -> None:
    """Print a pack.

    Args:
        shards: The packed directory.
        facts: The pack, from `describe`.
        listed: Sequences that the table lists.
        texts: Sequences whose text is shown.
        full: Whether to show whole texts.
    """
    from rich.text import Text

    from packsort.cli.console import open_console, print_table

    console = open_console()
    segments = facts["segments"]
    left = facts["max_length"] - facts["tokens"]
    pairs = [
        ("pack", f"{facts['pack']:,} of {facts['packs']:,}"),
        ("tokens", f"{facts['tokens']:,} of {facts['max_length']:,}, {left:,} left"),
        *order_of_rows(shards.manifest),
        ("columns", ", ".join(shards.column_names)),
    ]
    files = [one.path for one in shards.manifest.sources]
    if len(files) == 1:
        pairs.append(("source", files[0]))
    if shards.manifest.index is not None:
        pairs.append(("tokens in", index_files(shards.manifest.index)))
    print(lines(pairs))
    print()
    print_table(console, _table([(number, segments[number]) for number in listed], name_files=len(files) > 1))
    more = len(segments) - len(listed)
    if more and listed.start == 0:
        print(f"and {more:,} more: --sequence N shows one, --json lists all")
    for number in texts:
        one = segments[number]
        print()
        console.rule(f"sequence {number}: tokens {one['begin']:,} to {one['end']:,}", align="left", characters="-")
        if "kept" in one:
            print(lines([(name, repr(value)) for name, value in one["kept"].items()]))
        text = marked_text(one["runs"]) if "runs" in one else Text(" ".join(map(str, one["input_ids"])))
        console.print(text if full else shortened(text), soft_wrap=line_width() is None)


def _table(listed: list[tuple[int, dict[str, Any]]], *, name_files: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("sequence", "begins", "ends", "tokens", "with loss"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("source", overflow="fold")
    for number, one in listed:
        cells = [f"{one[name]:,}" for name in ("begin", "end", "tokens")]
        loss = one.get("loss_tokens")
        place = Text(shown(_place(one, name_files)))
        table.add_row(f"{number:,}", *cells, "all" if loss is None else f"{loss:,}", place)
    return table


def _place(one: dict[str, Any], name_files: bool) -> str:
    """Say where a sequence comes from; files have their own names, without those of folders."""
    if "filler" in one:
        return str(one["filler"])
    place = f"row {one.get('file_row', one['row']):,}"
    if name_files and "file" in one:
        place = f"{PurePath(one['file']).name} {place}"
    return f"{place}, from token {one['piece_start']:,}" if "piece_start" in one else place

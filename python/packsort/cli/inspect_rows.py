"""`packsort inspect --rows`: how rows are read and rendered, and which of their tokens carry loss."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from packsort.cli.decoded import decoded_runs, marked_text, shortened
from packsort.cli.options import input_options
from packsort.cli.output import line_width, shown
from packsort.cli.results import say_result
from packsort.cli.text import lines, rows_read
from packsort.cli.tokenizer import load_chosen_tokenizer
from packsort.schema import INPUT_IDS, LABELS

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.text import Text

    from packsort._options.input import InputConfig
    from packsort.sources.sliced import SlicedSource

_SHOWN_CHARACTERS = 1200


def show_rows(args: argparse.Namespace) -> int:
    """Run `packsort inspect --rows` and return its exit status."""
    from packsort import _checks
    from packsort._options.input import take_input_options
    from packsort._stores import place
    from packsort.errors import OptionError
    from packsort.shards.manifest import NAME
    from packsort.sources.files.skipped import count_skipped
    from packsort.sources.sliced import SlicedSource
    from packsort.sources.source import open_source

    for name in ("pack", "sequence"):
        if getattr(args, name) is not None:
            raise OptionError(
                f"{name} does not go with rows=True: rows have no packs yet; choose them with row and count"
            )
    for given in args.packed:
        if (place(given) / NAME).exists():
            raise OptionError(f"`{given}` is a packed directory, which holds no rows: look at its packs without --rows")
    first = _checks.integer("row", 0 if args.row is None else args.row, 0)
    count = _checks.integer("count", 3 if args.count is None else args.count, 1)
    config = take_input_options(input_options(args))
    config.check_tokenizer(args.tokenizer)
    source = open_source(args.packed, config)
    if first >= source.num_rows:
        raise OptionError(f"{source.name}: row must be between 0 and {source.num_rows - 1:,}, got {first:,}")
    tokenizer = None if args.tokenizer is None else load_chosen_tokenizer(args)
    facts = describe_rows(SlicedSource(source, first, count), tokenizer, config)
    if args.json:
        facts["columns_read"] = facts.pop("columns")
        say_result(args, {"shows": "rows", **facts})
    else:
        print(lines(_summary(facts, rows_read(source.rows_by_split, count_skipped(source.skipped)))))
        _show(facts, full=args.full)
    return 0


def describe_rows(rows: SlicedSource, tokenizer: Any, config: InputConfig) -> dict[str, Any]:
    """Return how some rows are read and rendered, and their tokens.

    Args:
        rows: The rows.
        tokenizer: A `transformers.PreTrainedTokenizerBase`, or None where the rows hold tokens.
        config: Options of what goes in.
    """
    from packsort.sources.files.skipped import count_skipped

    table, facts = _tokens(rows, tokenizer, config)
    labels = table[LABELS] if LABELS in table.column_names else None
    shown = []
    for index, (path, file_row) in enumerate(rows.locate()):
        ids = table[INPUT_IDS][index].values.to_numpy()
        own = None if labels is None else labels[index].values.to_numpy()
        one: dict[str, Any] = {"row": rows.first + index, "file": path, "file_row": file_row, "tokens": len(ids)}
        one["loss_tokens"] = len(ids) if own is None else int((own >= 0).sum())
        one |= {"input_ids": ids.tolist(), "labels": None if own is None else own.tolist()}
        if tokenizer is not None:
            one["runs"] = decoded_runs(tokenizer, ids, own, special=True)
        shown.append(one)
    return {
        "rows": rows.num_rows,
        "files": [file.path for file in rows.files],
        "rows_by_split": rows.rows_by_split,
        "skipped": [vars(one) for one in count_skipped(rows.skipped)],
        **facts,
        "left_out": [name for name in rows.schema.names if name not in facts["columns"]],
        "shown": shown,
    }


def _tokens(rows: SlicedSource, tokenizer: Any, config: InputConfig) -> tuple[pa.Table, dict[str, Any]]:
    """Return the tokens of the rows, and how they were made."""
    from packsort.errors import SourceError
    from packsort.tokenization.tokenize import Tokenization

    if tokenizer is not None:
        try:
            tokenization = Tokenization(rows, tokenizer, config)
        except SourceError:
            if INPUT_IDS not in rows.schema.names:
                raise
        else:
            table = tokenization.read()
            return table, {
                "form": tokenization.form,
                "columns": list(tokenization.columns),
                "loss_rule": tokenization.loss_rule.value,
                "template_date": tokenization.template_date,
                "notes": [str(note) for note in tokenization.notes],
            }
    return _read_tokens(rows, config)


def _read_tokens(rows: SlicedSource, config: InputConfig) -> tuple[pa.Table, dict[str, Any]]:
    """Return tokens that the rows hold, checked as packing checks them."""
    import pyarrow as pa

    from packsort.sources.formats.memory import MemoryReader
    from packsort.sources.source import Source
    from packsort.sources.tokens.read import read_tokens
    from packsort.sources.tokens.roles import column_roles

    with rows.naming():
        columns = column_roles(rows.schema).read
    batches = [batch for _, _, batch in rows.batches(columns)]
    name = f"{rows.files[0].path} from row {rows.first:,} on" if rows.first else rows.files[0].path
    tokens = read_tokens(Source([MemoryReader(pa.Table.from_batches(batches), name)]), config.empty)
    facts = {"form": None, "columns": list(columns), "loss_rule": None, "template_date": None}
    return tokens.table, facts | {"notes": tokens.uses.in_words()}


def _show(facts: dict[str, Any], *, full: bool) -> None:
    from rich.text import Text

    from packsort.cli.console import open_console

    console = open_console()
    for one in facts["shown"]:
        loss = f"{one['loss_tokens']:,} with loss" if one["loss_tokens"] else "none with loss"
        console.print()
        console.rule(f"row {one['row']:,}: {one['tokens']:,} tokens, {loss}", align="left", characters="-")
        if len(facts["files"]) > 1:
            console.print(Text(shown(f"{one['file']} row {one['file_row']:,}"), style="dim"), soft_wrap=True)
        text = marked_text(one["runs"]) if "runs" in one else _marked_ids(one)
        console.print(text if full else shortened(text, _SHOWN_CHARACTERS), soft_wrap=line_width() is None)


def _summary(facts: dict[str, Any], read: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Say what was read and how it is rendered; `read` tells of splits and of what was skipped."""
    first, *others = facts["files"]
    rows = "1 row" if facts["rows"] == 1 else f"{facts['rows']:,} rows"
    pairs = [("source", f"{rows} of {first}" + (f" and {len(others):,} more files" if others else ""))]
    pairs += read
    pairs.append(("columns", ", ".join(f"`{name}`" for name in facts["columns"])))
    if facts["left_out"]:
        pairs.append(("left out", ", ".join(f"`{name}`" for name in facts["left_out"])))
    if facts["loss_rule"] is not None:
        from packsort.tokenization.loss import LossRule, describe_loss

        pairs.append(("loss on", f"{describe_loss(LossRule(facts['loss_rule']))}, shown ⟦like this⟧"))
    if facts["template_date"] is not None:
        pairs.append(("date", f"{facts['template_date']}, which the chat template reads"))
    return pairs + [("note", note) for note in facts["notes"]]


def _marked_ids(one: dict[str, Any]) -> Text:
    """Return token ids as text, those that carry loss marked."""
    labels = one["labels"] or one["input_ids"]
    pairs = zip(one["input_ids"], labels, strict=True)
    return marked_text([{"loss": label >= 0, "text": f" {token}"} for token, label in pairs])

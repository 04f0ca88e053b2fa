"""`packsort tokenize`: conversations, prompts with completions, or text in; token files out."""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from packsort.errors import OptionError

if TYPE_CHECKING:
    from packsort.tokenization.files import TokenizedFiles


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command to the command line."""
    parser = subparsers.add_parser(
        "tokenize",
        help="turn conversations or text into token files",
        description="Tokenizes the column `messages` (by the chat template), `prompt` and `completion`, or `text` of "
        "Parquet or Arrow files, and marks in `labels` which tokens carry loss.",
    )
    parser.add_argument("source", nargs="+", metavar="SOURCE", help="files, folders or glob patterns")
    parser.add_argument(
        "-o", "--out", required=True, help="a folder, one file for each of SOURCE; or one .parquet or .arrow file"
    )
    add_tokenizer_options(parser, required=True)
    parser.add_argument("--keep", nargs="+", default=[], metavar="COLUMN", help="other columns to carry along")
    parser.add_argument("--overwrite", action="store_true", help="replace files of the same name")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def add_tokenizer_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Adds the options that say which tokenizer to use; every command that tokenizes has the same."""
    parser.add_argument(
        "--tokenizer", required=required, metavar="DIR", help="a folder with a tokenizer, or a Hub name"
    )
    parser.add_argument("--chat-template", metavar="FILE", help="a Jinja chat template, in place of the tokenizer's")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="let Python code that comes with the tokenizer run"
    )


def tokenizer_from(args: argparse.Namespace) -> object:
    """Loads the tokenizer that the options of `add_tokenizer_options` name."""
    # This process is ours and starts no forks that tokenize: let the tokenizer use its threads and not warn of forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    template = None
    if args.chat_template is not None:
        try:
            template = Path(args.chat_template).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise OptionError(f"chat template `{args.chat_template}` is not UTF-8 text") from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OptionError(f"chat template `{args.chat_template}` cannot be read: {reason}") from error
    from packsort.tokenization.tokenizer import load_tokenizer

    return load_tokenizer(args.tokenizer, trust_remote_code=args.trust_remote_code, chat_template=template)


def run(args: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    from packsort.cli import progress
    from packsort.sources.source import open_source
    from packsort.tokenization.files import write_tokens

    source = open_source(args.source)
    tokenizer = tokenizer_from(args)
    start = time.perf_counter()
    with progress.stage("tokenizing", total=source.num_rows, unit="sequences") as advance:
        written = write_tokens(
            source, args.out, tokenizer, overwrite=args.overwrite, keep=args.keep, on_progress=advance
        )
    seconds = time.perf_counter() - start
    print(_as_json(written, seconds) if args.json else _summary(written, seconds))
    return 0


def _as_json(written: TokenizedFiles, seconds: float) -> str:
    files = [str(path) for path in written.files]
    return json.dumps({**asdict(written), "files": files, "seconds": round(seconds, 3)})


def _summary(written: TokenizedFiles, seconds: float) -> str:
    from packsort.tokenization.loss import describe_loss

    share = written.loss_tokens / written.tokens
    lines = [
        ("sequences", f"{written.sequences:,}"),
        ("tokens", f"{written.tokens:,}"),
        ("loss on", describe_loss(written.loss_rule)),
        ("loss tokens", f"{written.loss_tokens:,} ({share:.1%})"),
    ]
    if written.without_loss:
        lines.append(("without loss", f"{written.without_loss:,} sequences have no token that carries loss"))
    lines += [("note", str(note)) for note in written.notes]
    lines.append(("time", f"{seconds:.1f} s, {written.tokens / seconds:,.0f} tokens/s"))
    lines += [("wrote", str(path)) for path in written.files[:10]]
    if len(written.files) > 10:
        lines.append(("", f"and {len(written.files) - 10:,} more files"))
    return "\n".join(f"{name:<13} {text}" for name, text in lines)

"""Arguments that choose a tokenizer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from packsort._progress import Stage
from packsort.cli import progress
from packsort.cli.parser import REQUIRED, TOKENIZING, group
from packsort.errors import OptionError

if TYPE_CHECKING:
    from packsort.tokenization.choice import TokenizerChoice


def add_tokenizer_options(parser: argparse.ArgumentParser, *, required: bool) -> None:
    """Add the options that choose a tokenizer."""
    tokenizing = group(parser, TOKENIZING)
    group(parser, REQUIRED if required else TOKENIZING).add_argument(
        "--tokenizer",
        required=required,
        metavar="DIR",
        help="folder of a tokenizer, or its name on the Hugging Face Hub",
    )
    tokenizing.add_argument(
        "--chat-template", metavar="FILE", help="Jinja chat template to use instead of the tokenizer's"
    )
    tokenizing.add_argument(
        "--trust-remote-code", action="store_true", help="run Python code that comes with the tokenizer"
    )


def load_chosen_tokenizer(args: argparse.Namespace, stage: Stage = progress.stage) -> object:
    """Load the tokenizer that the options of `add_tokenizer_options` choose, as a stage of the command."""
    choice = choose_tokenizer(args)
    with stage("loading the tokenizer"):
        return choice.load()


def load_recorded_tokenizer(args: argparse.Namespace, name: str, stage: Stage = progress.stage) -> object:
    """Load the tokenizer that a manifest names, from this machine only, and without its code.

    Whoever wrote the manifest chose the name, so it is not looked for on the Hub.

    Args:
        args: Arguments with the options of `add_tokenizer_options`, but no tokenizer.
        name: The name or folder.
        stage: Progress reporter.

    Raises:
        TokenizerError: It cannot be loaded.
    """
    args.tokenizer, args.trust_remote_code = name, False
    choice = choose_tokenizer(args, download=False)
    with stage("loading the tokenizer"):
        return choice.load()


def choose_tokenizer(args: argparse.Namespace, *, download: bool = True) -> TokenizerChoice:
    """Return the tokenizer that the options of `add_tokenizer_options` choose, without loading it.

    Args:
        args: The arguments.
        download: Whether a name is looked for on the Hub.
    """
    # This process tokenizes in no forks, so the tokenizer may use its threads without a warning about forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    template = None
    if args.chat_template is not None:
        try:
            template = Path(args.chat_template).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise OptionError(f"chat template `{args.chat_template}` is not UTF-8 text") from error
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise OptionError(f"chat template `{args.chat_template}` cannot be read: {reason}") from error
    from packsort.tokenization.choice import TokenizerChoice

    return TokenizerChoice(
        args.tokenizer, trust_remote_code=args.trust_remote_code, chat_template=template, download=download
    )

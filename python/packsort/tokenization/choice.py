"""Tokenizer that a caller chose, loaded when it is first needed.

Importing transformers takes seconds. Where tokens were kept (`kept`), neither it nor the tokenizer is needed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import xxhash

from packsort import _core
from packsort._progress import Stage, log_stage
from packsort.errors import TokenizerError
from packsort.tokenization.tokenizer import as_tokenizer, load_tokenizer

_TEMPLATES = "additional_chat_templates"  # the folder in which transformers saves all templates but one


class TokenizerChoice:
    """A tokenizer, or the folder or Hub name of one.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase`, its folder or its Hub name.
        trust_remote_code: Whether to run Python code that comes with the tokenizer.
        chat_template: Text of a Jinja template that replaces the tokenizer's own.
        download: Whether a name is looked for on the Hub, or in its cache only. All three are for folders and names.

    Example:
        >>> choice = TokenizerChoice("no/such/folder/")
        >>> choice.load()
        Traceback (most recent call last):
        packsort.errors.TokenizerError: no tokenizer folder `no/such/folder/`
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        trust_remote_code: bool = False,
        chat_template: str | None = None,
        download: bool = True,
    ) -> None:
        named = isinstance(tokenizer, (str, os.PathLike))
        self._name = os.fspath(tokenizer) if named else None
        self._loaded = None if named else as_tokenizer(tokenizer)
        self._download = download
        self._options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "chat_template": chat_template}

    def load(self, stage: Stage = log_stage) -> Any:
        """Return the tokenizer.

        Args:
            stage: Progress reporter, as for `packsort.write_shards`.

        Raises:
            TokenizerError: It cannot be loaded.
        """
        if self._loaded is None:
            assert self._name is not None
            with stage("loading the tokenizer"):
                self._loaded = load_tokenizer(self._name, download=self._download, **self._options)
        return self._loaded

    @cached_property
    def identity(self) -> list[Any]:
        """Facts that two tokenizers share only if they give the same tokens.

        A folder is told by its files and their dates, without loading it; other tokenizers by what they save.

        Raises:
            TokenizerError: The tokenizer cannot be loaded, or cannot be saved.
        """
        versions = [_core.__version__, *map(_version, ("transformers", "tokenizers", "jinja2", "trl"))]
        if self._name is not None and Path(self._name).is_dir():
            folder = Path(self._name)
            files = sorted(path for path in (*folder.glob("*"), *folder.glob(f"{_TEMPLATES}/*")) if path.is_file())
            return [*versions, self._name, stamps(files), self._options]
        tokenizer = self.load()
        kind = type(tokenizer)
        with tempfile.TemporaryDirectory() as saved:
            try:
                tokenizer.save_pretrained(saved)
            except Exception as error:  # a class of its own may raise anything
                raise TokenizerError(f"the tokenizer cannot be saved to tell it from others: {error}") from error
            files = sorted(path for path in Path(saved).rglob("*") if path.is_file())
            digests = [[path.name, xxhash.xxh3_128(path.read_bytes()).hexdigest()] for path in files]
        return [*versions, f"{kind.__module__}.{kind.__qualname__}", str(tokenizer.name_or_path), digests]


def as_choice(tokenizer: Any) -> TokenizerChoice | None:
    """Return the choice that a caller's tokenizer is, or None where there is none."""
    return tokenizer if tokenizer is None or isinstance(tokenizer, TokenizerChoice) else TokenizerChoice(tokenizer)


def stamps(files: Iterable[Path]) -> list[Any]:
    """Return the path, size and dates of files, which tell whether one has changed.

    Programs that copy files set the date of their content, but not that of their last change.
    """
    found = [(path.resolve(), path.stat()) for path in files]
    return [[str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for path, stat in found]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

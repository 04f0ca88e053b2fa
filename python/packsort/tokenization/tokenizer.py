"""Loading of Hugging Face tokenizers, with short errors for what cannot be loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from packsort.errors import TokenizerError

_FILES = ("tokenizer.json", "tokenizer_config.json")


def load_tokenizer(
    name_or_dir: str | os.PathLike[str], *, trust_remote_code: bool = False, chat_template: str | None = None
) -> Any:
    """Load a Hugging Face tokenizer.

    Args:
        name_or_dir: A folder that `save_pretrained` wrote, or a name on the Hugging Face Hub.
        trust_remote_code: Whether to run Python code that comes with the tokenizer.
        chat_template: Text of a Jinja template that replaces the tokenizer's own.

    Returns:
        A `transformers.PreTrainedTokenizerBase`.

    Raises:
        TokenizerError: transformers is not installed, or the tokenizer cannot be loaded.

    Example:
        >>> load_tokenizer("./no/such/folder")
        Traceback (most recent call last):
        packsort.errors.TokenizerError: no tokenizer folder `./no/such/folder`
    """
    name = os.fspath(name_or_dir)
    path = Path(name)
    if path.is_file():
        raise TokenizerError(f"tokenizer `{name}` is a file: pass the folder that holds it")
    # A mistyped path is refused here. Asked for it, the Hub client retries for a minute without a network.
    local = path.is_absolute() or name.startswith((".", "~")) or name.endswith(("/", os.sep))
    if not path.is_dir() and (local or len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.is_dir())):
        raise TokenizerError(f"no tokenizer folder `{name}`")
    if path.is_dir() and not any((path / file).is_file() for file in _FILES):
        raise TokenizerError(f"folder `{name}` holds no tokenizer: neither {' nor '.join(_FILES)}")
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise TokenizerError(f"tokenizing needs transformers ({error}): pip install 'packsort[hf]'") from error
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    # Damaged and foreign files raise exceptions of many classes here.
    except Exception as error:
        if "trust_remote_code" in str(error):
            reason = "it comes with Python code; pass trust_remote_code=True to run it"
        else:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
        raise TokenizerError(f"tokenizer `{name}` cannot be loaded: {reason}") from error
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def as_tokenizer(tokenizer: Any) -> Any:
    """Return a tokenizer as it is, or load the one that a folder or Hub name stands for."""
    return load_tokenizer(tokenizer) if isinstance(tokenizer, (str, os.PathLike)) else tokenizer

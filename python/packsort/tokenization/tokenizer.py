"""Loading of Hugging Face tokenizers, with short errors for what cannot be loaded."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packsort._hub import hub_is_reachable
from packsort._install import pip_install
from packsort.errors import TokenizerError

# Vocabularies of the tokenizers that transformers loads. It reads other names only where `tokenizer_config.json` or
# `config.json` says so, and makes an empty tokenizer where they name files that are not there.
_VOCABULARIES = ("tokenizer.json", "tekken.json", "vocab.*", "*.model", "*.model.*", "*.spm", "*.tiktoken", "*.bpe")
_SETTINGS = ("tokenizer_config.json",)
_MISTRAL = "tekken.json"
_LONGEST_REASON = 300  # characters of a foreign message


def load_tokenizer(
    name_or_dir: str | os.PathLike[str],
    *,
    trust_remote_code: bool = False,
    chat_template: str | None = None,
    download: bool = True,
) -> Any:
    """Load a Hugging Face tokenizer.

    Args:
        name_or_dir: A folder with the files of a tokenizer that transformers can load, such as one that
            `save_pretrained` wrote, or a name on the Hugging Face Hub. A folder that has `tekken.json` and no
            `tokenizer.json` needs mistral-common; one that has only `tokenizer.model` needs sentencepiece or tiktoken.
        trust_remote_code: Whether to run Python code that comes with the tokenizer.
        chat_template: Text of a Jinja template that replaces the tokenizer's own.
        download: Whether a name is looked for on the Hub, or in its cache on this machine only.

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
    path = Path(name).expanduser()
    if path.is_file():
        raise TokenizerError(f"tokenizer `{name}` is a file: pass the folder that holds it")
    # A mistyped path is refused here: asked for it, the Hub would say that it has no such repository.
    local = path.is_absolute() or name.startswith((".", "~")) or name.endswith(("/", os.sep))
    if not path.is_dir() and (local or len(path.parts) > 2 or (len(path.parts) == 2 and path.parent.is_dir())):
        raise TokenizerError(f"no tokenizer folder `{name}`")
    if path.is_dir():
        _check_folder(path, name)
    try:
        from transformers import AutoTokenizer, PreTrainedTokenizerFast
    except ImportError as error:
        raise TokenizerError(f"tokenizing needs transformers ({error}): {pip_install('packsort[hf]')}") from error
    loader: Any = _mistral_loader(path) or AutoTokenizer
    if loader is AutoTokenizer and not _names_class(path):
        # transformers before 5 asks for the model of a folder that has nothing but this file.
        loader = PreTrainedTokenizerFast
    cached = not path.is_dir() and not (download and hub_is_reachable())
    # What a folder lacks is not asked for elsewhere, except for code that the caller trusts.
    local = cached or (path.is_dir() and not trust_remote_code)
    try:
        tokenizer = loader.from_pretrained(
            str(path) if path.is_dir() else name, trust_remote_code=trust_remote_code, local_files_only=local
        )
    # Damaged and foreign files raise exceptions of many classes here.
    except Exception as error:
        reason = _reason(error, "" if not cached else "cannot be reached" if download else "is not asked")
        raise TokenizerError(f"tokenizer `{name}` cannot be loaded: {reason}") from error
    if not _has_words(tokenizer):
        raise TokenizerError(f"tokenizer `{name}` has no vocabulary: its folder lacks the files that it needs")
    if not tokenizer.name_or_path:
        tokenizer.name_or_path = name
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def as_tokenizer(tokenizer: Any) -> Any:
    """Return a tokenizer as it is, a processor's own, or the one that a folder or Hub name stands for.

    Raises:
        TokenizerError: It is no tokenizer of transformers, or cannot be loaded.
    """
    if isinstance(tokenizer, (str, os.PathLike)):
        return load_tokenizer(tokenizer)
    # Told by what it can do: importing transformers takes seconds.
    for one in (tokenizer, getattr(tokenizer, "tokenizer", None)):
        if hasattr(one, "convert_tokens_to_ids"):
            return one
    kind = f"{type(tokenizer).__module__}.{type(tokenizer).__qualname__}"
    raise TokenizerError(
        f"tokenizer must be a tokenizer of transformers, its folder or its Hub name, got a {kind}"
        + (": pass PreTrainedTokenizerFast(tokenizer_object=...)" if kind.startswith("tokenizers.") else "")
    )


def special_tokens(tokenizer: Any) -> dict[int, str]:
    """Return a tokenizer's special tokens by id, those that were added without a role among them.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase`.
    """
    # In mistral-common's tokenizers, which list all of theirs under a role, this is a method that raises.
    added = tokenizer.added_tokens_decoder
    others = {token_id: str(one) for token_id, one in added.items() if one.special} if isinstance(added, dict) else {}
    return dict(zip(tokenizer.all_special_ids, map(str, tokenizer.all_special_tokens), strict=True)) | others


def _check_folder(folder: Path, name: str) -> None:
    """Refuse a folder without any file of a tokenizer."""
    try:
        files = os.listdir(folder)
    except OSError as error:
        raise TokenizerError(f"folder `{name}` cannot be read: {error.strerror}") from error
    if not any(fnmatch(file, pattern) for file in files for pattern in (*_VOCABULARIES, *_SETTINGS)):
        raise TokenizerError(
            f"folder `{name}` holds no tokenizer: no tokenizer.json, tokenizer.model, tekken.json or vocab.json"
        )
    for path in (folder / file for file in files):
        if path.exists() and not (path.is_file() or path.is_dir()):  # opening a named pipe would wait for ever
            raise TokenizerError(f"tokenizer `{name}` cannot be loaded: `{path}` is no regular file")


def _mistral_loader(folder: Path) -> Any:
    """Return transformers' class for Mistral's own format, or None where the folder is of another.

    `AutoTokenizer` loads such a folder only if a `config.json` names a model of Mistral. Else it converts the
    vocabulary to a tokenizer that has no beginning or end of sequence.
    """
    if not (folder / _MISTRAL).is_file() or (folder / "tokenizer.json").is_file():
        return None
    import transformers

    # The class has another name in transformers before 5.
    return getattr(transformers, "MistralCommonBackend", None) or getattr(transformers, "MistralCommonTokenizer", None)


def _names_class(folder: Path) -> bool:
    """Return whether anything but a `tokenizer.json` is there to tell the class of a tokenizer."""
    settings = any((folder / file).is_file() for file in ("config.json", *_SETTINGS))
    return settings or not (folder / "tokenizer.json").is_file()


def _has_words(tokenizer: Any) -> bool:
    """Return whether a tokenizer has more than its special tokens."""
    return len(tokenizer) > len(set(tokenizer.all_special_tokens))


def _reason(error: Exception, hub: str) -> str:
    """Return why transformers cannot load a tokenizer, in one line.

    Args:
        error: What it raised.
        hub: What keeps it from the Hub, or "" if nothing does.
    """
    text = str(error)
    if "trust_remote_code" in text:
        return "it comes with Python code; pass trust_remote_code=True to run it"
    if hub:
        return f"the Hugging Face Hub {hub}, and its cache holds no such tokenizer"
    if "backend tokenizer from one of" in text or "Unrecognized model" in text:
        return (
            "transformers does not know its class; add a tokenizer_config.json with `tokenizer_class`, or a "
            "tokenizer.json"
        )
    missing = re.search(r"pip install ([\w-]+)", text)
    if missing is not None:
        # Without sentencepiece, transformers tries a `tokenizer.model` as a file of tiktoken.
        package = "sentencepiece" if missing[1] == "tiktoken" and not find_spec("sentencepiece") else missing[1]
        return f"it needs {package}: {pip_install(package)}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:_LONGEST_REASON].rstrip(".")

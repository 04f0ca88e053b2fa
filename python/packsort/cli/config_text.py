"""The options of a packed directory as a file for `packsort pack --config`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from packsort.cli.output import shown
from packsort.errors import OptionError, SourceError

if TYPE_CHECKING:
    from packsort.shards.manifest import Manifest
    from packsort.tokenization.info import TokenizerInfo


def config_text(manifest: Manifest, packed: str, chat_template: str | None = None) -> str:
    """Return the TOML of the options that make the same packs.

    Args:
        manifest: Record of the packs.
        packed: The packed directory, for messages.
        chat_template: File of the chat template, where it is not the tokenizer's.

    Raises:
        SourceError: Rows in memory were packed.
        OptionError: Values of an option were passed in Python, and the manifest does not hold them.
    """
    paths = [file.path for file in manifest.sources]
    for path in paths:
        if path.startswith("<"):
            raise SourceError(f"`{packed}` holds rows that were in memory ({path}): no file can be packed again")
    if manifest.options.strategy == "given":
        raise OptionError(f"the packs of `{packed}` were passed in Python as a plan, and no options make them")
    options: dict[str, Any] = {"source": paths, "max_length": manifest.max_length}
    for one in fields(manifest.options):
        value = getattr(manifest.options, one.name)
        if value == "<values>":
            raise OptionError(f"the values of {one.name} were passed in Python, and `{packed}` does not hold them")
        if one.name == "seed":
            options["seed"] = "none" if value is None else value
        elif value != one.default:
            options[one.name] = list(value) if isinstance(value, tuple) else value
    info = manifest.tokenizer
    if info is not None:
        options["tokenizer"] = info.name
        if chat_template is not None:
            options["chat_template"] = chat_template
        if info.template_date is not None:
            options["template_date"] = info.template_date
    if manifest.index is not None:
        options["index_only"] = True
    head = f"# Options of `{shown(packed)}`, fingerprint {manifest.plan}\n# packsort pack --config FILE --out DIR\n"
    return head + "".join(f"{name} = {_toml(value)}\n" for name, value in options.items())


def template_doubt(info: TokenizerInfo, tokenizer: Any) -> str | None:
    """Say what is to be done where packs were made with another chat template, or where that is not known.

    Args:
        info: How the source was tokenized.
        tokenizer: The tokenizer that the options name, or None where this machine has none.
    """
    from packsort.tokenization.info import digest

    if info.chat_template is None:
        return None
    if tokenizer is None:
        return (
            f"this machine has no tokenizer `{info.name}`, so its chat template was not compared with that of the packs"
        )
    template = getattr(tokenizer, "chat_template", None)
    if template is not None and digest(template) == info.chat_template:
        return None
    return (
        f"the packs were made with another chat template than that of tokenizer `{info.name}`: pass `chat_template`, "
        "the file of it"
    )


def _toml(value: Any) -> str:
    r"""Return a value as TOML writes it.

    Example:
        >>> print(_toml(["a\n", True, 0.5]), _toml({"prompt": "question"}))
        ["a\n", true, 0.5] {"prompt" = "question"}
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    # JSON's numbers, booleans and texts are TOML's, but for one control character that JSON does not escape.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")

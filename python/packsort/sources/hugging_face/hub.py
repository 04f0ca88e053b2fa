"""Rows of a data set on the Hugging Face Hub, by its name: `hf:owner/name:split`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from packsort._hub import hub_is_reachable
from packsort._install import pip_install
from packsort.errors import OptionError, SourceError, SourceNotFoundError
from packsort.sources.files import splits
from packsort.sources.formats.reader import Reader
from packsort.sources.hugging_face.datasets import dataset_reader

_IS_NAME = re.compile(r"hf:(?!//)")  # `hf://` is a URL of files
_NAME = re.compile(r"hf:(?P<name>[^/:]+/[^/:]+)(?:/(?P<config>[^/:]+))?(?::(?P<split>.+))?")


def hub_names(source: Any) -> list[str]:
    """Return the names on the Hub that a source consists of, or nothing if it consists of paths or is an object.

    Args:
        source: Any source. A file that is there is a path, whatever its name.

    Raises:
        SourceError: Names on the Hub are mixed with paths.

    Example:
        >>> hub_names("hf:owner/name:train"), hub_names(["a.jsonl"])
        (['hf:owner/name:train'], [])
    """
    given = source if isinstance(source, (list, tuple)) else [source]
    names = [one for one in given if isinstance(one, str) and _IS_NAME.match(one) and not os.path.lexists(one)]
    if names and len(names) < len(given):
        raise SourceError(f"`{names[0]}` names a data set on the Hub, which cannot be read together with files")
    return names


def hub_readers(names: Sequence[str], split: str | None) -> tuple[list[Reader], list[str | None]]:
    """Return readers of splits of data sets on the Hub, and the split of each.

    `datasets` downloads them, or takes them from its cache, where the Hub cannot be reached as well.

    Args:
        names: `hf:owner/name:split` or `hf:owner/name/config:split`, with or without the split.
        split: The split of names that have none.

    Raises:
        SourceError: `datasets` is not installed; there are several splits or configurations, and none is named; or the
            data cannot be loaded.
        SourceNotFoundError: There is no such data set, or the Hub cannot be reached and its cache does not have it.
        OptionError: There is no such split, or two are given.
    """
    found = [_load(name, split) for name in names]
    return [reader for readers, _ in found for reader in readers], [one for _, chosen in found for one in chosen]


def _load(source: str, split: str | None) -> tuple[list[Reader], list[str]]:
    found = _NAME.fullmatch(source)
    if found is None:
        raise SourceError(
            f"a name on the Hub must be `hf:owner/name:split` or `hf:owner/name/config:split`, got `{source}`"
        )
    if found["split"] and split is not None:
        raise OptionError(f"split={split!r} does not go with `{source}`, which names its split: leave one out")
    if os.path.isdir(found["name"]):
        raise SourceError(
            f"`{source}` names a data set on the Hub, but `datasets` would read the folder `{found['name']}` that is "
            "here: pass that folder, or work in another one"
        )
    try:
        import datasets
    except ImportError as error:
        raise SourceError(f"reading `{source}` needs datasets ({error}): {pip_install('packsort[hf]')}") from error
    base = source if found["split"] is None else source[: found.start("split") - 1]
    cached = not hub_is_reachable()
    with _loading(base, cached):
        builder = datasets.load_dataset_builder(found["name"], found["config"])
        if not builder.info.splits:  # the files themselves tell
            builder.download_and_prepare()
    known = {name: info.num_examples or None for name, info in (builder.info.splits or {}).items()}
    chosen = _choose(found["split"] or split, known, base)
    with _loading(base, cached):
        builder.download_and_prepare()
        return [dataset_reader(builder.as_dataset(split=name), f"{base}:{name}") for name in chosen], chosen


def _choose(split: str | None, known: dict[str, int | None], base: str) -> list[str]:
    if split is not None:
        return splits.choose(split, list(known), base)
    if len(known) == 1:
        return list(known)
    rows = {name: known[name] for name in splits.in_order(known)}
    first = next(iter(rows), "train")
    raise SourceError(
        f"`{base}` has the splits {splits.described(rows)}: pass `{base}:{first}` to read one, or "
        f"`{base}:{splits.ALL}` to read every row"
    )


@contextmanager
def _loading(name: str, cached: bool) -> Iterator[None]:
    """Turn errors of loading into those of packsort, and keep `datasets` from retries where there is no network."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    try:
        if cached:
            datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
        yield
    # Builders raise exceptions of many classes for data that is missing, damaged or not allowed.
    except Exception as error:
        text = " ".join(str(error).split())
        configs = re.search(r"among the available configs: \[(.*?)\]", text)
        if configs:
            names = [one.strip(" '\"") for one in configs[1].split(",")]
            listed = ", ".join(f"`{one}`" for one in names)
            raise SourceError(f"`{name}` has the configurations {listed}: pass `{name}/{names[0]}`") from error
        if cached:
            raise SourceNotFoundError(
                f"`{name}` cannot be loaded: the Hugging Face Hub cannot be reached, and the cache of `datasets` does "
                "not hold it"
            ) from error
        if isinstance(error, FileNotFoundError):
            raise SourceNotFoundError(f"`{name}` cannot be loaded: {text}") from error
        raise SourceError(f"`{name}` cannot be loaded: {text}") from error
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before

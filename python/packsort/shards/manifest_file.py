"""Read `manifest.json`: whole, of known keys and types, and in agreement with itself."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path, PurePath
from typing import Any

from packsort._atomic import stopped_run
from packsort._json import parse_object
from packsort._stores import StorePath
from packsort.errors import DamagedError, SourceNotFoundError
from packsort.schema import LABELS, LOSS_MASKS, MAX_LENGTH_LIMIT, MAX_TOKEN_ID, SEGMENT_COLUMNS
from packsort.shards.index_record import FileReference, IndexRecord
from packsort.shards.inside import refuse_outside
from packsort.shards.manifest import (
    FORMAT,
    FORMAT_VERSION,
    INDEX_VERSION,
    NAME,
    Counts,
    Manifest,
    ManifestOptions,
    ShardInfo,
    SourceFileInfo,
    shard_names,
)
from packsort.shards.sealed_json import CHECKSUM, check_types, seal
from packsort.sources.files.skipped import Skipped
from packsort.tokenization.info import TokenizerInfo
from packsort.tokenization.loss import parse_loss_rule
from packsort.tokenization.notes import Note

_CHECKSUM = re.compile(r"xxh3_128:[0-9a-f]{32}")
_FINGERPRINT = re.compile(r"[0-9a-f]{32}")
_WAY_OUT = "restore it from a copy, or pack again"
# Version 0.1.0 wrote neither these keys nor a checksum.
_LATER_KEYS = ("uneven", "masks", "skipped", "dictionaries")


def read_manifest(folder: Path | StorePath) -> Manifest:
    """Read the manifest of a packed directory.

    Its checksum is compared with its content, and its shards and counts with each other. Manifests of version 0.1.0
    have no checksum.

    Args:
        folder: The directory.

    Raises:
        SourceNotFoundError: There is no such directory.
        DamagedError: The directory is unfinished, or its manifest is damaged, edited, or of a newer version.
    """
    path = folder / NAME
    if not folder.is_dir():
        stopped = "" if isinstance(folder, StorePath) else stopped_run(folder)
        raise SourceNotFoundError(f"no packed directory `{folder}`{stopped}")
    if not path.exists():
        raise DamagedError(f"`{folder}` has no {NAME}: it is no packed directory, or packing it was not finished")
    refuse_outside(path, folder)
    if not path.is_file():  # reading a named pipe would wait for ever
        raise DamagedError(f"`{path}` is no regular file: {_WAY_OUT}")
    try:
        facts = parse_object(path.read_bytes())
    except OSError as error:
        raise DamagedError(f"`{path}` cannot be read: {error}") from error
    except ValueError as error:
        raise DamagedError(f"`{path}` is not JSON ({error}): {_WAY_OUT}") from error
    except TypeError as error:
        raise DamagedError(f"`{path}` is not a packsort manifest ({error}): {_WAY_OUT}") from error
    _check_whole(facts, path)
    facts = {name: value for name, value in facts.items() if name not in ("format", "format_version", CHECKSUM)}
    try:
        facts["tokenizer"] = _with_identifiers(facts.get("tokenizer"))
        check_types(Manifest, facts)
        manifest = _from_json(facts)
        _check_agreement(manifest)
    except ValueError as error:
        raise DamagedError(
            f"`{path}` is not a packsort manifest ({error}), or a newer version wrote it: {_WAY_OUT}"
        ) from error
    return manifest


def _check_whole(facts: dict[str, Any], path: PurePath) -> None:
    """Check that the object is a manifest of this version, and its checksum."""
    if facts.get("format") != FORMAT:
        raise DamagedError(f"`{path}` is not a packsort manifest (`format` must be '{FORMAT}'): {_WAY_OUT}")
    version = facts.get("format_version")
    if type(version) is not int or version not in (FORMAT_VERSION, INDEX_VERSION):
        raise DamagedError(
            f"`{path}` has format version {version!r}, and this packsort reads versions {FORMAT_VERSION} and "
            f"{INDEX_VERSION}: install a newer packsort"
        )
    if (facts.get("index") is not None) != (version == INDEX_VERSION):
        raise DamagedError(
            f"`{path}` is not a packsort manifest (`index` and format version {INDEX_VERSION} go together): {_WAY_OUT}"
        )
    if CHECKSUM not in facts:
        if any(name in facts for name in _LATER_KEYS):
            raise DamagedError(f"`{path}` was changed (its checksum is missing): {_WAY_OUT}")
    elif (found := seal(facts)[CHECKSUM]) != facts[CHECKSUM]:
        raise DamagedError(
            f"`{path}` was changed (its content has checksum {found}, it says {facts[CHECKSUM]!r}): {_WAY_OUT}"
        )


def _with_identifiers(tokenizer: Any) -> Any:
    """Replace the sentences that version 0.1.0 wrote about a tokenizer by identifiers."""
    if not isinstance(tokenizer, dict):
        return tokenizer
    changed = dict(tokenizer)
    if isinstance(rule := tokenizer.get("loss_rule"), str):
        changed["loss_rule"] = parse_loss_rule(rule).value
    if isinstance(notes := tokenizer.get("notes"), list):
        text = [Note.from_json(note) if isinstance(note, str) else None for note in notes]
        changed["notes"] = [
            old if new is None else {"kind": new.kind, "values": dict(new.values)}
            for old, new in zip(notes, text, strict=True)
        ]
    return changed


def _from_json(facts: dict[str, Any]) -> Manifest:
    """Return the manifest that an object of the right keys and types is."""
    known = dict(facts)
    for one in fields(Manifest):
        if isinstance(known.get(one.name), list):
            known[one.name] = tuple(known[one.name])
    known["options"] = ManifestOptions.from_json(facts["options"])
    known["dictionaries"] = {name: tuple(texts) for name, texts in facts.get("dictionaries", {}).items()}
    known["sources"] = tuple(map(SourceFileInfo.from_json, facts["sources"]))
    known["tokenizer"] = None if facts["tokenizer"] is None else TokenizerInfo.from_json(facts["tokenizer"])
    known["counts"] = Counts(**facts["counts"])
    known["skipped"] = tuple(map(Skipped.from_json, facts.get("skipped", ())))
    known["shards"] = tuple(ShardInfo(**shard) for shard in facts["shards"])
    if facts.get("index") is not None:
        files = tuple(FileReference(**file) for file in facts["index"]["files"])
        known["index"] = IndexRecord(**{**facts["index"], "files": files})
    return Manifest(**known)


def _check_agreement(manifest: Manifest) -> None:
    """Check that names are those that packsort gives, and that numbers add up.

    Raises:
        ValueError: They do not.
    """
    shards, counts = manifest.shards, manifest.counts
    if not 1 <= manifest.max_length <= MAX_LENGTH_LIMIT:
        raise ValueError(f"`max_length` must be between 1 and {MAX_LENGTH_LIMIT}, got {manifest.max_length}")
    for name, least, most in (
        ("pad_to_multiple_of", 1, manifest.max_length),
        ("num_packs_multiple_of", 1, 2**32 - 1),
        ("max_sequences", 1, 2**32 - 1),
        ("window", 0, 2**32 - 1),
        ("separator", 0, MAX_TOKEN_ID),
        ("pad_token_id", 0, MAX_TOKEN_ID),
    ):
        value = manifest.options[name]
        if value is not None and not least <= value <= most:
            raise ValueError(f"`options.{name}` must be between {least} and {most}, got {value}")
    if not shards:
        raise ValueError("`shards` is empty, and every packed directory has a shard")
    for index, name in enumerate(shard_names(len(shards), manifest.options.format)):
        if shards[index].name != name:
            raise ValueError(f"`shards[{index}].name` must be {name!r}, got {shards[index].name!r}")
        if not _CHECKSUM.fullmatch(shards[index].checksum):
            raise ValueError(f"`shards[{index}].checksum` is no checksum, got {shards[index].checksum!r}")
    if not _FINGERPRINT.fullmatch(manifest.plan):
        raise ValueError(f"`plan` is no fingerprint, got {manifest.plan!r}")
    for name, recorded, found in (
        ("packs", counts.packs, sum(shard.packs for shard in shards)),
        ("tokens", counts.tokens, sum(shard.tokens for shard in shards)),
        ("rows", counts.rows, sum(source.rows for source in manifest.sources)),
    ):
        if recorded != found:
            raise ValueError(f"`counts.{name}` is {recorded}, its parts have {found}")
    if counts.sequences > sum(shard.sequences for shard in shards):
        raise ValueError(f"`counts.sequences` is {counts.sequences}, more than the shards have")
    if manifest.index is not None:
        _check_index(manifest, manifest.index)


def _check_index(manifest: Manifest, index: IndexRecord) -> None:
    """Check that the files of an index are those that were packed, and that their columns are those of the packs.

    Raises:
        ValueError: They are not.
    """
    if manifest.options.format != "arrow":
        raise ValueError("`options.format` must be 'arrow' where there is an `index`")
    if [file.rows for file in index.files] != [source.rows for source in manifest.sources]:
        raise ValueError("`index.files` have other rows than `sources`")
    for number, file in enumerate(index.files):
        for name in ("path", "absolute"):
            path = getattr(file, name)
            if not path or "\0" in path:
                raise ValueError(f"`index.files[{number}].{name}` is no path, got {path!r}")
        if not _CHECKSUM.fullmatch(file.sample):
            raise ValueError(f"`index.files[{number}].sample` is no checksum, got {file.sample!r}")
    if not _CHECKSUM.fullmatch(index.checksum):
        raise ValueError(f"`index.checksum` is no checksum, got {index.checksum!r}")
    read = set(index.schema.names)
    made = {LABELS} if read & set(LOSS_MASKS) or manifest.options.pad_token_id is not None else set()
    packed = set(manifest.columns) - set(SEGMENT_COLUMNS) - set(manifest.options.keep)
    if packed != read - set(LOSS_MASKS) | made:
        raise ValueError(f"`columns` has token columns {sorted(packed)}, `index.columns` makes others")

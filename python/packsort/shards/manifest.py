"""`manifest.json`: what a packed directory holds and how it was made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import xxhash

from packsort._atomic import replace_file
from packsort.errors import DamagedError, SourceNotFoundError
from packsort.tokenization.info import TokenizerInfo

NAME = "manifest.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ShardInfo:
    """One shard.

    Attributes:
        name: its file's name.
        packs: rows in it.
        sequences: pieces of sequences in its packs.
        tokens: their tokens.
        bytes: the file's size.
        checksum: of the whole file, such as `xxh3_128:<32 hexadecimal digits>`.
    """

    name: str
    packs: int
    sequences: int
    tokens: int
    bytes: int
    checksum: str


@dataclass(frozen=True)
class Counts:
    """How much went in and came out.

    Attributes:
        rows: rows of the source.
        sequences: sequences in packs.
        tokens: their tokens in packs.
        packs: packs written.
        lower_bound: packs that any plan of these lengths needs.
        gap: how far `packs` are above that, as a fraction of it.
        separators: tokens in packs that stand between sequences.
        padding: tokens in packs that fill sequences up to a multiple.
        dropped: sequences left out because they are longer than `max_length`.
        truncated: sequences of which only the first, or last, `max_length` tokens are in.
        split: sequences in more than one piece.
        tokens_lost: tokens of dropped and truncated sequences, and of turns left out, that are in no pack.
        turns_left_out: turns of conversations that are longer than `max_length` alone.
    """

    rows: int
    sequences: int
    tokens: int
    packs: int
    lower_bound: int
    gap: float
    separators: int
    padding: int
    dropped: int
    truncated: int
    split: int
    tokens_lost: int
    turns_left_out: int


@dataclass(frozen=True)
class Manifest:
    """What a packed directory holds and how it was made.

    Attributes:
        packsort_version: the version that wrote it.
        max_length: the most tokens a pack may hold.
        options: of the plan and the files, by name.
        sources: the files packed: `path`, `rows`, `bytes`, and what became of their sequences: `dropped`, `truncated`,
            `split`, `tokens_lost`, `turns_left_out`, as in `counts`.
        tokenizer: How the source was tokenized, or None if it had tokens.
        columns: type of each column.
        left_out: columns of the source that are not per-token and so not here.
        counts: how much went in and came out.
        plan: the plan's fingerprint.
        shards: the files, in order.
    """

    packsort_version: str
    max_length: int
    options: dict[str, Any]
    sources: tuple[dict[str, Any], ...]
    tokenizer: TokenizerInfo | None
    columns: dict[str, str]
    left_out: tuple[str, ...]
    counts: Counts
    plan: str
    shards: tuple[ShardInfo, ...]

    @property
    def efficiency(self) -> float:
        """Tokens / (packs x max_length)."""
        return self.counts.tokens / (self.counts.packs * self.max_length) if self.counts.packs else 1.0

    def to_json(self) -> str:
        """The file's text."""
        facts = {"format": "packsort", "format_version": FORMAT_VERSION, **asdict(self)}
        return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"

    def write(self, folder: Path) -> None:
        """Puts the file in place, whole."""
        with replace_file(folder / NAME) as file:
            file.write(self.to_json().encode())

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Reads a packed directory's manifest.

        Raises:
            SourceNotFoundError: there is no such directory.
            DamagedError: the directory is unfinished, or the manifest is not one.
        """
        path = folder / NAME
        if not folder.is_dir():
            raise SourceNotFoundError(f"no packed directory `{folder}`")
        try:
            facts = json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise DamagedError(
                f"`{folder}` has no {NAME}: it is no packed directory, or packing it was not finished"
            ) from None
        except ValueError as error:
            raise DamagedError(f"`{path}` is not JSON ({error})") from error
        try:
            if facts["format"] != "packsort":
                raise KeyError("format")
            if facts["format_version"] != FORMAT_VERSION:
                raise DamagedError(
                    f"`{path}` has format version {facts['format_version']}, this packsort reads {FORMAT_VERSION}"
                )
            known = {field.name: facts[field.name] for field in fields(cls)}
            if known["tokenizer"] is not None:
                known["tokenizer"] = TokenizerInfo.from_json(known["tokenizer"])
            known["counts"] = Counts(**known["counts"])
            known["shards"] = tuple(ShardInfo(**shard) for shard in known["shards"])
            return cls(**known | {"sources": tuple(known["sources"]), "left_out": tuple(known["left_out"])})
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DamagedError(f"`{path}` is not a packsort manifest ({error!r} is missing or wrong)") from error


def checksum(path: Path) -> str:
    """Of a whole file: XXH3, 128 bits, which finds damage as fast as memory is read; it is no proof against malice."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return f"xxh3_128:{digest.hexdigest()}"

"""Prepare a packed directory without writing it, as `packsort pack --dry-run` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from packsort._progress import Stage
from packsort.shards.config import ShardConfig
from packsort.shards.index_prepare import IndexPreparation, check_choice, index_folder, open_rows, prepare_index
from packsort.shards.manifest import Manifest
from packsort.shards.prepare import Preparation, prepare
from packsort.shards.token_store import open_store
from packsort.sources.source import Source, open_source
from packsort.sources.unreadable import without_unreadable
from packsort.tokenization.choice import TokenizerChoice


def dry_run(
    source: Any,
    config: ShardConfig,
    choice: TokenizerChoice | None,
    *,
    tokens: Path | None,
    out: Path | None,
    stage: Stage,
) -> tuple[Manifest, int]:
    """Read or tokenize a source and plan its sequences.

    Args:
        source: As for `packsort.write_shards`.
        config: Options of the shards.
        choice: The tokenizer, or None where the source holds tokens.
        tokens: Folder of kept tokens, or None.
        out: Directory that would be written, or None.
        stage: Progress reporter.

    Returns:
        The record of the directory without its shards, and how many there would be.

    Raises:
        SourceError, LengthError, OptionError, TokenizerError: As for `packsort.write_shards`.
    """
    check_choice(config, choice)
    if config.index_only:

        def planned(rows: Any) -> IndexPreparation:
            return prepare_index(rows, config, Path() if out is None else out, stage)

        if index_folder(source) is not None:
            index = planned(source)
        else:
            index = without_unreadable(open_source(source, config.input), config.input, planned)
        return index.manifest(), index.num_shards
    opened, config = open_rows(source, config, choice)
    store = open_store(opened, choice, config.input, folder=tokens, out=out, read_only=True)

    def prepared(rows: Source) -> Preparation:
        found = prepare(rows, config, choice, stage, store)
        name = "counting" if found.input.in_memory else "reading"
        with stage(name, total=len(found.tokens.lengths), unit="rows") as advance:
            return found.counted(advance)

    found = without_unreadable(opened, config.input, prepared)
    return found.manifest(), found.num_shards

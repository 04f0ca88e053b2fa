"""All that precedes the writing of an index-only directory: facts about its rows, and their plan."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from packsort import _checks, _core
from packsort._options.input import InputConfig
from packsort._progress import Stage, note_search
from packsort.errors import OptionError
from packsort.gathering.fillers import Fillers, has_fillers
from packsort.gathering.gather import gather_packs
from packsort.gathering.planned import option_column, plan_lengths
from packsort.planning.plan import Plan
from packsort.schema import INPUT_IDS, LABELS
from packsort.shards.config import ShardConfig
from packsort.shards.counts import count_rows
from packsort.shards.division import count_shards
from packsort.shards.files import ShardFiles
from packsort.shards.index_record import FileReference, IndexRecord, type_name
from packsort.shards.index_tokens import SequenceFacts
from packsort.shards.loss_counts import count_untrained
from packsort.shards.manifest import INDEX_VERSION, NAME, Counts, Manifest, ManifestOptions, ShardInfo, SourceFileInfo
from packsort.shards.references import ReferencedFile, refer
from packsort.shards.stretches import Stretches, find_stretches
from packsort.sources.files.skipped import count_skipped
from packsort.sources.sequence_columns import SequenceColumns, class_labels, read_sequence_columns
from packsort.sources.source import Source, open_source
from packsort.sources.tokens.blocks import TokenBlocks
from packsort.sources.tokens.survey import TokenSurvey, survey_tokens
from packsort.sources.tokens.uses import ColumnUses
from packsort.sources.unreadable import open_readable
from packsort.tokenization.choice import TokenizerChoice

_NO_CACHE = 0  # labels of cut sequences are read once


@dataclass(frozen=True)
class IndexPreparation:
    """Rows of an index and their plan, before anything is written.

    Attributes:
        survey: Facts about the rows.
        files: The files of the rows.
        plan: The plan.
        stretches: Stretches of rows that are planned apart.
        fillers: Tokens of separators and padding.
        config: Options of the shards.
        kept: Columns with one value for each sequence that packs keep.
        counts: What happened to the sequences.
        sources: The same by file.
    """

    survey: TokenSurvey
    files: tuple[FileReference, ...]
    plan: Plan
    stretches: Stretches
    fillers: Fillers
    config: ShardConfig
    kept: SequenceColumns
    counts: Counts
    sources: tuple[SourceFileInfo, ...]

    @cached_property
    def options(self) -> ManifestOptions:
        """The options as the manifest records them."""
        recorded = self.config.recorded(self.fillers if has_fillers(self.plan) else None)
        return replace(recorded, columns=self.config.input.columns)

    @cached_property
    def pack_schema(self) -> pa.Schema:
        """Columns of packs, those of tokens as well."""
        tokens = pa.table({field.name: pa.array([], field.type) for field in self.survey.packed})
        return gather_packs(tokens, self.plan, 0, 0, self.fillers, self.kept).schema

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata of the schema of the shards."""
        facts = {"format_version": INDEX_VERSION, "max_length": self.plan.max_length}
        return {"packsort": json.dumps(facts), **class_labels(self.kept.dictionaries)}

    @property
    def facts(self) -> SequenceFacts:
        """Facts about the rows for `sequences.arrow`."""
        survey = self.survey
        return SequenceFacts(survey.lengths, survey.first, survey.uses.padding, survey.trained)

    @property
    def num_shards(self) -> int:
        """Number of shards: one for each stretch, or as many as would hold the tokens."""
        if self.stretches.divide:
            return len(self.stretches.ends)
        return count_shards(self.survey.packed, self.plan, self.config.shard_size)

    def manifest(self, shards: Sequence[ShardInfo] = (), sequences: tuple[int, str] = (0, "")) -> Manifest:
        """Return the record of the directory.

        Args:
            shards: The shards that were written.
            sequences: Size and checksum of `sequences.arrow`.
        """
        survey = self.survey
        return Manifest(
            packsort_version=_core.__version__,
            max_length=self.plan.max_length,
            options=self.options,
            sources=self.sources,
            tokenizer=None,
            columns={field.name: str(field.type) for field in self.pack_schema},
            left_out=tuple(name for name in survey.left_out if name not in self.kept.names),
            counts=self.counts,
            plan=self.plan.fingerprint,
            shards=tuple(shards),
            uneven=dict(survey.uses.uneven),
            masks=survey.uses.masks,
            skipped=count_skipped(survey.source.skipped),
            dictionaries=dict(self.kept.dictionaries),
            index=IndexRecord(
                files=self.files,
                columns={field.name: type_name(field.type) for field in survey.stored},
                block_bytes=self.stretches.most_bytes,
                bytes=sequences[0],
                checksum=sequences[1],
            ),
        )


def prepare_index(source: Any, config: ShardConfig, out: Path, stage: Stage) -> IndexPreparation:
    """Read the lengths of a source, and plan its sequences.

    Args:
        source: Files with token columns, or an index-only directory, whose rows are planned anew.
        config: Options of the shards.
        out: Directory that will refer to the files.
        stage: Progress reporter, as for `packsort.write_shards`.

    Raises:
        SourceError, LengthError, OptionError: As for `packsort.write_shards`.
        DamagedError: The source is an index that was damaged, or whose files were changed.
    """
    if (folder := index_folder(source)) is not None:
        survey, files, config = _known(folder, config, out)
    else:
        opened = open_source(source, config.input)
        files = tuple(refer(file.path, file.rows, out) for file in opened.files if _is_file(file.path))
        if len(files) < len(opened.files):
            path = next(file.path for file in opened.files if not _is_file(file.path))
            raise OptionError(
                f"index_only=True refers to files, and `{path}` is none: write its rows to a Parquet or Arrow file "
                "first, or leave index_only out"
            )
        survey = survey_tokens(opened, config.input.empty, stage)
    kept = read_sequence_columns(survey.source, config.keep)
    stretches = find_stretches(survey, config.shard_size)
    with stage("planning") as advance:
        plan = _plan(survey, stretches, config, advance)
        counts, sources = count_rows(
            plan,
            survey.source,
            survey.lengths,
            padding=survey.uses.padding,
            without_loss=_without_loss(survey, files, plan, config.input, out),
        )
    return IndexPreparation(survey, files, plan, stretches, config.fillers(None), config, kept, counts, sources)


def index_folder(source: Any) -> Path | None:
    """Return the folder of an index-only directory, or None if a source is something else.

    Args:
        source: Rows of any kind.
    """
    if isinstance(source, (list, tuple)) and len(source) == 1:
        source = source[0]
    if not isinstance(source, (str, os.PathLike)):
        return None
    folder = Path(source)
    try:
        facts = json.loads((folder / NAME).read_bytes())
    except (OSError, ValueError):
        return None
    is_index = isinstance(facts, dict) and facts.get("format") == "packsort" and facts.get("index") is not None
    return folder if is_index else None


def open_rows(source: Any, config: ShardConfig, choice: TokenizerChoice | None) -> tuple[Source, ShardConfig]:
    """Open a source that is packed with its tokens: rows of any kind, or those that an index refers to.

    Args:
        source: Rows of any kind, or an index-only directory.
        config: Options of the shards.
        choice: The tokenizer, or None where the rows hold tokens.

    Returns:
        The rows, and the options with the columns of the index.

    Raises:
        SourceError, OptionError, DamagedError: As for `packsort.write_shards`.
    """
    if choice is not None:  # tokenizing again for one damaged file would take long
        return open_readable(source, config.input), config
    if (folder := index_folder(source)) is None:
        return open_source(source, config.input), config
    opened, _, input = index_rows(folder, config.input)
    return opened, replace(config, input=input)


def check_choice(config: ShardConfig, choice: TokenizerChoice | None) -> None:
    """Refuse a tokenizer where only an index is written.

    Raises:
        OptionError: There is one.
    """
    if config.index_only and choice is not None:
        raise _checks.clash(
            "index_only=True",
            "a tokenizer",
            "an index refers to tokens that are in files: make them with `packsort.write_tokens` or `packsort "
            "tokenize`, and pack these",
        )


def index_rows(folder: Path, config: InputConfig) -> tuple[Source, ShardFiles, InputConfig]:
    """Open the files that an index refers to as a source.

    Args:
        folder: The index-only directory.
        config: Options of what goes in; the index decides the split and the columns.

    Returns:
        The source; the directory; and the options with the columns of the index.

    Raises:
        DamagedError: The directory is damaged, or a file was changed.
        OptionError: A split or columns are given.
    """
    for name in ("split", "columns"):
        if getattr(config, name) is not None:
            raise OptionError(
                f"{name} does not go with `{folder}`, which has chosen its rows and columns: leave it out"
            )
    opened = ShardFiles(folder, memory_map=config.memory_map)
    assert opened.tokens is not None
    readers = [file.reader() for file in opened.tokens.files]
    source = Source(readers, [one.of_split for one in opened.manifest.sources])
    return source, opened, replace(config, columns=opened.manifest.options.columns)


def _known(folder: Path, config: ShardConfig, out: Path) -> tuple[TokenSurvey, tuple[FileReference, ...], ShardConfig]:
    """Return what an index knows about its rows."""
    source, opened, input = index_rows(folder, config.input)
    manifest, tokens = opened.manifest, opened.tokens
    assert manifest.index is not None
    assert tokens is not None
    facts = tokens.facts
    names = [name for name in manifest.index.columns if name in manifest.columns]
    if LABELS in manifest.columns and LABELS not in names and facts.trained is not None:
        names.insert(1, LABELS)  # of a mask
    types = {name: manifest.index.schema.field(name).type.value_type for name in manifest.index.columns}
    packed = pa.schema([(n, pa.list_(pa.int32() if n in (INPUT_IDS, LABELS) else types[n])) for n in names])
    known = (*names, *manifest.index.columns)
    survey = TokenSurvey(
        source=source,
        stored=manifest.index.schema,
        packed=packed,
        left_out=tuple(name for name in source.schema.names if name not in (*known, *manifest.masks)),
        lengths=facts.lengths.astype(np.int64),
        first=facts.first,
        trained=facts.trained,
        uses=ColumnUses(masks=manifest.masks, uneven=manifest.uneven, padding=facts.padding),
    )
    files = tuple(refer(file.path, file.rows, out, file.reference.sample) for file in tokens.files)
    return survey, files, replace(config, input=input)


def _plan(survey: TokenSurvey, stretches: Stretches, config: ShardConfig, advance: Any) -> Plan:
    options = replace(config.plan, on_progress=note_search(advance))
    if stretches.divide:
        if options.strategy == "random":
            raise OptionError(
                "strategy='random' does not go with index_only=True for these files: random packing takes sequences "
                "from all over, and Parquet is read by row group: write shards, or convert the files to Arrow"
            )
        groups = options.groups
        if isinstance(groups, str):
            groups = option_column(survey.source, "groups", groups)
        options = replace(options, groups=stretches.groups(groups, len(survey.lengths)))
    return plan_lengths(survey.source, survey.lengths, INPUT_IDS, options)


def _without_loss(
    survey: TokenSurvey, files: Sequence[FileReference], plan: Plan, input: InputConfig, out: Path
) -> tuple[int, int]:
    """Count the sequences and packs in which no token carries loss."""
    if survey.trained is None:
        return 0, 0
    renamed = None if input.columns is None else dict(input.columns)
    referenced = [ReferencedFile(file, out, renamed, memory_map=input.memory_map, sampled=False) for file in files]
    blocks = TokenBlocks(referenced, survey.stored, survey.lengths, survey.first, _NO_CACHE)

    def labels(ids: NDArray[np.int64], lengths: NDArray[np.int32], starts: NDArray[np.int32]) -> NDArray[np.int32]:
        values: NDArray[np.int32] = blocks.gather(ids, lengths, starts)[LABELS]
        return values

    return count_untrained(plan, survey.lengths, survey.trained, labels)


def _is_file(path: str) -> bool:
    return os.path.isfile(path)

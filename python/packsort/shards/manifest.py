"""`manifest.json`: the record of a packed directory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from packsort._options.choices import (
    EmptySequences,
    LossChoice,
    OverlongInShards,
    PackedBy,
    ShardFormat,
    TruncationSide,
)
from packsort._options.input import INPUT_NAMES, InputConfig
from packsort._record import Record
from packsort.shards.index_record import IndexRecord
from packsort.shards.sealed_json import seal
from packsort.sources.files.skipped import Skipped
from packsort.sources.files.splits import rows_by_split
from packsort.sources.tokens.roles import unknown_masks
from packsort.sources.tokens.uses import describe_uses
from packsort.tokenization.info import TokenizerInfo

NAME = "manifest.json"
FORMAT = "packsort"
FORMAT_VERSION = 1
INDEX_VERSION = 2
"""Format version of index-only directories; readers that know only version 1 refuse it."""


@dataclass(frozen=True)
class ShardInfo:
    """One shard of a packed directory.

    Attributes:
        name: File name.
        packs: Packs in it.
        sequences: Pieces of sequences in its packs.
        tokens: Tokens of these pieces.
        bytes: Size of the file.
        checksum: Checksum of the file, `xxh3_128:` and 32 hexadecimal digits.
    """

    name: str
    packs: int
    sequences: int
    tokens: int
    bytes: int
    checksum: str

    @property
    def is_mapped(self) -> bool:
        """Whether the shard is memory-mapped (Arrow) instead of decoded as a whole (Parquet)."""
        return self.name.endswith(".arrow")


@dataclass(frozen=True, eq=False)
class SourceFileInfo(Record):
    """One file of the source that was packed.

    Attributes:
        path: The file, or `<table>` for rows in memory.
        rows: Rows in it.
        bytes: Its size.
        dropped: Sequences left out because they were too long.
        truncated: Sequences that lost tokens because they were too long.
        split: Sequences in more than one piece.
        tokens_lost: Tokens that are in no pack.
        turns_left_out: Turns of conversations left out because each was too long.
        empty: Sequences left out because they had no tokens.
        padded: Sequences whose padding was left out.
        padding_left_out: Tokens of that padding.
        of_split: Split that the name of the file tells, or None.
    """

    path: str
    rows: int
    bytes: int
    dropped: int = 0
    truncated: int = 0
    split: int = 0
    tokens_lost: int = 0
    turns_left_out: int = 0
    empty: int = 0
    padded: int = 0
    padding_left_out: int = 0
    of_split: str | None = None


@dataclass(frozen=True, eq=False)
class ManifestOptions(Record):
    """Options that a directory was packed with, under the names of `packsort.write_shards`.

    Attributes:
        strategy: Rule that put sequences into packs; `given` for packs that `Plan.from_packs` was given.
        overlong: Treatment of sequences longer than `max_length`.
        truncation_side: Side on which `overlong="truncate"` removed tokens.
        max_sequences: Most sequences of a pack, or None.
        pad_to_multiple_of: Every sequence occupies a multiple of this many tokens.
        num_packs_multiple_of: The number of packs is a multiple of this.
        seed: Seed of the shuffle, or None.
        epoch: Epoch of the shuffle.
        window: Most sequences that `in_order` took another past, or None.
        gap: Gap at which the search for the fewest packs stopped, or None.
        max_iterations: Linear programs after which it stopped, or None.
        max_seconds: Seconds after which it stopped, or None.
        groups: Name of the column of groups, `<values>` for values that were passed, or None.
        splittable: Name of the column of sequences that `hybrid` may cut; `<values>` or None as for `groups`.
        alone: Name of the column of sequences that got a pack of their own; `<values>` or None as for `groups`.
        separator: Token id between two sequences of a pack, or None.
        pad_token_id: Token id of padding; None where packs hold neither padding nor separators.
        keep: Columns with one value for each sequence that packs keep.
        format: `arrow` or `parquet`.
        shard_size: Bytes of a shard before compression, approximately.
        split: Split of the source that was read, or None.
        columns: Column of the source for each column that packsort looks for, or None for equal names.
        empty: Treatment of sequences without tokens.
        loss: Tokens that carry loss, as it was asked for; `TokenizerInfo.loss_rule` says which it became.
        template_date: Date for chat templates that was asked for, or None.
    """

    strategy: PackedBy = "ffd"
    overlong: OverlongInShards = "error"
    truncation_side: TruncationSide = "right"
    max_sequences: int | None = None
    pad_to_multiple_of: int = 1
    num_packs_multiple_of: int = 1
    seed: int | None = None
    epoch: int = 0
    window: int | None = None
    gap: float | None = None
    max_iterations: int | None = None
    max_seconds: float | None = None
    groups: str | None = None
    splittable: str | None = None
    alone: str | None = None
    separator: int | None = None
    pad_token_id: int | None = None
    keep: Sequence[str] = ()
    format: ShardFormat = "arrow"
    shard_size: int = 256_000_000
    split: str | None = None
    columns: Mapping[str, str] | None = None
    empty: EmptySequences = "error"
    loss: LossChoice = "auto"
    template_date: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "keep", tuple(self.keep))  # JSON has lists

    @property
    def input(self) -> InputConfig:
        """Options of what went in, as `open_source` and `load_tokens` take them."""
        return InputConfig(**{name: getattr(self, name) for name in INPUT_NAMES if name in self})


@dataclass(frozen=True)
class Counts:
    """Numbers of sequences, tokens and packs.

    Attributes:
        rows: Rows of the source.
        sequences: Sequences in packs.
        tokens: Tokens of sequences in packs.
        packs: Packs written.
        lower_bound: Packs that any plan of these lengths needs.
        gap: (packs - lower_bound) / lower_bound.
        separators: Separator tokens in packs.
        padding: Padding tokens in packs.
        dropped: Sequences left out because they are longer than `max_length`.
        truncated: Sequences that lost tokens because they are longer than `max_length`.
        split: Sequences in more than one piece.
        tokens_lost: Tokens of the source that are in no pack: of dropped and truncated sequences and of turns left out.
        turns_left_out: Turns of conversations left out because each is longer than `max_length`.
        empty: Sequences left out because they have no tokens.
        padded: Sequences whose padding in the source, where `attention_mask` is 0, was left out.
        padding_left_out: Tokens of that padding.
        without_loss: Sequences in packs of which no token carries loss, also because they were cut.
        packs_without_loss: Packs in which no token carries loss.
        max_displacement: For `in_order`, the most places between where a sequence stands in the packs and where it
            stands in the source; None for other strategies.
        mean_displacement: The mean of these places.
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
    empty: int = 0
    padded: int = 0
    padding_left_out: int = 0
    without_loss: int = 0
    packs_without_loss: int = 0
    max_displacement: int | None = None
    mean_displacement: float | None = None


@dataclass(frozen=True)
class Manifest:
    """Record of a packed directory: its contents, its source and its options.

    `options`, the elements of `sources`, and `tokenizer` are dataclasses whose attributes are also items, as in
    `manifest.options["strategy"]`.

    Attributes:
        packsort_version: Version of packsort that wrote the directory.
        max_length: Most tokens of a pack.
        options: Options of `packsort.write_shards`.
        sources: Files that were packed, in order.
        tokenizer: How the source was tokenized, or None where it held tokens.
        columns: Type of each column of a pack, by name.
        dictionaries: Texts of each column of text that is kept: the text of code `i` is the `i`-th.
        left_out: Columns of the source that are neither packed, because they have no value for each token, nor kept.
        uneven: List columns among them, each with the number of rows where it has another number of values than
            `input_ids`.
        masks: Columns of the source that were applied instead of packed: `attention_mask`, which is 0 at padding, and
            masks that became `labels`.
        counts: Numbers of sequences, tokens and packs.
        plan: Fingerprint of the plan.
        shards: Shard files, in order.
        skipped: Files and folders of the source that were not read, counted by reason.
        index: Files that hold the tokens, where the directory is index-only; None where shards hold them.
    """

    packsort_version: str
    max_length: int
    options: ManifestOptions
    sources: tuple[SourceFileInfo, ...]
    tokenizer: TokenizerInfo | None
    columns: dict[str, str]
    left_out: tuple[str, ...]
    counts: Counts
    plan: str
    shards: tuple[ShardInfo, ...]
    uneven: dict[str, int] = field(default_factory=dict)
    masks: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    dictionaries: dict[str, tuple[str, ...]] = field(default_factory=dict)
    index: IndexRecord | None = None

    def remarks(self) -> list[str]:
        """Say what a user may not expect of the source's columns, one sentence each."""
        counts = self.counts
        return describe_uses(counts.padded, counts.padding_left_out, self.uneven, unknown_masks(self.columns))

    @property
    def comes_in_any_order(self) -> bool:
        """Whether packs may be read in any order; else the packs of a shard are read together."""
        if self.index is not None:
            return self.index.is_mapped
        return all(shard.is_mapped for shard in self.shards)

    @property
    def rows_by_split(self) -> dict[str, int]:
        """Rows of each split that names of files tell, empty where there are none."""
        return rows_by_split((file.of_split, file.rows) for file in self.sources)

    @property
    def efficiency(self) -> float:
        """Tokens / (packs x max_length); 1.0 without packs."""
        return self.counts.tokens / (self.counts.packs * self.max_length) if self.counts.packs else 1.0

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        own = asdict(self)
        if self.index is None:  # which version 1 does not know
            del own["index"]
        version = FORMAT_VERSION if self.index is None else INDEX_VERSION
        facts = seal({"format": FORMAT, "format_version": version, **own})
        return json.dumps(facts, indent=1, ensure_ascii=False) + "\n"


def shard_names(count: int, format: str) -> list[str]:
    """Return the names of shards: `train-00000-of-00012.arrow` and so on."""
    return [f"train-{i:05}-of-{count:05}.{format}" for i in range(count)]

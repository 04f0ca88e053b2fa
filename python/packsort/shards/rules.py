"""Rules that packs follow, as the manifest records them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from packsort.gathering.fillers import Fillers
from packsort.schema import SEGMENT_COLUMNS
from packsort.shards.manifest import Manifest


class PackingRules:
    """The rules that packs follow, as the manifest records them.

    Attributes:
        rows: Rows of the source.
        file_bytes: Bytes of the shards.
        multiple: Every sequence occupies a multiple of this many tokens.
        fillers: Tokens of separators and padding.
        limit: Most tokens of a sequence in one piece.
        truncated: Whether sequences lost the tokens over the limit.
        keep_end: Whether truncated sequences kept their last tokens, not their first.
        hybrid: Whether some sequences were split and others truncated.
        split_turns: Whether conversations were cut between turns.
        keep: Columns with one value for each sequence.
        dictionaries: Texts of those that are codes.
    """

    def __init__(self, manifest: Manifest) -> None:
        options = manifest.options
        self.rows = manifest.counts.rows
        self.file_bytes = sum(shard.bytes for shard in manifest.shards)
        self.multiple = options.pad_to_multiple_of
        self.fillers = Fillers(options.pad_token_id or 0, options.separator)
        self.limit = manifest.max_length // self.multiple * self.multiple
        self.truncated = options.overlong == "truncate"
        self.keep_end = self.truncated and options.truncation_side == "left"
        self.hybrid = options.strategy == "hybrid"
        self.split_turns = options.overlong == "split_turns"
        self.keep = tuple(options.keep)
        self.dictionaries = manifest.dictionaries

    @property
    def segment_columns(self) -> tuple[str, ...]:
        """Columns with one value for each segment."""
        return (*SEGMENT_COLUMNS, *self.keep)

    @property
    def has_fillers(self) -> bool:
        """Whether packs may hold separators or padding."""
        return self.multiple > 1 or self.fillers.separator is not None

    def kept(self, lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first token that is packed, and the end, of whole sequences of these lengths."""
        first, end = np.zeros_like(lengths), lengths
        if self.truncated:
            over = np.maximum(lengths - self.limit, 0)
            first, end = (over, end) if self.keep_end else (first, end - over)
        return first, end

"""Lengths of rows that hold no tokens yet."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from packsort._arrow import to_numpy
from packsort._options.input import InputConfig
from packsort._progress import Stage, log_stage
from packsort.schema import LENGTH
from packsort.sources.source import Source
from packsort.tokenization.choice import TokenizerChoice
from packsort.tokenization.tokenize import Tokenization


def tokenized_lengths(
    source: Source,
    choice: TokenizerChoice,
    config: InputConfig,
    stage: Stage = log_stage,
    *,
    memory_limit: int | None = None,
) -> NDArray[np.int64]:
    """Count the tokens of conversations or text; the tokens are not kept.

    Args:
        source: The rows.
        choice: Their tokenizer.
        config: Options of what goes in.
        stage: Progress reporter, as for `packsort.write_shards`.
        memory_limit: Bytes of memory that this process and those that tokenize may take, or None for any number.

    Returns:
        Tokens of each row: int64, (rows,).

    Raises:
        SourceError, TokenizerError: As for `packsort.tokenize`.
    """
    tokenizer: Any = choice.load(stage)
    with stage("tokenizing", total=source.num_rows, unit="sequences") as advance:
        # With the loss that packs will have: it may choose another chat template, and with it other lengths.
        tables = Tokenization(source, tokenizer, config, on_progress=advance, memory_limit=memory_limit)
        lengths: NDArray[np.int64] = np.concatenate([to_numpy(table[LENGTH]) for table in tables]).astype(np.int64)
    return lengths

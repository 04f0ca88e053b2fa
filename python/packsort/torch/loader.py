"""Batches of PyTorch tensors from a packed directory, in its order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from numbers import Integral
from typing import Any

from packsort.errors import DamagedError, OptionError, SourceError
from packsort.shards import Shards, open_shards
from packsort.torch.layouts import LAYOUTS, Batcher


class PackedLoader:
    """Batches of the packs of a packed directory, in its order: it was shuffled when it was packed.

    A batch is a dict for `model(**batch)`. `layout="flat"` puts the sequences of all its packs one after another into
    one row, as transformers' padding-free path takes them:

    - `input_ids` int64 (1, tokens).
    - `labels` int64 (1, tokens): unshifted; -100 where no loss is taken, and at the first token of each sequence, which
      nothing predicts. The tokens themselves where the packs have no labels.
    - `position_ids` int64 (1, tokens): from 0 in each sequence.
    - `cu_seq_lens_q`, `cu_seq_lens_k` int32 (sequences + 1,): where each sequence starts, and the end of the last. Both
      are the same tensor.
    - `max_length_q`, `max_length_k` int: tokens of the longest sequence.
    - `seq_idx` int32 (1, tokens), only if asked for: each token's sequence in the batch, from 0.

    There is no `attention_mask`: flash attention takes the sequences from `cu_seq_lens_*`, and SDPA and eager attention
    find them in `position_ids`. The latter they do only without a key-value cache, so train with
    `model.config.use_cache = False`, as `transformers.Trainer` does; with a cache, sequences see each other.

    Every pass over the loader starts at the first pack. The tensors are new in each batch, and in CPU memory. A loader
    can be pickled, and used in forked and spawned processes.

    Args:
        source: a packed directory: its path, or what `packsort.open_shards` opened.
        batch_size: packs of a batch; the last may hold fewer.
        layout: how a batch's tensors are shaped and named: `flat`.
        max_length: the most tokens a pack may hold; None takes it from the directory. A number is compared with it.
        seq_idx: whether batches have `seq_idx`, which models with short convolutions (Mamba, linear attention) need.

    Attributes:
        shards: the opened directory.

    Raises:
        OptionError: an option has a value that is not allowed, or another `max_length` than was packed with.
        SourceError: `source` is no packed directory but a file, a table or the like.
        SourceNotFoundError: there is no such directory.
        DamagedError: the directory is unfinished or damaged; iterating raises it too.

    Example:
        >>> import packsort, packsort.torch, pyarrow as pa, tempfile
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5, seed=None)
        ...     batches = list(packsort.torch.PackedLoader(folder + "/packed"))
        >>> batches[0]["input_ids"], batches[0]["labels"]
        (tensor([[4, 5, 6, 7, 8]]), tensor([[-100,    5,    6,    7, -100]]))
        >>> batches[0]["position_ids"], batches[0]["cu_seq_lens_q"], batches[0]["max_length_q"]
        (tensor([[0, 1, 2, 3, 0]]), tensor([0, 4, 5], dtype=torch.int32), 4)
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Shards,
        *,
        batch_size: int = 1,
        layout: str = "flat",
        max_length: int | None = None,
        seq_idx: bool = False,
    ) -> None:
        if layout not in LAYOUTS:
            raise OptionError(f"layout is {layout!r}, allowed are {', '.join(map(repr, LAYOUTS))}")
        self.shards = shards = _open(source)
        self.layout = layout
        self.batch_size = batch_size
        self.seq_idx = seq_idx
        if not isinstance(batch_size, Integral) or not 1 <= batch_size <= len(shards):
            raise OptionError(
                f"batch_size is {batch_size!r}, allowed is 1 to {len(shards)}, the number of packs in `{shards.path}`"
            )
        if max_length is not None and max_length != shards.max_length:
            raise OptionError(
                f"max_length is {max_length}, but `{shards.path}` is packed with max_length {shards.max_length}"
            )

    @property
    def max_length(self) -> int:
        """The most tokens a pack may hold."""
        return self.shards.max_length

    def __len__(self) -> int:
        return -(-len(self.shards) // self.batch_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        shards, end = self.shards, len(self.shards)
        batcher = Batcher(self.layout, max_length=self.max_length, seq_idx=self.seq_idx)
        for start in range(0, end, self.batch_size):
            packs = [shards[i] for i in range(start, min(start + self.batch_size, end))]
            try:
                yield batcher(packs)
            except DamagedError as error:
                where = f"packs {start} to {start + len(packs) - 1} of `{shards.path}`"
                raise DamagedError(f"{where}: {error}") from None

    def __repr__(self) -> str:
        return f"PackedLoader({self.shards!r}, batch_size={self.batch_size}, layout={self.layout!r})"


def _open(source: Any) -> Shards:
    if isinstance(source, Shards):
        return source
    if not isinstance(source, (str, os.PathLike)):
        kind = f"a {type(source).__name__}"
    elif os.path.isfile(source):
        kind = f"the file `{os.fspath(source)}`"
    else:
        return open_shards(source)
    raise SourceError(
        f"source is {kind}, allowed is a packed directory, such as `packsort pack` or `packsort.write_shards` makes"
    )

"""Packs for loops that bring their own loader: `torch.utils.data.DataLoader`, transformers' `Trainer`, Lightning."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch.utils.data import Dataset

from packsort.errors import OptionError
from packsort.shards import Shards, open_shards
from packsort.torch.layouts import Batcher


class PackedDataset(Dataset[dict[str, NDArray[Any]]]):
    """The packs of a packed directory as a map-style dataset; `PackedCollator` makes batches of them.

    Nothing is held: a pack is read from the mapped file when it is asked for. It is pickled by its path, so it works in
    the workers of a `DataLoader`, forked or spawned.

    Args:
        source: a packed directory: its path, or what `packsort.open_shards` opened.

    Raises:
        SourceNotFoundError: there is no such directory.
        DamagedError: it is unfinished or damaged.

    Example:
        >>> import packsort, pyarrow as pa, tempfile, torch
        >>> from packsort.torch import PackedCollator, PackedDataset
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     manifest = packsort.write_shards(table, folder + "/packed", max_length=5, seed=None)
        ...     dataset = PackedDataset(folder + "/packed")
        ...     collate = PackedCollator("rows", max_length=dataset.max_length)
        ...     (batch,) = torch.utils.data.DataLoader(dataset, batch_size=2, collate_fn=collate)
        >>> batch["input_ids"]
        tensor([[4, 5, 6, 7, 8],
                [1, 2, 3, 0, 0]])
    """

    def __init__(self, source: str | os.PathLike[str] | Shards) -> None:
        self.shards = source if isinstance(source, Shards) else open_shards(source)

    @property
    def max_length(self) -> int:
        """The most tokens a pack may hold."""
        return self.shards.max_length

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Pack `index`, as `packsort.Shards` gives it."""
        return self.shards[index]


class PackedCollator:
    """Makes batches of packs: the `collate_fn` of a `DataLoader`, the `data_collator` of a `Trainer`.

    A `Trainer` has to be told `remove_unused_columns=False`: it takes away what the model has no argument for, and so
    where sequences end.

    Args:
        layout: as for `packsort.torch.Batcher`.
        **options: likewise. There are no `loss_weights`: they are normalised over the global step, and a collator sees
            one batch of it; `PackedLoader` has them.

    Raises:
        OptionError: an option has a value that is not allowed, or two clash.
    """

    def __init__(self, layout: str = "flat", **options: Any) -> None:
        if options.get("loss_weights") is not None:
            raise OptionError(
                "`PackedCollator` and loss_weights clash: they are normalised over the global step, of which a "
                "collator sees one batch; allowed is `PackedLoader`"
            )
        self.batcher = Batcher(layout, **options)

    def __call__(self, packs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """One batch."""
        return self.batcher(packs)

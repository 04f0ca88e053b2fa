"""Packs for loops that bring their own loader: `torch.utils.data.DataLoader`, transformers' `Trainer`, Lightning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch.utils.data import Dataset

from packsort.errors import OptionError
from packsort.torch._packs import open_packs
from packsort.torch.layouts import Batcher


class PackedDataset(Dataset[dict[str, NDArray[Any]]]):
    """Packs as a map-style dataset; `PackedCollator` makes batches of them.

    The packs of a packed directory are read from its mapped files when they are asked for. Of anything else that is a
    source they are planned, and gathered when they are asked for, nothing written. It works in the workers of a
    `DataLoader`, forked or spawned, and is pickled by what it was made of: a path stays a path.

    Args:
        source: a packed directory, by its path or as `packsort.open_shards` opened it; or, with `max_length`, token
            columns: a path, a `pyarrow.Table`, a `datasets.Dataset`.
        max_length: the most tokens a pack may hold; None for a packed directory, which knows.
        **plan_options: as for `packsort.plan`, with `max_length`; `seed` is 0 unless it is given. Or `plan`, as for
            `PackedLoader`.

    Attributes:
        max_length: the most tokens a pack may hold.

    Raises:
        SourceNotFoundError: there is no such directory.
        DamagedError: it is unfinished or damaged.
        OptionError: there are options of a plan, but no `max_length`; or as `PackedLoader` raises it.
        SourceError, LengthError: as `PackedLoader` raises them; tokens are checked as they are read.

    Example:
        >>> import pyarrow as pa, torch
        >>> from packsort.torch import PackedCollator, PackedDataset
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> dataset = PackedDataset(table, max_length=5, seed=None)
        >>> collate = PackedCollator("rows", max_length=dataset.max_length)
        >>> (batch,) = torch.utils.data.DataLoader(dataset, batch_size=2, collate_fn=collate)
        >>> batch["input_ids"]
        tensor([[4, 5, 6, 7, 8],
                [1, 2, 3, 0, 0]])
    """

    def __init__(self, source: Any, max_length: int | None = None, **plan_options: Any) -> None:
        self._made_of = (source, max_length, plan_options)
        options = dict(plan_options)
        planned, seed, epoch = options.pop("plan", None), options.pop("seed", 0), options.pop("epoch", 0)
        if "seed" in plan_options and max_length is None:
            raise OptionError("seed is an option of a plan, which needs `max_length` as well")
        self._packs = open_packs(source, max_length, seed, options, planned)
        self.max_length = self._packs.max_length
        self.set_epoch(epoch)

    def set_epoch(self, epoch: int) -> None:
        """Packs anew for an epoch; the number of packs stays. Packs that are written stay as they are.

        Call it where no workers are running: they have the packs of the epoch they were started in.
        """
        self._epoch = epoch
        self._of_epoch = self._packs.in_epoch(epoch)

    def __len__(self) -> int:
        return len(self._packs)

    def __getitem__(self, index: int) -> dict[str, NDArray[Any]]:
        """Pack `index`, as `packsort.Shards` gives it."""
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"pack {index} is not in {self._packs.name}, which has {len(self)} packs")
        return dict(self._of_epoch.take([number])[0])

    def __getstate__(self) -> tuple[Any, int]:
        source, max_length, options = self._made_of
        options = dict[str, Any](options)
        first = getattr(self._packs, "first", None)
        if first is not None and first.strategy == "optimal":  # it took long to find
            fillers = {name: options[name] for name in ("separator", "pad_token_id") if name in options}
            max_length, options = None, fillers | {"plan": first}
        return (source, max_length, options), self._epoch

    def __setstate__(self, state: tuple[Any, int]) -> None:
        (source, max_length, options), epoch = state
        self.__init__(source, max_length, **options)  # type: ignore[misc]
        self.set_epoch(epoch)


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

"""`PackedDataset`: packs for a `torch.utils.data.DataLoader`, transformers' `Trainer` or Lightning."""

from __future__ import annotations

import copy
import os
import warnings
from typing import Any, SupportsIndex, Unpack, overload

from numpy.typing import NDArray
from torch.utils.data import Dataset

from packsort import _checks
from packsort._options.choices import Seed, Verify
from packsort._options.keywords import PackOptions, names
from packsort._pickles import restoring
from packsort._warn import warn
from packsort.errors import OptionError
from packsort.planning.plan import Plan
from packsort.torch._outer_loop import in_default_collator
from packsort.torch._packs.directory import DirectoryPacks
from packsort.torch._packs.open_packs import open_packs
from packsort.torch._packs.packing_options import PackingOptions
from packsort.torch._packs.planned import PlannedPacks

_NO_COLLATOR = (
    "a `DataLoader` without a collator does not make batches that a model keeps sequences apart in: pass "
    "collate_fn=PackedCollator(max_length=dataset.max_length)"
)


class DatasetOptions(PackOptions, total=False):
    """Keyword arguments of `PackedDataset`."""

    seed: Seed
    epoch: int
    tokenizer: Any
    plan: Plan | str | os.PathLike[str] | None
    verify: Verify | None


class PackedDataset(Dataset[dict[str, NDArray[Any]]]):
    """Packs as a map-style dataset; `PackedCollator` makes batches of them.

    Packs of a packed directory are read from its mapped files on request. Packs of token columns are planned at once
    and gathered on request; nothing is written. The dataset works in forked and spawned workers of a `DataLoader`. It
    is pickled by its arguments: a path stays a path.

    The packs of a dataset never change, so one dataset may serve training and evaluation, and a resumed run sees the
    packs of the run before it. The sampler of the loop chooses their order in each epoch; `packsort.hf.ResumeCallback`
    makes sure that a `Trainer` that is resumed chooses the same. `with_epoch` packs anew. The samplers of `Trainer` and
    of `DataLoader(shuffle=True)` also shuffle packs of `strategy="in_order"`: for a curriculum pass
    `TrainingArguments(train_sampling_strategy="sequential")`, or `shuffle=False`.

    Args:
        source: A packed directory (its path, or the result of `packsort.open_shards`), or token columns to pack on the
            fly: a path, a `pyarrow.Table`, a `datasets.Dataset` and whatever else `PackedLoader` takes, or, with a
            tokenizer, conversations and text.
        max_length: Most tokens of a pack. `None` for a packed directory or a `plan`, which know it.
        **options: Options of packing on the fly, as for `packsort.pack`. They include `seed`, which shuffles the packs
            (default `auto`: 0, and `None`, no shuffle, for `in_order`), `epoch` (default 0), and `plan`: a `Plan`, or
            the file that `Plan.save` wrote, in place of `max_length` and the other options. `verify` and `tokenizer`
            are those of `PackedLoader`; workers get the tokens and do not make them again.

    Attributes:
        max_length: Most tokens of a pack.
        dictionaries: Texts of each column of codes that packs keep: the text of code `i` is the `i`-th.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, two options contradict each other, `max_length` is missing, or the source
            is packed already and an option of packing was passed.
        SourceNotFoundError: There is no such directory or file.
        SourceError, LengthError: As for `PackedLoader`; tokens are checked as they are read.
        DamagedError: The directory is unfinished or damaged; reading a pack raises it where the shard is damaged.

    Example:
        >>> import pyarrow as pa, torch
        >>> from packsort.torch import PackedCollator, PackedDataset
        >>> table = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6, 7], [8]]})
        >>> dataset = PackedDataset(table, 5, seed=None)
        >>> collate = PackedCollator("rows", dataset.max_length)
        >>> (batch,) = torch.utils.data.DataLoader(dataset, batch_size=2, collate_fn=collate)
        >>> batch["input_ids"]
        tensor([[4, 5, 6, 7, 8],
                [1, 2, 3, 0, 0]])
    """

    def __init__(self, source: Any, max_length: int | None = None, **options: Unpack[DatasetOptions]) -> None:
        _checks.keywords("PackedDataset", options, names(DatasetOptions))
        own = dict[str, Any](options)
        verify = own.pop("verify", None)
        plan, seed, epoch = own.pop("plan", None), own.pop("seed", "auto"), own.pop("epoch", 0)
        packing = PackingOptions.check("PackedDataset", max_length, own, seed, own.pop("tokenizer", None))
        epoch = _checks.seed("epoch", epoch)
        self._arguments = (source, max_length, {name: options[name] for name in options if name != "on_progress"})  # type: ignore[literal-required]
        self._packs = open_packs(source, packing, plan, verify)
        self._seen_loop = False  # whether the loop that asks for packs was looked at
        self.max_length = self._packs.max_length
        self.dictionaries = dict(self._packs.dictionaries)
        if isinstance(self._packs, DirectoryPacks):
            self._refuse_order(not packing.auto_seed and packing.config.seed is not None, "seed")
            self._refuse_order(epoch != 0, "epoch")
        self._choose(epoch)

    @property
    def epoch(self) -> int:
        """Epoch whose packs the dataset holds."""
        return self._epoch

    def with_epoch(self, epoch: int) -> PackedDataset:
        """Return a dataset with the packs of another epoch: as many, of other sequences. It shares the plan and tokens.

        A loop that wants new packs in each epoch makes its `DataLoader` of this dataset, and after a resume too.

        Args:
            epoch: Epoch of the shuffle, from 0 to 2**64 - 1.

        Raises:
            OptionError: `epoch` is not allowed, or the packs are those of a packed directory, which do not change.

        Example:
            >>> import pyarrow as pa
            >>> from packsort.torch import PackedDataset
            >>> dataset = PackedDataset(pa.table({"input_ids": [[i] for i in range(6)]}), 3)
            >>> [dataset.with_epoch(epoch)[0]["input_ids"].tolist() for epoch in range(3)]
            [[5, 4, 2], [0, 2, 3], [3, 2, 5]]
        """
        epoch = _checks.seed("epoch", epoch)
        if isinstance(self._packs, DirectoryPacks):
            self._refuse_order(epoch != 0, "epoch")
        other = copy.copy(self)
        other._choose(epoch)
        return other

    def set_epoch(self, epoch: int) -> None:
        """Check an epoch and keep the packs: the order is the sampler's, and `with_epoch` packs anew.

        accelerate and `Trainer` call this method in some runs and leave it out in others, such as a run that is
        resumed inside an epoch, so it must not change what is trained on.

        Raises:
            OptionError: `epoch` is not an integer from 0 to 2**64 - 1.
        """
        _checks.seed("epoch", epoch)

    def _choose(self, epoch: int) -> None:
        self._epoch = epoch
        self._epoch_packs = self._packs.in_epoch(epoch)

    def __len__(self) -> int:
        return len(self._packs)

    @overload
    def __getitem__(self, index: SupportsIndex) -> dict[str, NDArray[Any]]: ...

    @overload
    def __getitem__(self, index: slice) -> list[dict[str, NDArray[Any]]]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> dict[str, NDArray[Any]] | list[dict[str, NDArray[Any]]]:
        """Return one pack as `packsort.Shards` gives it, or a list of packs for a slice.

        Raises:
            TypeError: `index` is neither an integer nor a slice.
            IndexError: There is no such pack.
        """
        if isinstance(index, slice):
            numbers = range(*index.indices(len(self)))
            return [dict(pack) for pack in self._epoch_packs.take(numbers)] if numbers else []
        if not self._seen_loop:
            self._seen_loop = True
            if in_default_collator():
                warn([_NO_COLLATOR])
        number = _checks.pack_number(index, len(self), self._packs.name)
        return dict(self._epoch_packs.take([number])[0])

    def _refuse_order(self, given: bool, name: str) -> None:
        if given:
            raise OptionError(
                f"{name} does not go with {self._packs.name}, which is packed already: a PackedDataset keeps the order "
                "of its packs; shuffle them with the DataLoader's sampler, or use `PackedLoader`"
            )

    def __getstate__(self) -> tuple[Any, int]:
        source, max_length, options = self._arguments
        packs = self._packs
        if isinstance(packs, PlannedPacks) and (packs.tokenized or packs.first.strategy == "optimal"):
            # The plan took long to find, so it goes along; `max_length` and the options of a plan follow from it. Rows
            # are not tokenized again: their tokens go along.
            max_length, options = None, packs.token_options | {"plan": packs.first}
            source = packs.source if packs.tokenized else source
        if isinstance(packs, DirectoryPacks):  # which know what was checked, so that no worker checks it again
            source = packs.shards
            options = {
                name: value
                for name, value in options.items()
                if name not in ("verify", "memory_map", "storage_options")
            }
        return (source, max_length, options), self._epoch

    def __setstate__(self, state: tuple[Any, int]) -> None:
        # The warnings were given where the dataset was made; each worker would repeat them.
        with restoring("PackedDataset"), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            (source, max_length, options), epoch = state
            self.__init__(source, max_length, **options)  # type: ignore[misc]
            self._choose(_checks.seed("epoch", epoch))

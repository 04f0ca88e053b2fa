"""`PackedCollator`: batches of packs for a `DataLoader` or a `Trainer`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack, overload

from packsort._options.choices import Layout
from packsort._options.keywords import LayoutOptions
from packsort._options.layout import layout_config
from packsort.errors import OptionError
from packsort.torch._loss_arguments import MODEL_LAYOUTS, warn_of_loss_arguments
from packsort.torch.layouts import Batcher
from packsort.torch.layouts.columns import find_columns


class PackedCollator:
    """Callable that turns packs into a batch: `collate_fn` of a `DataLoader`, `data_collator` of a `Trainer`.

    Pass `remove_unused_columns=False` to a `Trainer`. Otherwise it removes the columns that the model takes no argument
    for, and with them the ends of the sequences.

    Args:
        layout: Shapes and names of the tensors, as for `Batcher`.
        max_length: Most tokens of a pack, such as `dataset.max_length`.
        **options: Options of the layout, as for `Batcher`, without `loss_weights`: those are normalized over a step,
            and a collator sees one batch of it. `PackedLoader` has them. A model takes no columns that packs keep for
            each sequence: pass their names as `drop_columns`, or take them out of the batch and pass them as `keep`.

    Attributes:
        batcher: The `Batcher` that it calls.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or an option does not go with the layout.

    Example:
        >>> import numpy as np
        >>> from packsort.torch import PackedCollator
        >>> collate = PackedCollator("flat", 8)
        >>> collate([{"input_ids": np.array([7, 8, 9]), "seq_lengths": np.array([1, 2])}])["cu_seq_lens_q"]
        tensor([0, 1, 3], dtype=torch.int32)
    """

    @overload
    def __init__(self, layout: Layout, max_length: int, **options: Unpack[LayoutOptions]) -> None: ...

    @overload
    def __init__(self, layout: Layout = "flat", *, max_length: int, **options: Unpack[LayoutOptions]) -> None: ...

    def __init__(
        self, layout: Layout = "flat", max_length: int | None = None, **options: Unpack[LayoutOptions]
    ) -> None:
        config = layout_config("PackedCollator", layout, max_length, options)
        if config.loss_weights is not None:
            raise OptionError(
                f"loss_weights={config.loss_weights!r} does not go with `PackedCollator`: the weights are normalized "
                "over the step, and a collator sees one batch of it; use `PackedLoader`"
            )
        self.batcher = Batcher.from_config(config)
        self._seen = config.keep is not None or config.layout not in MODEL_LAYOUTS  # whether columns were looked at

    def __call__(self, packs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Make one batch.

        Args:
            packs: Packs as `PackedDataset` gives them.

        Returns:
            The batch, as `Batcher` makes it.
        """
        batch = self.batcher(packs)
        if not self._seen:
            self._seen = True
            kept = find_columns(packs, None, self.batcher.config.drop_columns)[1]
            warn_of_loss_arguments(batch, kept, "`batch.pop`, in `compute_loss` of a `Trainer`")
        return batch

"""`Batcher`: packs in, the tensors of a training step out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self, Unpack, overload

import numpy as np

from packsort import _core
from packsort._options.choices import Layout
from packsort._options.keywords import LayoutOptions
from packsort._options.layout import LayoutConfig, layout_config
from packsort.errors import OptionError, SourceError
from packsort.schema import INPUT_IDS, SEQ_LENGTHS
from packsort.torch.layouts import flat, megatron, rows, torchtune
from packsort.torch.layouts.columns import find_columns, other_columns, refuse_taken, token_tensors
from packsort.torch.layouts.sequences import sequence_tensors
from packsort.torch.layouts.tensors import BatchTensors, CorePack, TensorSpec, batch_tensors, core_packs
from packsort.torch.layouts.weights import multiply_weights, no_weights, weighted_total

_NAME_TENSORS: dict[str, Callable[[BatchTensors], dict[str, Any]]] = {
    "flat": flat.name_tensors,
    "rows": rows.name_tensors,
    "megatron": megatron.name_tensors,
    "torchtune": torchtune.name_tensors,
}


class Batcher:
    """Callable that turns packs into a batch.

    The modules `packsort.torch.layouts.flat`, `rows`, `megatron` and `torchtune` list the tensors of their batches. In
    all layouts no token attends to another sequence, and no label is predicted from another sequence.

    A pack may hold filler: segments that `sequence_ids` marks as padding (-1) or as a separator (-2). Filler carries no
    loss. Attention treats it as a sequence of its own; loss weights do not count it.

    Args:
        layout: `"flat"`, `"rows"`, `"megatron"` or `"torchtune"`.
        max_length: Most tokens of a pack, and the width of rows.
        labels: `"unshifted"` labels stand at the token they name, `"shifted"` ones at the token before it. `None` is
            what the layout's readers expect: shifted for `megatron`, unshifted for the others. Where models shift
            `labels` themselves, shifted labels are named `shift_labels`.
        attention: `"document"`: a token attends to its own sequence. `"pack"`: it attends to all of its pack before it,
            filler included, and positions continue through the pack, as in arXiv 2410.08081. The labels are the same.
        seq_idx: Whether to add `seq_idx`, int32: the number of each token's segment in its row, from 0. By it models
            with convolutions or recurrent layers (LFM2, Bamba, Falcon-H1) keep sequences apart, and refuse the batch
            where they cannot. `None` adds it to `flat` and `rows`. Leave it out (`False`) for a model whose `forward`
            does not take it, or where each row holds one sequence.
        max_sequences: Most sequences of a pack. It fixes all shapes, provided that every batch has the same number of
            packs. For `flat` and `megatron`.
        max_fillers: Most segments of filler in a pack, with `max_sequences` and for `flat`; `None` is 0. Packs with
            separators have up to `max_sequences` - 1, those padded to a multiple up to `max_sequences` more.
        pad_batch_to_multiple_of: Number of which the tokens of a batch are a multiple, as FP8 kernels need. The padding
            is filler at the end of the batch. For `flat` and `megatron`. `pad_to_multiple_of`, an option of packing,
            pads each sequence.
        padding: Segment of the padding at the end of a row: `"own"` is a segment of its own, `"last"` the last
            sequence. For `rows`.
        loss_weights: Adds `loss_weights`, float32, aligned with the labels; they sum to 1 over the optimizer step, see
            `packsort.torch.weighted_loss`. `"token"` weights trained tokens equally, `"sample"` sequences, and `"sqrt"`
            sequences by the square root of their trained tokens. A piece of a cut sequence counts as a sequence; a
            sequence without a trained token does not count.
        weight_column: Column of the packs whose values multiply the loss weights, with one for each token or each
            sequence, finite and at least 0. The weights still sum to 1 over the step; `packsort.torch.layouts.weights`
            has the formula.
        block_mask: Adds a FlexAttention `BlockMask`, as `attention_mask`, or as `mask` for `torchtune`. A configuration
            of `transformers`, `model.config`, gives layers with a sliding window or chunks their own: models with
            several kinds of layers get a dict of masks, by the names in `config.layer_types`. `"full"` is for models
            whose layers all attend to the whole sequence. `True` is the same with a warning, because a window would be
            lost.
        pad_token_id: Token id of padding.
        keep: Columns of the packs with one value for each segment. `None` takes a column for one of them if it has as
            many values as segments, and not as many as tokens.
        drop_columns: Columns of the packs that are left out of the batch. All others are in it, see
            `packsort.torch.layouts`.

    Attributes:
        config: The options, complete and checked.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or an option does not go with the layout.

    Example:
        >>> import numpy as np
        >>> from packsort.torch import Batcher
        >>> ids, lengths = np.array([7, 8, 9], np.int32), np.array([1, 2], np.int32)
        >>> batch = Batcher("rows", 4)([{"input_ids": ids, "seq_lengths": lengths}])
        >>> batch["labels"], batch["segment_ids"]
        (tensor([[-100, -100,    9, -100]]), tensor([[1, 2, 2, 0]], dtype=torch.int32))
    """

    config: LayoutConfig

    @overload
    def __init__(self, layout: Layout, max_length: int, **options: Unpack[LayoutOptions]) -> None: ...

    @overload
    def __init__(self, layout: Layout = "flat", *, max_length: int, **options: Unpack[LayoutOptions]) -> None: ...

    def __init__(
        self, layout: Layout = "flat", max_length: int | None = None, **options: Unpack[LayoutOptions]
    ) -> None:
        self._set_config(layout_config("Batcher", layout, max_length, options))

    @classmethod
    def from_config(cls, config: LayoutConfig) -> Self:
        """Return the batcher of options that are checked already."""
        batcher = cls.__new__(cls)
        batcher._set_config(config)
        return batcher

    @property
    def layout(self) -> str:
        """Shapes and names of the tensors."""
        return self.config.layout

    @property
    def max_length(self) -> int:
        """Most tokens of a pack."""
        return self.config.max_length

    @property
    def needs_step(self) -> bool:
        """Whether a call needs `step_packs`, the packs of the whole step: loss weights are normalized over it."""
        return self.config.loss_weights is not None

    def __call__(
        self,
        packs: Sequence[Mapping[str, Any]],
        *,
        step_packs: Sequence[Mapping[str, Any]] | None = None,
        pin_memory: bool = False,
    ) -> dict[str, Any]:
        """Make one batch.

        Args:
            packs: Packs as `packsort.Shards` gives them: `input_ids`, `seq_lengths` and, in all packs or in none,
                `labels` and `sequence_ids`.
            step_packs: Packs of this optimizer step, over all ranks and accumulation, in the same order on each rank.
                Needed for `loss_weights`.
            pin_memory: Whether to make the tensors in page-locked memory, from which a GPU copies them while it
                computes.

        Returns:
            The batch; the module of its layout lists the tensors.

        Raises:
            SourceError: A pack lacks a column, or has more tokens or segments than the options allow; or a column has
                no number for each token or segment, or the name of one of the batch's own tensors.
            OptionError: There are no packs, `step_packs` is missing, or `drop_columns` names no column of the packs.
            DamagedError: The columns of a pack contradict each other.
        """
        if not packs:
            raise OptionError("a batch needs at least one pack, got none")
        columns = core_packs(packs)
        self._check_sizes(columns)
        scheme, column, weights = self.config.loss_weights, self.config.weight_column, None
        if scheme is not None:
            if step_packs is None:
                raise OptionError(
                    f"loss_weights={scheme!r} needs step_packs: the weights are normalized over the packs of all ranks "
                    "and accumulation steps"
                )
            if column is None:
                weights = (scheme, _core.step_total(core_packs(step_packs), scheme))
            else:
                weights = (scheme, weighted_total(step_packs, scheme, column))
        tensors = batch_tensors(columns, self._spec, weights, pin_memory)
        batch = _NAME_TENSORS[self.layout](tensors)
        if self.config.seq_idx:
            batch["seq_idx"] = tensors.seq_idx
        if scheme is not None:
            batch["loss_weights"] = tensors.loss_weights
            if column is not None and tensors.loss_weights is not None:
                shifted = tensors.label_placement != "unshifted"
                multiply_weights(tensors.loss_weights, packs, column, self._spec.row_width, shifted=shifted)
        if self.config.block_mask is not None and tensors.seq_idx is not None:
            from packsort.torch.masks import layer_masks

            name = "mask" if self.layout == "torchtune" else "attention_mask"
            batch[name] = layer_masks(
                tensors.cu_seqlens, tensors.seq_idx, self.config.block_mask, pin_memory=pin_memory
            )
        names, kept = find_columns(packs, self.config.keep, self.config.drop_columns)
        if not names and not kept:
            return batch
        shape, width = tensors.input_ids.shape, self._spec.row_width
        extra = token_tensors(packs, names, shape, width, pin_memory=pin_memory)
        # Layouts that join filler to sequences count these alone; each may have a separator and padding after it.
        room = self._spec.max_segments * (3 if self._spec.filler_joins else 1)
        extra |= sequence_tensors(packs, kept, shape.numel(), width, room)
        refuse_taken(extra, batch, self.layout)
        return batch | extra

    def check_columns(self, names: Sequence[str]) -> None:
        """Refuse columns of packs that a batch cannot hold, before there is any pack.

        Raises:
            SourceError: A column has the name of one of the batch's own tensors, or the column of weights is missing.
            OptionError: `drop_columns` names none of the columns.
        """
        pack = core_packs([{INPUT_IDS: [0], SEQ_LENGTHS: [1]}])
        own = _NAME_TENSORS[self.layout](batch_tensors(pack, self._spec, None, False))
        refuse_taken(other_columns(names, self.config.drop_columns), own, self.layout)
        column = self.config.weight_column
        if column is not None and column not in names:
            raise no_weights(column, names)

    def _set_config(self, config: LayoutConfig) -> None:
        layout, padding_last = config.layout, config.padding == "last"
        single_row = layout in ("flat", "megatron")
        optional = {
            "loss_weights": config.loss_weights is not None,
            "loss_mask": layout == "megatron",
            "padding_mask": layout == "megatron",
            "segment_ids": layout == "rows",
            "seq_idx": config.seq_idx or config.block_mask is not None,
        }
        self.config = config
        self._spec = TensorSpec(
            label_placement="masked" if layout == "megatron" else config.labels or "unshifted",
            attend_pack=config.attention == "pack",
            row_width=0 if single_row and config.max_sequences is None else config.max_length,
            single_row=single_row,
            max_segments=0 if config.max_sequences is None else config.max_sequences + (config.max_fillers or 0),
            tokens_multiple_of=config.pad_batch_to_multiple_of,
            pad_token_id=config.pad_token_id,
            padding_joins_last=padding_last,
            positions_continue=padding_last or layout == "torchtune",
            filler_joins=layout == "megatron",
            optional=frozenset(name for name, wanted in optional.items() if wanted),
        )

    def _check_sizes(self, packs: Sequence[CorePack]) -> None:
        width, most = self._spec.row_width, self.config.max_sequences
        for number, (ids, _, lengths, sequence_ids) in enumerate(packs):
            if width and len(ids) > width:
                raise SourceError(f"pack {number} of the batch has {len(ids)} tokens, more than max_length {width}")
            if most is None:
                continue
            fillers = 0 if sequence_ids is None else int(np.count_nonzero(sequence_ids < 0))
            room = self.config.max_fillers or 0
            if sequence_ids is None and not self._spec.filler_joins:  # as `packsort.hf.load` gives them
                fillers = min(room, len(lengths))
            if len(lengths) - fillers > most:
                raise SourceError(
                    f"pack {number} of the batch has {len(lengths) - fillers} sequences, more than max_sequences {most}"
                )
            if fillers > room and not self._spec.filler_joins:
                raise SourceError(
                    f"pack {number} of the batch has {fillers} separators and stretches of padding, more than "
                    f"max_fillers {room}: pass max_fillers={fillers + room} or more"
                )

    def __repr__(self) -> str:
        return f"Batcher({self.layout!r}, {self.max_length})"

"""Packs in, the tensors of a training step out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

from packsort import _core
from packsort.errors import OptionError, SourceError
from packsort.torch.layouts import flat, megatron, rows, torchtune
from packsort.torch.layouts.filling import Filled, Style, core_packs, fill

_ARRANGE: dict[str, Callable[[Filled], dict[str, Any]]] = {
    "flat": flat.arrange,
    "rows": rows.arrange,
    "megatron": megatron.arrange,
    "torchtune": torchtune.arrange,
}

LAYOUTS = tuple(_ARRANGE)


class Batcher:
    """Makes batches of packs.

    What is in a batch is said by the module of its layout: `packsort.torch.layouts.flat`, `rows`, `megatron` and
    `torchtune`. In all of them no token attends to another sequence and no label is predicted across sequences.

    A pack may hold *filler*: pieces that `sequence_ids` marks as padding (-1) or as a separator (-2). No loss is taken
    on it, it is a sequence of its own where attention is concerned, and none where loss is weighed.

    Args:
        layout: `flat`, `rows`, `megatron` or `torchtune`.
        max_length: the most tokens a pack may hold: the width of rows.
        labels: `unshifted` or `shifted`; None for what the layout's readers expect, which is `shifted` with `megatron`
            and `unshifted` with all others. Shifted labels are called `shift_labels` where models shift `labels`.
        attention: `document`: tokens see their own sequence; `pack`: they see all of their pack before them, filler
            too, and positions run on, as in the paper. The labels are the same.
        seq_idx: adds `seq_idx` int32, each token's sequence in its row from 0, which models with short convolutions
            (Mamba, linear attention) need; `flat` and `rows`.
        max_sequences: the most pieces of a pack, filler counted; makes all shapes fixed; `flat` and `megatron`. The
            number of packs has to be the same for each batch, too.
        padding: what padding at the end of `rows` counts as: `own`, a segment of its own, or `last`, part of the last
            sequence.
        loss_weights: adds `loss_weights` float32 in the shape of the labels, aligned with them as they are. They sum to
            1 over the global step; see `packsort.torch.weighted_loss`. `token`: each trained token alike; `sample`:
            each sequence alike; `sqrt`: each by the square root of its trained tokens. A piece of a sequence that was
            split counts as a sequence; one without a trained token as none.
        block_mask: adds a `BlockMask` for FlexAttention, as `attention_mask`, or `mask` with `torchtune`.
        pad_token_id: the token that padding is of.

    Attributes:
        needs_step: whether a call has to be given the packs of the whole step.

    Raises:
        OptionError: an option has a value that is not allowed, or two clash.

    Example:
        >>> import numpy as np
        >>> from packsort.torch import Batcher
        >>> ids, lengths = np.array([7, 8, 9], np.int32), np.array([1, 2], np.int32)
        >>> batch = Batcher("rows", max_length=4)([{"input_ids": ids, "seq_lengths": lengths}])
        >>> batch["labels"], batch["segment_ids"]
        (tensor([[-100, -100,    9, -100]]), tensor([[1, 2, 2, 0]], dtype=torch.int32))
    """

    def __init__(
        self,
        layout: str = "flat",
        *,
        max_length: int,
        labels: str | None = None,
        attention: str = "document",
        seq_idx: bool = False,
        max_sequences: int | None = None,
        padding: str = "own",
        loss_weights: str | None = None,
        block_mask: bool = False,
        pad_token_id: int = 0,
    ) -> None:
        _one_of("layout", layout, LAYOUTS)
        _one_of("labels", labels, (None, "unshifted", "shifted"))
        _one_of("attention", attention, ("document", "pack"))
        _one_of("padding", padding, ("own", "last"))
        _one_of("loss_weights", loss_weights, (None, "token", "sample", "sqrt"))
        _number("max_length", max_length, 1)
        _number("pad_token_id", pad_token_id, 0)
        if max_sequences is not None:
            _number("max_sequences", max_sequences, 1)
        for clash, layouts, option, why in (
            (labels == "unshifted", ("megatron",), "labels 'unshifted'", "Megatron does not shift labels"),
            (labels == "shifted", ("torchtune",), "labels 'shifted'", "torchtune's recipes shift labels themselves"),
            (seq_idx, ("megatron", "torchtune"), "seq_idx", "`PackedSeqParams` makes it, torchtune has none"),
            (max_sequences is not None, ("rows", "torchtune"), "max_sequences", "its shapes are fixed without"),
            (padding == "last", ("flat", "megatron", "torchtune"), "padding 'last'", "what padding is, is fixed there"),
            (block_mask, ("megatron",), "block_mask", "its attention takes `cu_seqlens_*`"),
        ):
            if clash and layout in layouts:
                allowed = ", ".join(repr(name) for name in LAYOUTS if name not in layouts)
                raise OptionError(f"layout {layout!r} and {option} clash: {why}; allowed with it are {allowed}")
        self.layout = layout
        self.max_length = int(max_length)
        self.max_sequences = max_sequences
        self.loss_weights = loss_weights
        self.block_mask = block_mask
        self.seq_idx = seq_idx
        wanted = {"loss_weights": loss_weights, "loss_mask": layout == "megatron", "segment_ids": layout == "rows"}
        wanted |= {"seq_idx": seq_idx or block_mask}
        one_row = layout in ("flat", "megatron")
        self._style = Style(
            labels="masked" if layout == "megatron" else labels or "unshifted",
            whole_pack=attention == "pack",
            row=self.max_length if not one_row or max_sequences else 0,
            one_row=one_row,
            max_sequences=max_sequences or 0,
            pad_token_id=int(pad_token_id),
            padding_joins=padding == "last",
            positions_run_on=padding == "last" or layout == "torchtune",
            merge_filler=layout == "megatron",
            wanted=frozenset(name for name, want in wanted.items() if want),
        )

    @property
    def needs_step(self) -> bool:
        """Whether a call has to be given the packs of the whole step: they have `loss_weights`."""
        return self.loss_weights is not None

    def __call__(
        self,
        packs: Sequence[Mapping[str, Any]],
        *,
        step_packs: Sequence[Mapping[str, Any]] | None = None,
        pin_memory: bool = False,
    ) -> dict[str, Any]:
        """Makes one batch.

        Args:
            packs: as `packsort.Shards` gives them: `input_ids`, `seq_lengths` and, all or none, `labels` and
                `sequence_ids`.
            step_packs: the packs of this optimizer step, of all ranks and accumulation steps; needed if `needs_step`,
                and in the same order on each rank.
            pin_memory: whether tensors are in page-locked memory, from which they are copied to a GPU while it
            computes.

        Raises:
            SourceError: a pack lacks a column, or has more tokens or pieces than was said.
            OptionError: there are no packs, or no `step_packs`.
            DamagedError: a pack's columns do not fit each other.
        """
        if not packs:
            raise OptionError("a batch of no packs, allowed are 1 and more")
        columns = core_packs(packs)
        self._check(columns)
        weights = None
        if self.loss_weights is not None:
            if step_packs is None:
                raise OptionError(
                    f"loss_weights {self.loss_weights!r} are normalised over the global step: `step_packs` is needed, "
                    "the packs of all ranks and accumulation steps"
                )
            weights = (self.loss_weights, _core.step_total(core_packs(step_packs), self.loss_weights))
        filled = fill(columns, self._style, weights, pin_memory)
        batch = _ARRANGE[self.layout](filled)
        if self.seq_idx:
            batch["seq_idx"] = filled.seq_idx
        if self.loss_weights:
            batch["loss_weights"] = filled.loss_weights
        if self.block_mask and filled.seq_idx is not None:
            from packsort.torch.masks import document_mask

            name = "mask" if self.layout == "torchtune" else "attention_mask"
            batch[name] = document_mask(filled.cu_seqlens, filled.seq_idx)
        return batch

    def _check(self, packs: Sequence[tuple[Any, ...]]) -> None:
        row, most = self._style.row, self._style.max_sequences
        for number, (ids, _, lengths, _) in enumerate(packs):
            if row and len(ids) > row:
                raise SourceError(
                    f"pack {number} of the batch has {len(ids)} tokens, more than max_length {row} of its rows"
                )
            if most and len(lengths) > most:
                raise SourceError(
                    f"pack {number} of the batch has {len(lengths)} pieces, more than max_sequences {most}"
                )

    def __repr__(self) -> str:
        return f"Batcher({self.layout!r}, max_length={self.max_length})"


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} is {value!r}, allowed are {', '.join(map(repr, allowed))}")


def _number(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral) or not least <= int(value) < 2**31:
        raise OptionError(f"{name} is {value!r}, allowed is {least} to 2**31 - 1")

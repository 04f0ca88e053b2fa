"""Loss by the value of a column that packs keep: by source, by language, by reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy, pad

from packsort.errors import OptionError
from packsort.schema import NO_LOSS, SEQ_LENGTHS, SEQUENCE_IDS

_MOST_WAITING = 64  # batches whose sums wait on their device before they are added up


class LossOf(NamedTuple):
    """Loss of one value of a column.

    Attributes:
        loss: Mean cross-entropy of its tokens; NaN without tokens.
        tokens: Number of its tokens that carry loss.
    """

    loss: float
    tokens: int


def loss_by(column: str, dictionaries: Mapping[str, Sequence[str]] | None = None) -> LossBy:
    """Return an accumulator of the loss by the values of a column.

    ```python
    by_source = loss_by("source", loader.dictionaries)  # loader = PackedLoader("packed/"), packed with keep="source"
    for batch in loader:
        kept = {name: batch.pop(name) for name in loader.kept}
        logits = model(**batch).logits
        by_source.update(logits, batch["labels"], kept)
    by_source.compute(all_ranks=True)
    ```

    Args:
        column: A column of the batches with one value for each segment, see `keep`, or with one for each token.
        dictionaries: Texts of columns of codes, such as `loader.dictionaries`. Without the column's, codes are values.
            It is looked up when the loss is computed, because a stream finds texts as it reads.

    Example:
        >>> import torch
        >>> by_source = loss_by("source", {"source": ("math", "code")})
        >>> kept = {"source": torch.tensor([0, 1]), "seq_lengths": torch.tensor([2, 3])}
        >>> by_source.update(torch.zeros(1, 5, 2), torch.tensor([[-100, 1, -100, 0, 1]]), kept)
        >>> {source: (round(found.loss, 4), found.tokens) for source, found in by_source.compute().items()}
        {'math': (0.6931, 1), 'code': (0.6931, 2)}
    """
    return LossBy(column, {} if dictionaries is None else dictionaries)


class LossBy:
    """Accumulator of the loss by the values of a column; `loss_by` returns it.

    Its sums are those of the sequences run one by one: they do not depend on packs, batches, steps or ranks.

    Args:
        column: The column.
        dictionaries: Texts of columns of codes.
    """

    def __init__(self, column: str, dictionaries: Mapping[str, Sequence[str]]) -> None:
        self.column = column
        self._dictionaries = dictionaries
        self._waiting: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        self._sums: dict[Any, tuple[float, int]] = {}

    def update(
        self, logits: torch.Tensor, labels: torch.Tensor, kept: Mapping[str, Any], *, shifted: bool = False
    ) -> None:
        """Add the loss of a batch. No gradient flows through it.

        Args:
            logits: float (rows, tokens, vocabulary).
            labels: int64 (rows, tokens), as the batch holds them.
            kept: The column and `seq_lengths`, and `sequence_ids` where there are any, as the batch holds them. The
                whole batch will do.
            shifted: Whether `labels` are shifted, as `shift_labels` and those of the layout `megatron` are. Set labels
                of `megatron` to -100 where its `loss_mask` is 0.

        Raises:
            OptionError: `kept` lacks the column or `seq_lengths`, or they are not of these labels.
        """
        values, segments = self._of_tokens(labels, kept)
        if not shifted:
            labels = pad(labels[:, 1:], (0, 1), value=NO_LOSS)
            segments = pad(segments.view(labels.shape)[:, 1:], (0, 1)).flatten()
        with torch.no_grad():
            trained = labels.flatten() != NO_LOSS
            scores, places = logits.flatten(0, 1)[trained], segments[trained]
            scores = scores.float() if scores.dtype.itemsize < 4 else scores
            losses = cross_entropy(scores, labels.flatten()[trained], reduction="none")
            kind = torch.float32 if losses.device.type == "mps" else torch.float64  # MPS has no float64
            sums = torch.zeros(len(values), dtype=kind, device=losses.device).index_add_(0, places, losses.to(kind))
            counts = torch.bincount(places, minlength=len(values))
        self._waiting.append((values, sums, counts))
        if len(self._waiting) >= _MOST_WAITING:
            self._add_up()

    def compute(self, *, all_ranks: bool = False) -> dict[Any, LossOf]:
        """Return the loss and the tokens of each value that a sequence had, in the order of codes or numbers.

        Args:
            all_ranks: Whether to add up all ranks of `torch.distributed`. Every rank has to call it, and gets the same.
        """
        self._add_up()
        texts = self._dictionaries.get(self.column)
        own = self._sums if texts is None else {texts[code]: both for code, both in self._sums.items()}
        found = [own]
        if all_ranks and torch.distributed.is_available() and torch.distributed.is_initialized():
            found = [{} for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(found, own)
        total: dict[Any, tuple[float, int]] = {}
        for sums in found:
            for value, (loss, tokens) in sums.items():
                _add(total, value, loss, tokens)
        order: dict[Any, Any] = {value: code for code, value in enumerate(texts or ())}
        values = sorted(total, key=lambda value: order.get(value, len(order)) if texts is not None else value)
        return {
            value: LossOf(total[value][0] / total[value][1] if total[value][1] else float("nan"), total[value][1])
            for value in values
        }

    def reset(self) -> None:
        """Forget all batches."""
        self._waiting, self._sums = [], {}

    def _of_tokens(self, labels: torch.Tensor, kept: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the values, and the place among them of each token's value: (values,) and (rows x tokens,)."""
        for name in (self.column, SEQ_LENGTHS):
            if name not in kept and not (name == SEQ_LENGTHS and kept[self.column].shape == labels.shape):
                raise OptionError(
                    f"kept must hold `{name}`, got {', '.join(map(repr, kept))}: pass keep={self.column!r} to the "
                    "loader or when packing, and the columns that `loader.kept` names"
                )
        column = kept[self.column].to(labels.device)
        if column.shape == labels.shape:
            values, places = torch.unique(column, return_inverse=True)
            return values, places.flatten()
        lengths = kept[SEQ_LENGTHS].to(labels.device, torch.int64)
        if column.shape != lengths.shape or int(lengths.sum()) != labels.numel():
            raise OptionError(
                f"kept must be of the same batch as labels: `{self.column}` has {len(column):,} values for "
                f"{int(lengths.sum()):,} tokens, labels have {labels.numel():,}"
            )
        real = lengths > 0
        if SEQUENCE_IDS in kept:
            real &= kept[SEQUENCE_IDS].to(labels.device) >= 0
        # Padding and separators carry no loss, so it does not matter which place their tokens get.
        places = torch.where(real, real.cumsum(0) - 1, int(real.sum()) - 1).clamp(min=0)
        return column[real], places.repeat_interleave(lengths)

    def _add_up(self) -> None:
        for values, sums, counts in self._waiting:
            for value, loss, tokens in zip(values.tolist(), sums.tolist(), counts.tolist(), strict=True):
                _add(self._sums, value, loss, tokens)
        self._waiting = []

    def __repr__(self) -> str:
        return f"LossBy({self.column!r})"


def _add(total: dict[Any, tuple[float, int]], value: Any, loss: float, tokens: int) -> None:
    before = total.get(value, (0.0, 0))
    total[value] = before[0] + loss, before[1] + tokens

"""Layouts of a batch: `Batcher` makes batches, and each layout module lists the tensors of its batches.

- `flat`: one row of all packs, what transformers calls padding-free.
- `rows`: one row of `max_length` tokens for each pack.
- `megatron`: one row, with the fields of Megatron-Core's `PackedSeqParams`.
- `torchtune`: the items of torchtune's `PackedDataset`, stacked.

In every layout, other per-token columns of the packs (`weights`, `token_type_ids`, log-probabilities of a teacher) are
in the batch under their own names, in the shape of the tokens: (rows, width), or (rows, width, k) for k numbers of a
token. They keep their type, but for `token_type_ids` and unsigned integers of 16 bits or more, which become int64. Each
value stands at its own token, also where labels are shifted. Separators and padding hold 0. `drop_columns` leaves
columns out.

Columns that packs keep with one value for each sequence (`keep`) are in the batch with one value for each segment,
(segments,). They do not depend on the layout: beside them are `seq_lengths`, int32, and `sequence_ids`, int64, of the
same segments, which follow one another through all rows, so `seq_lengths` add up to all tokens of the batch. Padding
at the end of a row is a segment of its own there. Separators and padding have an id below 0, -1 in columns of integers
and codes, 0 in those of floats, and False in those of booleans. Where shapes are fixed, the last segments have no
tokens. `values.repeat_interleave(seq_lengths).view(rows, width)` gives each token its sequence's value. Models take no
such arguments: take them out of the batch first.

A batch counts its own `position_ids`. Packs with `position_ids` that do not count up by 1 in each sequence are refused,
as is a column with the name of another tensor of the batch.
"""

from packsort._options.choices import LAYOUTS
from packsort.torch.layouts import flat, megatron, rows, torchtune
from packsort.torch.layouts.batcher import Batcher

__all__ = ["LAYOUTS", "Batcher", "flat", "megatron", "rows", "torchtune"]


def __dir__() -> list[str]:
    return __all__

"""Say that `model(**batch)` fails on a column that has the name of an argument of transformers' loss."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from packsort._warn import warn

LOSS_ARGUMENTS: Final = frozenset({"source", "target", "ignore_index", "logits", "vocab_size", "num_items_in_batch"})
"""Arguments of the losses of transformers' language models, without labels: models hand on what they do not know."""

MODEL_LAYOUTS: Final = ("flat", "rows")
"""Layouts whose batches models of transformers take."""


def warn_of_loss_arguments(names: Iterable[str], keep: Sequence[str], taken_out: str) -> None:
    """Warn of columns that the caller has not asked for by name, and that a model's loss takes for its arguments.

    Args:
        names: Columns of the batches.
        keep: What `keep` lists for a caller who takes the columns out of each batch.
        taken_out: How to take them out.
    """
    found = [name for name in names if name in LOSS_ARGUMENTS]
    if not found:
        return
    columns = ", ".join(f"`{name}`" for name in found)
    kept = f", and pass keep={list(keep)!r}, which ends this warning" if set(found) <= set(keep) else ""
    warn(
        [
            f"`model(**batch)` fails on {columns} of the batches, since transformers' loss has arguments of that name: "
            f"pass drop_columns={found!r}, or take {'it' if len(found) == 1 else 'them'} out of each batch with "
            f"{taken_out}{kept}"
        ]
    )

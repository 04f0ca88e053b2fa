"""One rank of a run whose loss by source is added up over all ranks: `test_loss_by.py` starts it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import torch

from packsort.torch import PackedLoader, loss_by


class Bigrams(torch.nn.Module):
    """Predicts a token from the one before it alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores = torch.nn.Embedding(97, 97, dtype=torch.float64)

    def forward(self, input_ids: torch.Tensor, **unused: object) -> SimpleNamespace:
        return SimpleNamespace(logits=self.scores(input_ids))


def model() -> Bigrams:
    return Bigrams()


def main(folder: Path) -> None:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    loader = PackedLoader(folder / "rows.parquet", 64, keep="source", num_packs_multiple_of=2)
    by = loss_by("source", loader.dictionaries)
    bigrams = model()
    for batch in loader:
        by.update(bigrams(**batch).logits, batch["labels"], batch)
    found = by.compute(all_ranks=True)
    torch.save({value: tuple(one) for value, one in found.items()}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

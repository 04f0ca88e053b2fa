"""Methods of an experiment: the batches that each puts into its steps.

| method | a row is |
|---|---|
| `padding` | a conversation, padded to the longest of the step, with an attention mask, as Trainers do it |
| `padding_fixed` | a conversation, padded to `max_length` |
| `padding_best` | a conversation; steps of like lengths, with at most as many tokens as packed steps, without a mask |
| `random` | conversations in random order, concatenated and cut at `max_length` |
| `ffd`, `optimal`, `hybrid` | whole conversations, by that strategy; `hybrid` may cut single-turn ones |
| `only_single` | single-turn conversations packed by `ffd`, or one multi-turn conversation |

A conversation attends to no other, except in methods of `_unmasked`, which are those of the paper. `ffd_sample` gives
every conversation of a step the same weight in the loss; all others give it to every trained token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

import packsort
from packsort._arrow import from_numpy
from packsort.comparison.packs import like_lengths
from packsort.errors import SourceError
from packsort.experiment.conversations import Conversations
from packsort.experiment.settings import RunSettings
from packsort.options import LossWeights, Strategy
from packsort.torch import Batcher, PackedDataset, PackedLoader, attention

SDPA = "sdpa"
_COUNTED = "counted"
FIXED_STEPS = 4
"""Steps of `padding_fixed` that are run: all of them have the same shape, and the losses of `padding`."""


@dataclass(frozen=True)
class Packing:
    """Packing of a method.

    Attributes:
        strategy: Strategy of `packsort.plan`.
        masked: Whether conversations are kept apart.
        loss_weights: Weighting of the loss; None weighs tokens alike.
        alone: Whether each multi-turn conversation has a row to itself.
    """

    strategy: Strategy
    masked: bool = True
    loss_weights: LossWeights | None = None
    alone: bool = False


PACKINGS: dict[str, Packing] = {
    "random": Packing("random"),
    "random_unmasked": Packing("random", masked=False),
    "ffd": Packing("ffd"),
    "ffd_unmasked": Packing("ffd", masked=False),
    "ffd_sample": Packing("ffd", loss_weights="sample"),
    "optimal": Packing("optimal"),
    "optimal_unmasked": Packing("optimal", masked=False),
    "only_single": Packing("ffd", alone=True),
    "only_single_unmasked": Packing("ffd", masked=False, alone=True),
    "hybrid": Packing("hybrid"),
}


@dataclass(frozen=True)
class Batch:
    """Input of one step.

    Attributes:
        tensors: Arguments of the model.
        samples: Conversations, or pieces of them.
        real_tokens: Tokens that are not padding.
        tokens: Tokens computed.
        squares: Pairs of tokens that attention computes.
        loss_weights: Weight of each token in the loss; None is a mean over trained tokens.
    """

    tensors: dict[str, Any]
    samples: int
    real_tokens: int
    tokens: int
    squares: float
    loss_weights: Any = None


@dataclass(frozen=True)
class Losses:
    """Losses of conversations by a method.

    Attributes:
        split: Conversations in more than one row.
        truncated: Conversations that lost their end.
        tokens_lost: Tokens lost by that.
    """

    split: int
    truncated: int
    tokens_lost: int


def make_batches(conversations: Conversations, settings: RunSettings, device: Any) -> Padded | Packed:
    """Make the batches of a method.

    Raises:
        SourceError: The conversations do not fill one step.
    """
    made: Padded | Packed
    if settings.method in PACKINGS:
        made = Packed(conversations, settings, PACKINGS[settings.method], device)
    else:
        made = Padded(conversations, settings, device)
    if not len(made):
        raise SourceError(
            f"{len(conversations):,} conversations do not fill one step of {settings.batch_size} rows by method "
            f"{settings.method!r}: pass more conversations, or a smaller `batch_size`"
        )
    return made


class Packed:
    """Batches of packed rows.

    Attributes:
        attention: Name of the attention that the model needs.
        losses: What packing does to the conversations.
    """

    def __init__(self, conversations: Conversations, settings: RunSettings, packing: Packing, device: Any) -> None:
        options: dict[str, Any] = {}
        if packing.strategy != "random":  # it cuts conversations at any length
            options["overlong"] = "truncate"
        if packing.strategy == "hybrid":
            options["splittable"] = ~conversations.multi_turn
        if packing.alone:
            options["alone"] = conversations.multi_turn
        plan = packsort.plan(
            conversations.lengths, settings.max_length, strategy=packing.strategy, seed=settings.seed, **options
        )
        self.losses = Losses(plan.num_split, plan.num_truncated, plan.tokens_lost)
        self.attention = attention.register() if packing.masked else SDPA
        self._masked = packing.masked
        # A column of the packs, so that batches tell the conversations in them.
        counted = conversations.table.append_column(_COUNTED, from_numpy(np.ones(len(conversations), np.int64)))
        self._loader = PackedLoader(
            counted,
            plan=plan,
            keep=_COUNTED,
            batch_size=settings.batch_size,
            layout="flat" if packing.masked else "rows",
            attention="document" if packing.masked else "pack",
            loss_weights=packing.loss_weights,
            seq_idx=False,
            seed=settings.seed,
            tail="drop",
            rank=0,
            world_size=1,
            device=device,
        )

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self._loader)

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last batch."""
        return self._loader.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the place of a state."""
        self._loader.load_state_dict(state)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Make the batches of an epoch, or those that are left of it."""
        self._loader.set_epoch(epoch)
        for tensors in self._loader:
            kept = {name: tensors.pop(name) for name in self._loader.kept}
            weights = tensors.pop("loss_weights", None)
            lengths = kept["seq_lengths"][kept[_COUNTED] > 0].double()
            count = tensors["input_ids"].numel()
            squares = float(lengths.square().sum())
            if not self._masked:
                # Without positions and mask a row is one text to the model. Labels end each conversation all the same.
                squares = float(count * tensors["input_ids"].shape[1])
                tensors = {name: tensors[name] for name in ("input_ids", "labels")}
            yield Batch(tensors, len(lengths), int(lengths.sum()), count, squares, weights)


class Padded:
    """Batches of one conversation a row.

    Attributes:
        attention: Name of the attention that the model needs.
        losses: What padding does to the conversations.
    """

    attention = SDPA

    def __init__(self, conversations: Conversations, settings: RunSettings, device: Any) -> None:
        plan = packsort.plan(conversations.lengths, settings.max_length, strategy="padding", overlong="truncate")
        self.losses = Losses(0, plan.num_truncated, plan.tokens_lost)
        self._settings, self._device = settings, device
        self._lengths = np.minimum(conversations.lengths, settings.max_length)
        self._packs = PackedDataset(conversations.table, plan=plan)
        self._pack_of = np.empty(len(conversations), np.int64)
        self._pack_of[np.asarray(plan.sequence_ids)] = np.arange(plan.num_packs)
        self._done = 0

    def __len__(self) -> int:
        """Steps of an epoch."""
        return len(self._steps(0))

    def state_dict(self) -> dict[str, Any]:
        """Return the place after the last batch."""
        return {"done": self._done}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the place of a state."""
        self._done = state["done"]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """Make the batches of an epoch, or those that are left of it."""
        for rows in islice(self._steps(epoch), self._done, None):
            self._done += 1
            yield self._batch(rows)
        self._done = 0

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        method, limit = self._settings.method, self._settings.max_length
        width = limit if method == "padding_fixed" else max(2, int(self._lengths[rows].max()))
        tensors = Batcher("rows", width, seq_idx=False)([self._packs[int(self._pack_of[row])] for row in rows])
        real = tensors["segment_ids"] > 0
        given = {name: tensors[name].to(self._device) for name in ("input_ids", "labels")}
        if method != "padding_best":
            given["attention_mask"] = real.long().to(self._device)
        count = real.numel()
        return Batch(given, len(rows), int(real.sum()), count, float(len(rows) * width**2))

    def _steps(self, epoch: int) -> list[NDArray[np.int64]]:
        """List the conversations of each step."""
        settings = self._settings
        random = np.random.default_rng([settings.seed, epoch])
        order = random.permutation(len(self._lengths))
        if settings.method == "padding_best":
            order = order[np.argsort(-self._lengths[order], kind="stable")]
            firsts = like_lengths(self._lengths[order], settings.batch_size * settings.max_length)
            steps = np.split(order, firsts[1:])
            return [steps[at] for at in random.permutation(len(steps))]
        full = len(order) // settings.batch_size * settings.batch_size
        found = list(order[:full].reshape(-1, settings.batch_size))
        return found[:FIXED_STEPS] if settings.method == "padding_fixed" else found

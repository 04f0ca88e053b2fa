"""Loss weights sum to 1 over a step, and give a packed run the gradients of a padded run."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

import packsort
from packed_rows import MAX_LENGTH as WIDTH
from packed_rows import VOCABULARY, packed, rows
from packs import MAX_LENGTH, make_pack, packs, pieces
from packsort.torch import Batcher, PackedCollator, weighted_loss
from tiny_models import gradients, llama

SCHEMES = ("token", "sample", "sqrt")


def plain_weights(step, scheme):
    """Compute the weight of each token of a step from the definition, unshifted."""
    trained = [[sum(m != -100 for m in marks) for _, marks, _ in pieces(pack)] for pack in step]
    flat = [n for pack in trained for n in pack if n]
    share = {"token": lambda n: 1 / sum(flat), "sample": lambda n: 1 / (n * len(flat))}
    share["sqrt"] = lambda n: 1 / (math.sqrt(n) * sum(map(math.sqrt, flat)))
    return [
        [
            share[scheme](n) if m != -100 else 0.0
            for (_, marks, _), n in zip(pieces(pack), counts, strict=True)
            for m in marks
        ]
        for pack, counts in zip(step, trained, strict=True)
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(step=packs())
@settings(max_examples=40, deadline=None)
def test_weights_are_what_their_definition_says_and_sum_to_one(scheme, step):
    expected = plain_weights(step, scheme)
    batcher = Batcher(max_length=MAX_LENGTH, loss_weights=scheme)
    found = [batcher([pack], step_packs=step)["loss_weights"] for pack in step]
    for weights, plain in zip(found, expected, strict=True):
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights[0], torch.tensor(plain))
    total = torch.cat(found, 1).double().sum().item()
    assert total == pytest.approx(1 if any(map(any, expected)) else 0, abs=1e-5)


@pytest.mark.parametrize("layout", ["flat", "rows", "megatron", "torchtune"])
@given(step=packs())
@settings(max_examples=20, deadline=None)
def test_weights_are_aligned_with_the_labels_of_each_layout(layout, step):
    batch = Batcher(layout, max_length=MAX_LENGTH, loss_weights="sqrt")(step, step_packs=step)
    trained = batch["loss_mask"] > 0 if layout == "megatron" else batch["labels"] != -100
    assert batch["loss_weights"].shape == batch["labels"].shape
    assert torch.equal(batch["loss_weights"] > 0, trained)


@given(step=packs())
@settings(max_examples=20, deadline=None)
def test_shifted_weights_and_labels_give_the_same_loss(step):
    vocabulary = 100
    torch.manual_seed(0)
    logits = torch.randn(1, sum(len(pack["input_ids"]) for pack in step), vocabulary)
    one = Batcher(max_length=MAX_LENGTH, loss_weights="sample")(step, step_packs=step)
    two = Batcher(max_length=MAX_LENGTH, loss_weights="sample", labels="shifted")(step, step_packs=step)
    plain = weighted_loss(logits, one["labels"], one["loss_weights"])
    torch.testing.assert_close(weighted_loss(logits, two["shift_labels"], two["loss_weights"], shifted=True), plain)
    torch.testing.assert_close(
        weighted_loss(logits, one["labels"], one["loss_weights"], world_size=3), plain * 3, rtol=1e-5, atol=1e-6
    )


# Against a padded run


def padded_gradients(model, sequences, scheme):
    """Return the gradients of a padded step with one sequence in each row."""
    ids = pad_sequence([torch.tensor(ids) for ids, _ in sequences], batch_first=True)
    labels = pad_sequence([torch.tensor([-100, *m[1:]]) for _, m in sequences], batch_first=True, padding_value=-100)
    mask = pad_sequence([torch.ones(len(ids), dtype=torch.int64) for ids, _ in sequences], batch_first=True)
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    losses = cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="none").view(len(ids), -1)
    trained = (labels[:, 1:] != -100).sum(1)
    sums, trained = losses.sum(1)[trained > 0], trained[trained > 0]
    loss = {"sample": (sums / trained).mean(), "token": sums.sum() / trained.sum()}
    loss["sqrt"] = (sums / trained.sqrt()).sum() / trained.sqrt().sum()
    loss[scheme].backward()
    return gradients(model)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_two_ranks_with_accumulation_have_the_gradients_of_a_padded_run(tmp_path, scheme):
    source = rows()
    shards = packsort.open_shards(packed(tmp_path, source, max_sequences=5))
    world_size, accumulation, size = 2, 2, 2
    step = [shards[i] for i in range(world_size * accumulation * size)]
    batcher = Batcher(max_length=WIDTH, loss_weights=scheme)
    model = llama(VOCABULARY)
    ranks = []
    for rank in range(world_size):
        for micro in range(accumulation):
            at = (rank * accumulation + micro) * size
            batch = batcher(step[at : at + size], step_packs=step)
            labels, weights = batch.pop("labels"), batch.pop("loss_weights")
            weighted_loss(model(**batch).logits, labels, weights, world_size=world_size).backward()
        ranks.append(gradients(model))
    averaged = torch.stack(ranks).mean(0)  # as DDP does
    taken = source.take(np.concatenate([pack["sequence_ids"] for pack in step])).to_pydict()
    sequences = list(zip(taken["input_ids"], taken["labels"], strict=True))
    assert len(sequences) > 20
    expected = padded_gradients(model, sequences, scheme)
    assert ((averaged - expected).norm() / expected.norm()).item() < 1e-5
    other = padded_gradients(model, sequences, "token" if scheme == "sample" else "sample")
    assert ((averaged - other).norm() / other.norm()).item() > 1e-2


def test_filler_and_sequences_without_a_trained_token_weigh_nothing():
    untrained = make_pack([2, 3], [0, 1], labels=True)
    untrained["labels"][:] = -100
    plain = make_pack([4, 2, 1], [2, -1, 3], labels=True)
    plain["labels"][:] = plain["input_ids"]
    plain["labels"][4:6] = -100
    batch = Batcher(max_length=8, loss_weights="sample")([untrained, plain], step_packs=[untrained, plain])
    third = np.float32(1 / 3).item()
    assert batch["loss_weights"].tolist() == [[0] * 5 + [0, third, third, third, 0, 0, 0]]


def test_weights_without_the_step_are_refused():
    pack = make_pack([4], [0], labels=False)
    batcher = Batcher(max_length=8, loss_weights="sample")
    assert batcher.needs_step
    assert not Batcher(max_length=8).needs_step
    with pytest.raises(
        packsort.OptionError, match=re.escape("loss_weights='sample' needs step_packs: the weights are normalized")
    ):
        batcher([pack])
    with pytest.raises(packsort.OptionError, match="loss_weights='token' does not go with `PackedCollator`"):
        PackedCollator(max_length=8, loss_weights="token")

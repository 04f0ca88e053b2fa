"""A batch is right when a model's loss and gradients on it equal those of the same sequences run one by one."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import cross_entropy

import packsort
from packed_rows import VOCABULARY, packed, rows
from packsort.torch import PackedLoader
from real_data import REAL_DATA, needs_real_data
from tiny_models import gradients, llama

TOLERANCE = 1e-5  # relative; float32 sums differ by their order
LARGE = 1e-2  # least relative difference of a wrong batch


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return llama(VOCABULARY, request.param)


@pytest.fixture(scope="module")
def source():
    return rows()


@pytest.fixture(scope="module")
def path(source, tmp_path_factory):
    return packed(tmp_path_factory.mktemp("training"), source)


def run_batch(model, batch, **changes):
    """Return loss and gradients as transformers computes them for a batch."""
    loss = model(**batch | changes).loss
    loss.backward()
    return loss.item(), gradients(model)


def run_one_by_one(model, sequences):
    """Return loss and gradients of sequences run alone; the loss is the mean over all labels."""
    total = sum(label != -100 for _, labels in sequences for label in labels[1:])
    loss = 0.0
    for ids, labels in sequences:
        logits = model(input_ids=torch.tensor([ids])).logits[0, :-1]
        one = cross_entropy(logits, torch.tensor(labels[1:], dtype=torch.int64), reduction="sum") / total
        one.backward()
        loss += one.item()
    return loss, gradients(model)


def sequences_of(source, packs):
    """Return the source rows that packs name in `sequence_ids`."""
    taken = source.take(np.concatenate([pack["sequence_ids"] for pack in packs])).to_pydict()
    return list(zip(taken["input_ids"], taken.get("labels", taken["input_ids"]), strict=True))


def difference(one, other):
    """Return the larger relative difference of two losses and of their gradients."""
    (loss, grads), (other_loss, other_grads) = one, other
    return max(abs(loss - other_loss) / other_loss, ((grads - other_grads).norm() / other_grads.norm()).item())


def compare_all(model, source, path, batch_size):
    shards = packsort.open_shards(path)
    for i, batch in enumerate(PackedLoader(shards, batch_size=batch_size, seed=None)):
        packs = [shards[j % len(shards)] for j in range(i * batch_size, (i + 1) * batch_size)]
        alone = run_one_by_one(model, sequences_of(source, packs))
        assert alone[1].norm() > 0.1
        assert difference(run_batch(model, batch), alone) < TOLERANCE
    return i + 1


@pytest.mark.parametrize("batch_size", [1, 4])
def test_loss_and_gradients_equal_those_of_sequences_run_one_by_one(model, source, path, batch_size):
    assert compare_all(model, source, path, batch_size) > 3


def test_loss_and_gradients_are_equal_without_labels(model, tmp_path):
    source = rows(labels=False, seed=1)
    assert compare_all(model, source, packed(tmp_path, source, format="parquet"), 2) > 3


@needs_real_data
def test_loss_and_gradients_are_equal_on_real_conversations(model, real_tokenizer, tmp_path):
    from packsort.tokenization.tokenize import tokenize

    conversations = pq.read_table(REAL_DATA / "multi_turn.parquet").slice(15_000, 40)
    tokens = tokenize(conversations, real_tokenizer).read()

    def fold(column):  # map token ids into the small vocabulary
        return pa.array([np.where(np.array(row) < 0, row, np.mod(row, VOCABULARY)) for row in column.to_pylist()])

    source = pa.table({name: fold(tokens[name]) for name in ("input_ids", "labels")})
    assert compare_all(model, source, packed(tmp_path, source, 512), 2) > 2


# Wrong batches are noticed


@pytest.fixture(scope="module")
def one(source, path):
    """Batch of two packs with several sequences each, its packs, and its sequences."""
    shards = packsort.open_shards(path)
    start = next(i for i in range(0, len(shards) - 1, 2) if min(len(shards[j]["seq_lengths"]) for j in (i, i + 1)) > 2)
    packs = [shards[start], shards[start + 1]]
    batch = list(PackedLoader(shards, batch_size=2, seed=None))[start // 2]
    return batch, packs, sequences_of(source, packs)


def test_position_ids_that_run_on_over_the_batch_are_noticed(model, one):
    batch, _, sequences = one
    wrong = torch.arange(batch["input_ids"].shape[1])[None]
    assert difference(run_batch(model, batch, position_ids=wrong), run_one_by_one(model, sequences)) > LARGE


def test_position_ids_that_restart_only_at_packs_are_noticed(model, one):
    batch, packs, sequences = one
    wrong = torch.cat([torch.arange(len(pack["input_ids"])) for pack in packs])[None]
    assert difference(run_batch(model, batch, position_ids=wrong), run_one_by_one(model, sequences)) > LARGE


def test_loss_on_the_first_token_of_sequences_is_noticed(model, one):
    batch, _, sequences = one
    wrong = torch.where(batch["position_ids"] == 0, batch["input_ids"], batch["labels"])
    assert difference(run_batch(model, batch, labels=wrong), run_one_by_one(model, sequences)) > LARGE


def test_a_cache_makes_transformers_mix_the_sequences(model, one):
    """With a cache transformers ignores `position_ids`; `PackedLoader` documents `use_cache=False` for this reason."""
    batch, _, sequences = one
    assert difference(run_batch(model, batch, use_cache=True), run_one_by_one(model, sequences)) > LARGE


# Sequences do not attend to each other


def seen(model, batch, position_ids):
    """Return how much the loss of each sequence depends on the embeddings of each other, (sequences, sequences)."""
    embeddings = model.get_input_embeddings()(batch["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeddings, position_ids=position_ids).logits[0]
    ends = batch["cu_seq_lens_q"].tolist()
    found = torch.zeros(len(ends) - 1, len(ends) - 1)
    for i in range(len(ends) - 1):
        own = slice(ends[i], ends[i + 1])
        losses = cross_entropy(logits[own][:-1], batch["labels"][0, own][1:], reduction="sum")
        (gradient,) = torch.autograd.grad(losses, embeddings, retain_graph=True)
        for j in range(len(ends) - 1):
            found[i, j] = gradient[0, ends[j] : ends[j + 1]].abs().max()
    return found


def test_loss_of_a_sequence_has_exactly_no_gradient_at_others(model, one):
    batch, _, _ = one
    found = seen(model, batch, batch["position_ids"])
    others = ~torch.eye(len(found), dtype=torch.bool)
    assert len(found) > 5
    assert torch.count_nonzero(found[others]) == 0
    labelled = [bool((labels[1:] != -100).any()) for labels in batch["labels"][0].split(lengths(batch))]
    assert (found.diagonal() > 0).tolist() == labelled
    assert sum(labelled) > 3


def test_sequences_see_those_before_them_if_positions_run_on(model, one):
    batch, _, _ = one
    found = seen(model, batch, torch.arange(batch["input_ids"].shape[1])[None])
    labelled = found.diagonal() > 0
    earlier = torch.ones_like(found).tril(-1).bool() & labelled[:, None]
    assert (found[earlier] > 0).all()


def lengths(batch):
    return batch["cu_seq_lens_q"].diff().tolist()

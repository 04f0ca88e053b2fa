"""Loss by source, and weights of a user's column, equal those of sequences run one by one."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

import packsort
from loading import fork
from packed_rows import VOCABULARY, rows
from packs import MAX_LENGTH, packs, pieces
from packsort.torch import Batcher, PackedLoader, loss_by, weighted_loss
from tiny_models import llama

# Python 3.12 and later warn of forks.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

SCHEMES = ("token", "sample", "sqrt")
SOURCES = ("math", "code", "chat")


def table(count=40):
    made = rows(count)
    made = made.append_column("source", pa.array([SOURCES[(i * i) % 3] for i in range(count)]))
    return made.append_column("reward", pa.array([float(i % 2) for i in range(count)]))


def alone(model, source, column):
    """Return mean loss and tokens by value, of sequences run one by one."""
    sums = {}
    for row in source.to_pylist():
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"][1:], dtype=torch.int64)
        with torch.no_grad():
            losses = cross_entropy(model(input_ids=ids).logits[0, :-1], labels, reduction="sum", ignore_index=-100)
        loss, tokens = sums.get(row[column], (0.0, 0))
        sums[row[column]] = loss + losses.item(), tokens + int((labels != -100).sum())
    return {value: (loss / tokens, tokens) for value, (loss, tokens) in sums.items()}


def run(model, loader, by):
    for batch in loader:
        kept = {name: batch.pop(name) for name in loader.kept}
        by.update(model(**batch).logits, batch["labels"], kept)
    return by.compute()


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for value, (loss, tokens) in expected.items():
        assert found[value].tokens == tokens
        assert found[value].loss == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize("options", [{}, {"pad_to_multiple_of": 4, "separator": 7}, {"layout": "rows"}])
def test_loss_by_source_is_that_of_sequences_alone(options, tmp_path):
    source = table()
    model = llama(VOCABULARY).double().eval()
    loader = PackedLoader(source, 96, keep=["source", "reward"], **options)
    assert_equal(run(model, loader, loss_by("source", loader.dictionaries)), alone(model, source, "source"))
    assert_equal(run(model, loader, loss_by("reward", loader.dictionaries)), alone(model, source, "reward"))


def test_pieces_of_a_directory_count_for_their_source(tmp_path):
    source = table()
    packsort.write_shards(source, tmp_path, 24, keep="source", overlong="split")
    loader = PackedLoader(tmp_path, keep="source", batch_size=1)
    by = loss_by("source", loader.dictionaries)
    model = llama(VOCABULARY).double().eval()
    found = run(model, loader, by)
    assert tuple(found) == ("math", "code")
    total = sum(one.tokens for one in found.values())
    pieces_of = [i for pack in loader.shards for i in pack["piece_starts"].tolist()]
    assert max(pieces_of) > 0
    assert total == sum((batch["labels"] != -100).sum().item() for batch in PackedLoader(tmp_path, keep=[]))
    by.reset()
    assert by.compute() == {}


def test_shifted_labels_static_shapes_and_columns_of_tokens_give_the_same():
    source = table()
    languages = [[i % 2 for i in range(len(ids))] for ids in source["input_ids"].to_pylist()]
    source = source.append_column("language", pa.array(languages, pa.list_(pa.int8())))
    model = llama(VOCABULARY).double().eval()
    plain = PackedLoader(source, 96, keep="source")
    expected = run(model, plain, loss_by("source", plain.dictionaries))
    static = PackedLoader(source, 96, keep="source", static_shapes=True, max_sequences=8)
    assert_equal(run(model, static, loss_by("source", static.dictionaries)), expected)
    shifted = PackedLoader(source, 96, keep="source", labels="shifted")
    by, of_tokens = loss_by("source", plain.dictionaries), loss_by("language")
    for batch in shifted:
        labels = batch.pop("shift_labels")
        kept = {name: batch.pop(name) for name in shifted.kept}
        by.update(model(**batch).logits, labels, kept, shifted=True)
    assert_equal(by.compute(), expected)
    for batch in plain:
        of_tokens.update(model(input_ids=batch["input_ids"]).logits, batch["labels"], batch)
    labels = [label for marks in source["labels"].to_pylist() for label in enumerate(marks) if label[0]]
    counts = {value: sum(label != -100 and place % 2 == value for place, label in labels) for value in (0, 1)}
    assert {value: found.tokens for value, found in of_tokens.compute().items()} == counts


def test_a_value_without_trained_tokens_is_listed():
    source = pa.table({"input_ids": [[5, 6], [7, 8]], "labels": [[5, 6], [-100, -100]], "n": [1, 2]})
    loader = PackedLoader(source, 8, keep="n", pad_to_multiple_of=4)
    found = run(llama(VOCABULARY), loader, loss_by("n"))
    assert list(found) == [1, 2]
    assert (found[2].tokens, math.isnan(found[2].loss)) == (0, True)


def test_what_does_not_fit_is_refused():
    batch = next(iter(PackedLoader(table(), 96, keep="source")))
    logits = torch.zeros(*batch["labels"].shape, 5)
    with pytest.raises(packsort.OptionError, match=r"kept must hold `lang`.*pass keep='lang'"):
        loss_by("lang").update(logits, batch["labels"], batch)
    with pytest.raises(packsort.OptionError, match="kept must be of the same batch as labels"):
        loss_by("source").update(logits[:, 1:], batch["labels"][:, 1:], batch)


class Bigrams(torch.nn.Module):
    """Predicts a token from the one before it alone: forked processes run it without threads."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.scores = torch.nn.Embedding(VOCABULARY, VOCABULARY, dtype=torch.float64)

    def forward(self, input_ids, **unused):
        return SimpleNamespace(logits=self.scores(input_ids))


def test_ranks_add_up(tmp_path):
    model = Bigrams()

    def run_rank(rank):
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
        loader = PackedLoader(table(), 64, keep="source", num_packs_multiple_of=2)
        by = loss_by("source", loader.dictionaries)
        for batch in loader:
            by.update(model(**batch).logits, batch["labels"], batch)
        torch.save({value: tuple(one) for value, one in by.compute(all_ranks=True).items()}, tmp_path / f"{rank}.pt")
        dist.destroy_process_group()

    for process in [fork(run_rank, rank) for rank in range(2)]:
        process.join(100)
        assert process.exitcode == 0
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert one == other
    for value, (loss, tokens) in alone(model, table(), "source").items():
        assert one[value] == (pytest.approx(loss, abs=1e-6), tokens)


# Weights


def plain_weights(step, values, scheme):
    """Compute the weights of a step from their definition, unshifted."""
    found = []
    for pack, of_tokens in zip(step, values, strict=True):
        weights = []
        for _, marks, _ in pieces(pack):
            n = sum(mark != -100 for mark in marks)
            share = {"token": 1.0, "sample": 1 / max(n, 1), "sqrt": 1 / math.sqrt(max(n, 1))}[scheme]
            weights += [share * (mark != -100) for mark in marks]
        found.append([w * v if w else 0.0 for w, v in zip(weights, of_tokens, strict=True)])
    total = sum(map(sum, found))
    return [[w / total if total else 0.0 for w in pack] for pack in found]


@pytest.mark.parametrize("scheme", SCHEMES)
@given(step=packs(), of_tokens=st.booleans(), seed=st.integers(0, 99), layout=st.sampled_from(["flat", "rows"]))
@settings(max_examples=40, deadline=None)
def test_user_weights_multiply_and_sum_to_one(scheme, step, of_tokens, seed, layout):
    random = np.random.default_rng(seed)
    values = []
    for pack in step:
        lengths = pack["seq_lengths"]
        pack["weight"] = random.integers(0, 4, len(pack["input_ids"] if of_tokens else lengths)).astype(np.float32)
        values.append(pack["weight"] if of_tokens else pack["weight"].repeat(lengths))
    expected = plain_weights(step, values, scheme)
    options = {"loss_weights": scheme, "weight_column": "weight"}
    for pack, plain in zip(step, expected, strict=True):
        weights = Batcher(layout, MAX_LENGTH, **options)([pack], step_packs=step)["loss_weights"]
        assert weights.dtype == torch.float32
        torch.testing.assert_close(weights[0, : len(plain)], torch.tensor(plain))
        assert not weights[0, len(plain) :].any()
        shifted = Batcher(layout, MAX_LENGTH, labels="shifted", **options)([pack], step_packs=step)["loss_weights"]
        torch.testing.assert_close(shifted[0, : len(plain)], torch.tensor([*plain[1:], 0.0]))


def test_equal_weights_change_nothing_and_weights_change_the_loss_by_hand():
    source = table().append_column("weight", pa.array([2.0] * 40)).append_column("half", pa.array([1.0, 3.0] * 20))
    options = {"batch_size": 2, "accumulation": 2, "keep": ["weight", "half", "reward"]}
    plain = PackedLoader(source, 96, loss_weights="sample", **options)
    equal = PackedLoader(source, 96, loss_weights="sample", weight_column="weight", **options)
    for one, other in zip(plain, equal, strict=True):
        torch.testing.assert_close(one["loss_weights"], other["loss_weights"])
    weighted = PackedLoader(source, 96, loss_weights="sample", weight_column="half", **options, drop_columns="weight")
    torch.manual_seed(0)
    batches = [batch for _, batch in zip(range(2), weighted, strict=False)]  # one step
    step = losses = total = 0.0
    for batch in batches:
        assert "weight" not in batch
        logits = torch.randn(*batch["labels"].shape, VOCABULARY)
        step += weighted_loss(logits, batch["labels"], batch["loss_weights"])
        start = 0
        for length, half in zip(batch["seq_lengths"].tolist(), batch["half"].tolist(), strict=True):
            labels = batch["labels"][0, start + 1 : start + length]
            if (labels != -100).any():
                losses += half * cross_entropy(logits[0, start : start + length - 1], labels)
                total += half
            start += length
    torch.testing.assert_close(step, losses / total)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"weight_column": "reward"},
            "weight_column='reward' does not go with loss_weights=None.*loss_weights='token'",
        ),
        ({"weight_column": "none", "loss_weights": "token"}, "weight_column='none' names no column.*pass keep='none'"),
        ({"weight_column": 3, "loss_weights": "token"}, "weight_column must be the name of a column, or None, got 3"),
    ],
)
def test_wrong_columns_of_weights_are_refused(options, words):
    with pytest.raises(packsort.PacksortError, match=words):
        PackedLoader(table(), 96, **options)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_weights_that_are_no_weights_are_refused(wrong):
    source = pa.table({"input_ids": [[5, 6, 7]], "w": [[wrong, 1.0, wrong]]})
    loader = PackedLoader(source, 8, loss_weights="token", weight_column="w")
    with pytest.raises(
        packsort.SourceError, match=f"`w` must hold finite weights of at least 0, got {wrong} at token 2"
    ):
        next(iter(loader))


def test_a_step_of_weight_zero_has_no_loss():
    source = pa.table({"input_ids": [[5, 6, 7]], "w": [0.0]})
    loader = PackedLoader(source, 8, loss_weights="token", weight_column="w", keep="w")
    assert next(iter(loader))["loss_weights"].tolist() == [[0, 0, 0]]

"""Columns with one value for each sequence ride along in streams, through checkpoints, with codes that stay."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import packsort
from packsort.torch import PackedStream, loss_by
from tiny_tokenizer import built

SOURCES = ("math", "code", "chat")


def items(number=60):
    random = np.random.default_rng(0)
    return [
        {
            "input_ids": random.integers(1, 90, int(length)).tolist(),
            "source": SOURCES[int(source)],
            "reward": float(reward),
            "pair": place,
        }
        for place, (length, source, reward) in enumerate(
            zip(random.integers(1, 9, number), random.integers(0, 3, number), random.random(number), strict=True)
        )
    ]


KEEP = ["source", "reward", "pair"]


def stream(source=None, **options):
    return PackedStream(items() if source is None else source, 8, **{"buffer_size": 10, "keep": KEEP, **options})


def check(batch, given, dictionaries):
    for place, row in enumerate(batch["sequence_ids"].tolist()):
        if row >= 0:
            assert dictionaries["source"][batch["source"][place]] == given[row]["source"]
            assert batch["reward"][place].item() == given[row]["reward"]
            assert batch["pair"][place] == given[row]["pair"]
        else:
            assert (batch["source"][place], batch["reward"][place], batch["pair"][place]) == (-1, 0, -1)


@pytest.mark.parametrize("options", [{}, {"layout": "rows", "batch_size": 3}, {"overlong": "drop"}])
def test_every_sequence_of_a_stream_has_its_values(options):
    given = items()
    if options.get("overlong"):
        given[5]["input_ids"] = [1] * 20
    made = stream(given, **options)
    seen = []
    for batch in made:
        check(batch, given, made.dictionaries)
        seen += [row for row in batch["sequence_ids"].tolist() if row >= 0]
    assert sorted(seen) == [row for row in range(60) if len(given[row]["input_ids"]) <= 8]
    assert made.kept == (*KEEP, "seq_lengths", "sequence_ids")
    before = dict(made.dictionaries)
    list(made)
    assert made.dictionaries == before


@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("stop", [0, 1, 7])
def test_a_stream_resumes_with_them(prefetch, stop):
    whole = stream(prefetch=prefetch)
    expected = list(whole)
    one = stream(prefetch=prefetch)
    batches = iter(one)
    for _ in range(stop):
        next(batches)
    state = one.state_dict()
    again = stream(prefetch=prefetch)
    again.load_state_dict(state)
    rest = list(again)
    assert len(rest) == len(expected) - stop
    for found, right in zip(rest, expected[stop:], strict=True):
        assert all(torch.equal(found[name], right[name]) for name in whole.kept)
    assert again.dictionaries == whole.dictionaries
    other = stream(keep="source")
    with pytest.raises(packsort.OptionError, match=r"state is of a stream with keep=\['source', 'reward', 'pair'\]"):
        other.load_state_dict(state)


def test_text_is_tokenized_with_its_values(tmp_path):
    rows = [
        {"text": "one two three"[: 3 + i % 9], "source": SOURCES[i % 3], "reward": 0.5, "pair": i} for i in range(30)
    ]
    made = PackedStream(rows, 64, tokenizer=built(tmp_path), keep=KEEP)
    state, seen = None, 0
    for batch in made:
        check(batch, rows, made.dictionaries)
        seen += len(batch["sequence_ids"])
        state = made.state_dict() if state is None else state
    assert seen == 30
    again = PackedStream(rows, 64, tokenizer=built(tmp_path), keep=KEEP)
    again.load_state_dict(state)
    for batch in again:
        check(batch, rows, again.dictionaries)


def test_loss_by_reads_the_texts_that_a_stream_found():
    made = stream()
    by = loss_by("source", made.dictionaries)
    for batch in made:
        by.update(torch.zeros(*batch["labels"].shape, 90), batch["labels"], batch)
    found = by.compute()
    assert set(found) == set(SOURCES)
    assert sum(one.tokens for one in found.values()) == sum(len(one["input_ids"]) - 1 for one in items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"source": None}, "sequence 3 of the stream: column `source` is null"),
        ({"source": 7}, "keep='source' must name a column of text, numbers or booleans, got a int"),
        ({"reward": [1.0]}, "keep='reward' must name a column of text"),
        ({"reward": True}, "column `reward` holds bool, the sequences before held float64"),
        ({"pair": "a"}, "column `pair` holds text, the sequences before held int64"),
    ],
)
def test_values_that_do_not_fit_are_refused(change, words):
    given = items()
    given[3] |= change
    with pytest.raises(packsort.SourceError, match=words):
        list(stream(given))
    del given[3]["pair"]
    with pytest.raises(packsort.SourceError, match="sequence 3 of the stream"):
        list(stream(given))
    with pytest.raises(packsort.OptionError, match="keep must name columns with one value for each sequence"):
        stream(keep="labels")


def test_workers_do_not_number_texts():
    loader = DataLoader(stream(), batch_size=None, num_workers=1)
    with pytest.raises(packsort.OptionError, match="pass num_workers=0"):
        next(iter(loader))

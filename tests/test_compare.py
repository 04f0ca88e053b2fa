"""`packsort.compare`, against counts made by hand and by slow, readable code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from packsort.comparison.compare import compare
from packsort.comparison.histograms import Histogram
from packsort.comparison.results import Method, Spread, Work
from packsort.comparison.turns import source_turns
from packsort.sources.source import open_source

TOKENS_ONLY = packsort.CostModel(linear=1.0, quadratic=0.0)
COSTS = packsort.CostModel(linear=3.0, quadratic=0.25)


def figures(method: Method) -> dict[str, object]:
    names = ("rows", "steps", "tokens", "padding_tokens", "lower_bound", "split", "truncated", "tokens_lost", "broken")
    return {name: getattr(method, name) for name in (*names, "dropped", "samples")}


def work(one: Work) -> tuple[float, ...]:
    return one.attention, one.cost, one.relative_time, one.utilization


def filled(method: Method) -> dict[int, int]:
    return {i: count for i, count in enumerate(method.fill.counts) if count}


@pytest.fixture
def in_input_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np.random, "default_rng", lambda seed: SimpleNamespace(permutation=np.arange))


@pytest.mark.usefixtures("in_input_order")
def test_counts_are_those_made_by_hand() -> None:
    # Seven conversations, packs of 8 tokens, 2 packs on each of 2 ranks, a cost of 1 per token.
    lengths, turns = [5, 3, 6, 2, 10, 4, 1], [2, 1, 3, 1, 2, 1, 2]
    found = compare(lengths, 8, batch_size=2, world_size=2, turns=turns, model=TOKENS_ONLY)
    assert (found.num_sequences, found.num_tokens, found.longest, found.multi_turn) == (7, 31, 10, 4)
    at = found[8]

    # Padding: 10 is cut to 8, so 29 tokens. Batches (5, 3), (6, 2), (8, 4), (1) are 5, 6, 8 and 1 wide:
    # 10 + 12 + 16 + 1 = 39 tokens, 10 of them padding. Seven packs, four per step: two steps. The 10 has 2 turns, so it
    # is broken.
    cut = {"rows": 7, "steps": 2, "tokens": 29, "lower_bound": 4, "split": 0, "truncated": 1, "tokens_lost": 2}
    single = Spread(1, 0, 1, 1)
    assert figures(at.padding) == {**cut, "padding_tokens": 10, "broken": 1, "dropped": 0, "samples": single}
    assert (at.padding.efficiency, at.padding.above_lower_bound) == (29 / 39, 7 / 4 - 1)
    squares = 25 + 9 + 36 + 4 + 64 + 16 + 1
    # Step 1: ranks do 10 and 12; step 2: 16 and 1. The slowest take 12 + 16, the mean is 11 + 8.5.
    assert work(at.padding.with_masks) == (squares, 28, 1, 19.5 / 28)
    assert work(at.padding.without_masks) == (2 * 25 + 2 * 36 + 2 * 64 + 1, 28, 1, 19.5 / 28)
    # Packs of 5, 3, 6, 2, 8, 4 and 1 tokens, in twentieths of 8: 12, 7, 15, 5, 20 (of which the last bin is 19), 10, 2.
    assert filled(at.padding) == {12: 1, 7: 1, 15: 1, 5: 1, 19: 1, 10: 1, 2: 1}

    # Padded to 8: 7 x 8 - 29 = 27. Step 1: 16 and 16; step 2: 16 and 8. The slowest take 32, the mean is 16 + 12.
    assert figures(at["padding_fixed"]) == {**cut, "padding_tokens": 27, "broken": 1, "dropped": 0, "samples": single}
    assert (at["padding_fixed"].efficiency, at["padding_fixed"].above_lower_bound) == (29 / 56, 7 / 4 - 1)
    assert work(at["padding_fixed"].with_masks) == (squares, 32, 32 / 28, 28 / 32)
    assert work(at["padding_fixed"].without_masks) == (7 * 64, 32, 32 / 28, 28 / 32)
    assert filled(at["padding_fixed"]) == filled(at.padding)

    # Random: 5 3 | 6 2 | 8 | 2 4 1: the 10 continues in the next pack, the last pack lacks one token: 31 of 32.
    assert figures(at["random"]) == {
        **{"rows": 4, "steps": 1, "tokens": 31, "padding_tokens": 1, "lower_bound": 4, "dropped": 0},
        **{"split": 1, "truncated": 0, "tokens_lost": 0, "broken": 1},
        "samples": Spread(2, pytest.approx(0.5**0.5), 1, 3),
    }
    assert (at["random"].efficiency, at["random"].above_lower_bound) == (31 / 32, 0)
    assert at["random"].samples_counts == Histogram((1, 2, 3, 4), (1, 2, 1))
    # Ranks do 16 and 15 tokens, or 16 and 16 with the padding.
    assert work(at["random"].with_masks) == (25 + 9 + 36 + 4 + 64 + 4 + 16 + 1, 16, 16 / 28, 15.5 / 16)
    assert work(at["random"].without_masks) == (4 * 64, 16, 16 / 28, 1)
    assert filled(at["random"]) == {17: 1, 19: 3}

    # Greedy: 8 | 6 2 | 5 3 | 4 1. The one pack of 5 and a full one make 13, the other rank does 16.
    assert figures(at.ffd) == {
        **{"rows": 4, "steps": 1, "tokens": 29, "padding_tokens": 3, "lower_bound": 4, "dropped": 0},
        **{"split": 0, "truncated": 1, "tokens_lost": 2, "broken": 1},
        "samples": Spread(1.75, pytest.approx(0.1875**0.5), 1, 2),
    }
    assert (at.ffd.efficiency, at.ffd.above_lower_bound) == (29 / 32, 0)
    assert at.ffd.samples_counts == Histogram((1, 2, 3), (1, 3))
    assert work(at.ffd.with_masks) == (squares, 16, 16 / 28, 14.5 / 16)
    assert work(at.ffd.without_masks) == (4 * 64, 16, 16 / 28, 1)
    assert filled(at.ffd) == {12: 1, 19: 3}
    # There is one step with two packs per rank: no order is better than 16 and 13.
    scheduled = at.ffd.with_masks.scheduled
    assert scheduled is not None
    assert (scheduled.cost, scheduled.utilization) == (16, 14.5 / 16)
    assert at.padding.with_masks.scheduled is at.ffd.without_masks.scheduled is None
    assert at.advice.choice == "ffd"
    # A padded step has 4 samples, a pack 1.75: 2.3 packs, one on each of 2 ranks, which hold 3.5 samples.
    assert (at.batch.samples_per_step, at.batch.batch_size, at.batch.samples_at_batch_size) == (4, 1, 3.5)


@given(st.integers(0, 2**64 - 1))
@settings(max_examples=20, deadline=None)
def test_balanced_ranks_do_not_wait_in_an_example_made_by_hand(seed: int) -> None:
    # Packs 4 | 4 | 2 2 | 2 2 cost 16, 16, 8 and 8, one on each of 2 ranks: 48 in all. Steps of equal packs take 16 + 8.
    # Mixed steps, as most seeds have them, take 16 + 16, in which ranks work 48 / 2.
    costs = packsort.CostModel(linear=0.0, quadratic=1.0)
    at = compare([4, 4, 2, 2, 2, 2], 4, batch_size=1, world_size=2, model=costs, seed=seed)[4]
    before, after = at.ffd.with_masks, at.ffd.with_masks.scheduled
    assert after is not None
    assert (before.cost, before.utilization) in ((24, 1), (32, 0.75))
    assert (after.cost, after.utilization, sorted(after.slowest_costs)) == (24, 1, [8, 16])
    reasons = " ".join(at.advice.reasons)
    assert at.advice.choice == "ffd"
    if before.cost == 32:
        assert "wait 25.0% of the time" in reasons
        assert "`packsort.schedule(plan, 2)` they wait 0.0%, which saves 25.0% of the time" in reasons


@pytest.mark.parametrize("batch_size", [1, 4])
def test_balanced_steps_are_those_of_schedule(batch_size: int) -> None:
    lengths, step = np.random.default_rng(3).lognormal(6, 1.5, 20_000).clip(1, 16384).astype(int), 8 * batch_size
    cost = packsort.CostModel(1.0, 0.001)
    plan = packsort.plan(lengths, 16384, seed=5)
    found = compare(lengths, 16384, batch_size=batch_size, world_size=8, model=cost, seed=5)[16384].ffd.with_masks
    made = packsort.schedule(plan, 8, cost=cost, accumulation=batch_size, seed=None)
    assert found.scheduled is not None
    assert found.scheduled.utilization > found.utilization + 0.02
    # They differ in the last step, which one fills up and the other does not.
    assert found.scheduled.utilization == pytest.approx(made.utilization, abs=0.01 + step / plan.num_packs)
    assert found.cost / found.scheduled.cost == pytest.approx(made.speedup, rel=0.01 + step / plan.num_packs)


def slow_rows(name: str, lengths: Sequence[int], limit: int, batch_size: int) -> list[tuple[list[int], int]]:
    """Return the pieces of each pack, and its tokens with padding to the longest of the batch."""
    if name == "random":
        tokens = [i for i, length in enumerate(lengths) for _ in range(length)]
        rows = [tokens[at : at + limit] for at in range(0, len(tokens), limit)]
        return [([len(list(run)) for _, run in groupby(row)], len(row)) for row in rows]
    batches = [lengths[at : at + batch_size] for at in range(0, len(lengths), batch_size)]
    return [([min(one, limit)], min(max(batch), limit)) for batch in batches for one in batch]


def slow_work(batches: Sequence[Sequence[float]], world_size: int) -> tuple[float, float]:
    """Return the cost of all steps, and the share of it in which ranks work."""
    mean = slowest = 0.0
    for at in range(0, len(batches), world_size):
        ranks = [sum(batch) for batch in batches[at : at + world_size]]
        mean += sum(ranks) / world_size
        slowest += max(ranks)
    return slowest, mean / slowest


def in_batches(costs: Sequence[float], batch_size: int) -> list[Sequence[float]]:
    return [costs[at : at + batch_size] for at in range(0, len(costs), batch_size)]


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=60),
    st.integers(1, 50),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**64 - 1),
    st.sampled_from(["truncate", "drop"]),
)
@settings(max_examples=80, deadline=None)
def test_figures_are_those_of_slow_readable_code(
    lengths: list[int], limit: int, batch_size: int, world_size: int, seed: int, overlong: str
) -> None:
    turns = [1 + length % 3 for length in lengths]
    options = {"batch_size": batch_size, "world_size": world_size, "seed": seed, "overlong": overlong}
    if overlong == "drop" and min(lengths) > limit:
        with pytest.raises(packsort.LengthError, match=f"all {len(lengths)} sequences are longer than max_length"):
            compare(lengths, limit, turns=turns, model=COSTS, **options)  # type: ignore[arg-type]
        return
    at = compare(lengths, limit, turns=turns, model=COSTS, **options)[limit]  # type: ignore[arg-type]
    order = [i for i in np.random.default_rng(seed).permutation(len(lengths)) if not over(lengths[i], limit, overlong)]
    shuffled = [lengths[i] for i in order]
    plan = packsort.plan(lengths, limit, seed=seed, overlong=overlong)
    packs = [[min(lengths[i], limit) for i in pack] for pack in plan]
    rows = {
        "padding": slow_rows("padding", shuffled, limit, batch_size),
        "padding_fixed": [(row, limit) for row, _ in slow_rows("padding", shuffled, limit, batch_size)],
        "random": slow_rows("random", shuffled, limit, batch_size),
        "ffd": [(pack, sum(pack)) for pack in packs],
    }
    for method in at.methods.values():
        if method.name == "padding_best":  # test_compare_methods.py
            continue
        made = rows[method.name]
        packed = method.name in ("random", "ffd")
        assert method.rows == len(made)
        assert method.steps == -(-len(made) // (batch_size * world_size))
        assert method.tokens == sum(sum(row) for row, _ in made)
        room = [limit if packed else width for _, width in made]
        assert method.padding_tokens == sum(room) - method.tokens
        assert method.with_masks.attention == sum(length**2 for row, _ in made for length in row)
        assert method.without_masks.attention == sum(width**2 for width in room)
        masked = [3 * width + 0.25 * sum(length**2 for length in row) for row, width in made]
        whole = [3 * width + 0.25 * width**2 for width in room]
        for work, costs in ((method.with_masks, masked), (method.without_masks, whole)):
            cost, busy = slow_work(in_batches(costs, batch_size), world_size)
            assert (work.cost, work.utilization) == (pytest.approx(cost), pytest.approx(busy))
            assert work.relative_time == pytest.approx(cost / at.padding.with_masks.cost)
        after = method.with_masks.scheduled
        assert (after is None) == (not packed)
        if after is not None:
            done = sum(masked) / world_size
            assert after.utilization == pytest.approx(done / after.cost)
            assert max(done, max(masked)) * (1 - 1e-9) <= after.cost <= method.with_masks.cost * (1 + 1e-9)
        assert method.samples.mean == pytest.approx(np.mean([len(row) for row, _ in made]))
        assert method.samples.deviation == pytest.approx(np.std([len(row) for row, _ in made]))
        assert sum(method.samples_counts.counts) == sum(method.fill.counts) == method.rows
        assert method.above_lower_bound >= 0
    long = [i for i in range(len(lengths)) if lengths[i] > limit]
    assert {m.dropped for m in at.methods.values()} == {len(long) if overlong == "drop" else 0}
    assert at.ffd.truncated == at.padding.truncated == (len(long) if overlong == "truncate" else 0)
    cut = [i for i in long if turns[i] > 1] if overlong == "truncate" else []
    assert at.ffd.broken == at.padding.broken == at["padding_fixed"].broken == len(cut)
    in_rows = Counter(i for row in row_ids(shuffled, limit) for i in row)
    split = [order[i] for i, number in in_rows.items() if number > 1]
    assert (at["random"].split, at["random"].broken) == (len(split), sum(turns[i] > 1 for i in split))


def over(length: int, limit: int, overlong: str) -> bool:
    return overlong == "drop" and length > limit


def row_ids(lengths: Sequence[int], limit: int) -> list[set[int]]:
    tokens = [i for i, length in enumerate(lengths) for _ in range(length)]
    return [set(tokens[at : at + limit]) for at in range(0, len(tokens), limit)]


def chat_shaped(rows: int, seed: int = 7) -> np.ndarray:
    return np.clip(np.random.default_rng(seed).lognormal(5.5, 0.9, rows), 1, 4096).astype(np.int32)


def test_a_comparison_is_plain_data() -> None:
    found = compare(chat_shaped(2_000), [1024, 4096], model=COSTS)
    facts = json.loads(json.dumps(found.to_dict()))
    assert [one["max_length"] for one in facts["at"]] == [1024, 4096]
    assert facts["at"][1]["methods"]["ffd"]["rows"] == packsort.plan(chat_shaped(2_000), 4096).num_packs
    assert facts["multi_turn"] is None
    assert facts["at"][0]["methods"]["random"]["broken"] is None
    assert sum(facts["lengths"]["counts"]) == 2_000
    assert len(repr(found)) < 200
    assert found == compare(chat_shaped(2_000), [1024, 4096], model=COSTS)
    with pytest.raises(KeyError, match="max_length 2048 was not compared; there are 1024, 4096"):
        found[2048]
    with pytest.raises(KeyError, match="method 'bfd' was not compared; there are 'ffd', 'random', 'padding'"):
        found[1024]["bfd"]


def test_large_lengths_do_not_overflow() -> None:
    found = compare(np.full(20_000, 2**25), [2**25, 2**24], model=TOKENS_ONLY)
    assert found[2**25].ffd.with_masks.attention == pytest.approx(20_000 * 2.0**50), "more than 64 bits hold"
    assert found[2**24]["random"].split == 20_000
    assert sum(found.lengths.counts) == 20_000


def test_advice_follows_the_papers_findings() -> None:
    def choice(rows: int, model: object, turns: object = None) -> tuple[str, str]:
        advice = compare(chat_shaped(rows), 4096, model=model, turns=turns)[4096].advice
        return advice.choice, " ".join(advice.reasons)

    small, text = choice(25_000, "8B")
    assert small == "padding"
    assert "pad at its best" in text
    assert "small model (8B) on a small dataset (20 K to 30 K" in text
    assert "is a guess" not in text
    assert "is a guess" in choice(5_000, "1B")[1]
    assert choice(25_000, "70B")[0] == "ffd"
    assert choice(60_000, "8B")[0] == "ffd"
    unknown, text = choice(25_000, COSTS)
    assert unknown == "ffd"
    assert "The size of the model is not known" in text
    assert "multi-turn conversations is not known" in text
    assert "few-shot" in choice(60_000, "8B", np.ones(60_000, int))[1]
    assert "following instructions" in choice(60_000, "8B", np.full(60_000, 2))[1]
    full = compare(np.full(100, 4000), 4096, model="70B")[4096].advice
    assert (full.choice, full.is_tentative) == ("padding", False)
    assert "fills a pack of 4,096 tokens by itself" in full.reasons[0]
    # Two sequences of 60 do not fit into 100, so greedy packing leaves nearly half of each pack empty.
    loose = compare(np.array([60] * 400 + [10] * 100), 100, model="70B", turns=[1] * 500)[100]
    assert loose.advice.choice == "random"
    assert "Each of these loses" in compare(np.full(100, 4000), [1000, 2000], model=COSTS).summary[0]
    assert "No sequence is longer than 4,096" in compare(chat_shaped(100), [4096, 8192], model=COSTS).summary[0]


def test_batch_of_as_many_samples() -> None:
    # Eight sequences per pack: 64 padded sequences per step are 8 packs.
    batch = compare(np.full(800, 128), 1024, batch_size=16, world_size=4, model=COSTS)[1024].batch
    assert (batch.packs_per_step, batch.batch_size, batch.samples_at_batch_size) == (8, 2, 64)
    batch = compare(np.full(800, 128), 1024, batch_size=1, world_size=4, model=COSTS)[1024].batch
    assert (batch.packs_per_step, batch.batch_size, batch.samples_at_batch_size) == (0.5, 1, 32)
    assert "fewer than the 4 ranks" in batch.note


def test_a_model_is_a_size_its_numbers_or_its_config(tmp_path: Path) -> None:
    numbers = {
        **{"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"intermediate_size": 14336, "vocab_size": 128256},
    }
    (tmp_path / "config.json").write_text(json.dumps(numbers))
    named = compare([5, 3], 8, model="8b").model
    assert named.parameters == pytest.approx(8.03e9, rel=0.001)  # as its authors say
    for same in (numbers, tmp_path, str(tmp_path / "config.json")):
        model = compare([5, 3], 8, model=same).model
        assert (model.parameters, model.linear, model.quadratic) == (named.parameters, named.linear, named.quadratic)


@pytest.mark.parametrize(
    ("lengths", "max_length", "options", "message"),
    [
        ([], 8, {}, "lengths must not be empty, got 0 sequences"),
        ([3, 0], 8, {}, "sequence 1 has length 0; every length must be at least 1"),
        (
            [3, 9],
            8,
            {"overlong": "error"},
            "1 of 2 sequences (50 %) is longer than 8 tokens",
        ),
        ([3], [], {}, "max_length must be one limit or several, got an empty list"),
        ([3], [8, 0], {}, "max_length must be between 1 and 2**31 - 1, got 0"),
        ([3], [8, 8], {}, "max_length must not repeat a limit, got 8 twice"),
        ([3], "8", {}, "max_length must be an integer, got '8'"),
        ([3], 8, {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ([3], 8, {"world_size": 1.5}, "world_size must be an integer, got 1.5"),
        (
            *([3], 8, {"batch_size": 2**20, "world_size": 32}),
            f"batch_size x world_size must be at most {2**24} packs per step, got {2**20} x 32",
        ),
        (
            [3],
            8,
            {"overlong": "split"},
            "overlong must be one of 'error', 'drop', 'truncate', 'split_turns', got 'split'",
        ),
        ([3], 8, {"overlong": "split_turns"}, "overlong='split_turns' cuts conversations while they are tokenized"),
        ([3], 8, {"methods": ["best"]}, "methods must be one of 'ffd', 'bfd', 'optimal', 'hybrid', 'only_single'"),
        ([3], 8, {"methods": "hybrid"}, "methods='hybrid' treats multi-turn conversations apart, and turns are not"),
        ([3], 8, {"epochs": 0}, "epochs must be at least 1, got 0"),
        ([3], 8, {"tokens": "kept"}, "tokens='kept' does not go with tokenizer=None: it keeps what a tokenizer made"),
        ([3], 8, {"loss": "all"}, "loss='all' does not go with tokenizer=None"),
        ([3], 8, {"seed": -1}, "seed must be between 0 and 2**64 - 1, got -1"),
        ([3], 8, {"turns": [1, 2]}, "turns must have a value for each of 1 sequences, got 2"),
        ([3], 8, {"turns": [None]}, "turns has a null at sequence 0; every sequence needs a number of turns"),
        ([3], 8, {"turns": ["a"]}, "turns must be integers or booleans, got string"),
        ([3], 8, {"turns": "n"}, "turns='n' names a column, and lengths have none: pass a value for each sequence"),
        (
            [3],
            8,
            {"model": "9B"},
            "model must be one of '1B', '3B', '8B', '70B', '405B', a CostModel, a transformers config, or a folder",
        ),
        (
            [3],
            8,
            {"model": {"hidden_size": 8}},
            "the config lacks `num_hidden_layers`; needed are `hidden_size`, `num_hidden",
        ),
        (
            *([3], 8),
            {"model": {"hidden_size": -8, "num_hidden_layers": 1, "num_attention_heads": 1}},
            "hidden_size must be at least 1, got -8",
        ),
        ([3], 8, {"model": {"num_experts": 64}}, "the model is a mixture of experts (`num_experts` is 64)"),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(
    lengths: list[int], max_length: object, options: dict[str, object], message: str
) -> None:
    with pytest.raises((packsort.OptionError, packsort.LengthError)) as caught:
        compare(lengths, max_length, **{"model": COSTS, **options})  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
    of_lengths = "lengths" in message[:20] or "sequence 1" in message or "longer" in message
    assert isinstance(caught.value, packsort.LengthError if of_lengths else packsort.OptionError)


ASK, ANSWER = {"role": "user", "content": "where is the cat"}, {"role": "assistant", "content": "on the mat"}


def turns_in(table: pa.Table, column: str | None = None) -> object:
    return source_turns(open_source(table), column)[0].tolist()


def test_turns_come_from_messages_labels_or_a_column(tmp_path: Path) -> None:
    messages = [[ASK, ANSWER] * n for n in (1, 2, 3)] + [[ASK]]
    labels = [[-100, 5], [-100, 5, 6, -100, 7], [1, -100, 2, -100, 3], [-100]]
    columns = {"length": [2, 5, 5, 1], "number": [1, 2, 3, 0], "many": [False, True, True, False]}
    table = pa.table({"messages": messages, "labels": labels, **columns})
    pq.write_table(table.slice(0, 1), tmp_path / "0.parquet")
    pq.write_table(table.slice(1), tmp_path / "1.parquet")
    counted = turns_in(table), turns_in(table.select(["labels"]), "labels")
    assert counted == ([1, 2, 3, 0], [1, 2, 3, 0]), "loss at the end of a row and at the start of the next is two turns"
    for source in (table, tmp_path, [tmp_path / "0.parquet", tmp_path / "1.parquet"]):
        for turns in (None, "messages", "labels", "number", "many"):
            assert compare(source, 8, model=COSTS, turns=turns).multi_turn == 2, turns
    assert compare(table.select(["length"]), 8, model=COSTS).multi_turn is None
    everywhere = pa.table({"length": [2, 1], "labels": [[5, 5], [5]]})
    assert compare(everywhere, 8, model=COSTS).multi_turn is None, "loss on every token tells no turns apart"
    with pytest.raises(packsort.SourceError, match="no column `turns` to count turns by; there are `length`, `labels`"):
        compare(everywhere, 8, model=COSTS, turns="turns")
    with pytest.raises(
        packsort.LengthError, match=r"3 of 4 .*; the longest has 5 \(`.*1.parquet` row 0\): pass .*'drop' or"
    ):
        compare(tmp_path, 1, model=COSTS, overlong="error")

"""Methods that `packsort.compare` counts on request: padding at its best, other strategies, cuts between turns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
import reference
from packsort._progress import log_stage
from packsort.comparison.packs import best_padded_packs

LENGTHS = [int(n) for n in np.random.default_rng(5).lognormal(3, 1, 300).clip(1, 200)]
COSTS = packsort.CostModel(linear=3.0, quadratic=0.25)


def conversation(turns: int, words: int = 3) -> list[dict[str, str]]:
    ask, answer = "where is the cat " * words, "on the mat " * words
    return [{"role": ("user", "assistant")[i % 2], "content": (ask, answer)[i % 2]} for i in range(2 * turns)]


def test_padding_at_its_best_by_hand() -> None:
    # A batch has 2 x 8 tokens. Longest first, with 10 cut to 8: (8, 6), since a third would take 3 x 8 = 24; then
    # (5, 4, 3), 3 x 5 = 15 wide; then (2, 1). They take 16, 15 and 4 tokens, 35 in all, of which 29 are sequences.
    tokens_only = packsort.CostModel(linear=1.0, quadratic=0.0)
    at = packsort.compare([5, 3, 6, 2, 10, 4, 1], 8, batch_size=2, world_size=1, model=tokens_only)[8]
    found = at["padding_best"]
    assert (found.rows, found.steps, found.tokens, found.padding_tokens) == (7, 3, 29, 6)
    assert (found.with_masks.cost, found.without_masks.attention) == (35, 2 * 64 + 3 * 25 + 2 * 4)
    assert (found.truncated, found.tokens_lost, found.split, found.with_masks.scheduled) == (1, 2, 0, None)
    # Two ranks: one step has two of the batches, another has one; the slowest take 16 or 15, and 4, or 16 and 15.
    two = packsort.compare([5, 3, 6, 2, 10, 4, 1], 8, batch_size=2, world_size=2, model=tokens_only)[8]["padding_best"]
    assert (two.steps, two.with_masks.cost) in {(2, 16 + 4), (2, 15 + 16), (2, 16 + 15)}


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=60),
    st.integers(1, 50),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 2**64 - 1),
)
@settings(max_examples=60, deadline=None)
def test_padding_at_its_best_is_that_of_slow_readable_code(
    lengths: list[int], limit: int, batch_size: int, world_size: int, seed: int
) -> None:
    expected = reference.like_lengths([min(one, limit) for one in lengths], batch_size * limit)
    planned = packsort.plan(lengths, limit, overlong="truncate")
    packs = best_padded_packs(np.array(lengths), planned, batch_size * limit, seed, None)
    assert packs.batches is not None
    made = [part.tolist() for part in np.split(packs.tokens, packs.batches[1:])]
    assert Counter(map(tuple, made)) == Counter(map(tuple, expected))
    assert packs.width.tolist() == [batch[0] for batch in made for _ in batch]
    assert max(len(batch) * batch[0] for batch in made) <= batch_size * limit
    options = {"batch_size": batch_size, "world_size": world_size, "seed": seed, "model": COSTS}
    found = packsort.compare(lengths, limit, **options)[limit]["padding_best"]  # type: ignore[arg-type]
    costs = [sum(3 * batch[0] + 0.25 * one**2 for one in batch) for batch in made]
    steps = [costs[at : at + world_size] for at in range(0, len(costs), world_size)]
    assert found.steps == len(steps)
    assert found.with_masks.cost == pytest.approx(sum(map(max, steps)))
    assert found.with_masks.utilization * found.with_masks.cost == pytest.approx(sum(costs) / world_size)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(60, 90), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_multi_turn_conversations_alone_are_those_of_slow_readable_code(
    lengths: list[int], limit: int, random: object
) -> None:
    turns = [1 + i % 2 for i in range(len(lengths))]
    random.shuffle(turns)  # type: ignore[attr-defined]
    found = packsort.compare(lengths, limit, turns=turns, methods=["only_single"], model=COSTS)[limit]["only_single"]
    packs = reference.only_single(lengths, [one > 1 for one in turns], limit)
    assert (found.rows, found.tokens) == (len(packs), sum(lengths))
    assert found.with_masks.attention == sum(one**2 for pack in packs for one in pack)
    assert found.samples.most == max(map(len, packs))
    assert sum(found.fill.counts) == len(packs)


def test_strategies_are_those_of_plans() -> None:
    turns, limit = [1 + i % 3 for i in range(len(LENGTHS))], 128
    several = [one > 1 for one in turns]
    methods = ["bfd", "optimal", "hybrid", "in_order", "padding_best"]
    at = packsort.compare(LENGTHS, limit, turns=turns, methods=methods, model=COSTS, seed=3)[limit]  # type: ignore[arg-type]
    assert (
        list(at.methods)
        == ["ffd", at.advice.choice, *methods[:4], "padding", "padding_best"][at.advice.choice == "ffd" :]
    )
    plans = {
        "bfd": packsort.plan(LENGTHS, limit, strategy="bfd", overlong="truncate"),
        "optimal": packsort.plan(LENGTHS, limit, strategy="optimal", overlong="truncate"),
        "in_order": packsort.plan(LENGTHS, limit, strategy="in_order", overlong="truncate"),
        "hybrid": packsort.plan(
            LENGTHS, limit, strategy="hybrid", splittable=[not one for one in several], overlong="truncate"
        ),
    }
    for name, plan in plans.items():
        method = at[name]
        assert (method.rows, method.tokens, method.split) == (plan.num_packs, plan.num_tokens, plan.num_split), name
        assert (method.truncated, method.tokens_lost) == (plan.num_truncated, plan.tokens_lost), name
        broken = sum(length > limit and many for length, many in zip(LENGTHS, several, strict=True))
        assert method.broken == broken, f"{name} cuts single-turn conversations only"
    assert at["hybrid"].split > 0


def test_epochs_count_steps_and_not_time() -> None:
    one, three = (packsort.compare(LENGTHS, 4096, model="70B", epochs=n) for n in (1, 3))
    assert one[4096].methods == three[4096].methods
    assert "a run of 3 epochs has only" in " ".join(three[4096].advice.reasons)


def test_conversations_are_cut_between_turns(tokenizer: object) -> None:
    rows = pa.table({"messages": [conversation(1 + i % 5, 1 + i % 3) for i in range(40)] + [conversation(1, 60)]})
    limit = 80
    found = packsort.compare(
        rows, [limit, 4096], tokenizer=tokenizer, overlong="split_turns", model=COSTS, methods=["only_single", "random"]
    )
    cut = packsort.tokenize(rows, tokenizer, split_turns=limit)
    table = cut.read()
    windows, cuts = [], 0
    for length, starts in zip(table["length"].to_pylist(), table["piece_starts"].to_pylist(), strict=True):
        windows += np.diff([*starts, length]).tolist()
        cuts += len(starts) > 1
    assert cuts > 5
    assert cut.turns_left_out == 1
    at = found[limit]
    assert (at.padding.rows, at.padding.tokens) == (len(windows), sum(windows))
    assert at.ffd.rows == packsort.plan(windows, limit).num_packs
    whole = packsort.tokenize(rows, tokenizer).read()["length"].to_pylist()
    for method in (at.ffd, at.padding, at["only_single"]):
        assert (method.split, method.truncated, method.tokens_lost) == (cuts, 0, cut.tokens_left_out)
        long = sum(
            length > limit and len(chat) > 2 for length, chat in zip(whole, rows["messages"].to_pylist(), strict=True)
        )
        assert method.broken == long
    assert at["random"].tokens == sum(whole) == found.num_tokens
    assert found[4096].ffd.split == 0
    assert any("left out" in reason for reason in at.advice.reasons)
    with pytest.raises(packsort.LengthError, match="no turn of any conversation fits max_length 2: pass a longer one"):
        packsort.compare(rows, 2, tokenizer=tokenizer, overlong="split_turns", model=COSTS)


class Stages(list[str]):
    """Names of the stages of a call."""

    def __call__(self, name: str, *, total: int | None = None, unit: str = "") -> AbstractContextManager[object]:
        self.append(name)
        return log_stage(name, total=total, unit=unit)


@pytest.mark.parametrize("overlong", ["truncate", "split_turns"])
def test_kept_tokens_serve_comparing_and_packing(tmp_path: Path, tokenizer_folder: Path, overlong: str) -> None:
    chats, kept = tmp_path / "chats.parquet", tmp_path / "kept"
    pq.write_table(pa.table({"messages": [conversation(1 + i % 4) for i in range(30)]}), chats)

    def stages_of(call: object, *more: object, **options: object) -> Sequence[str]:
        stages = Stages()
        options = {"tokenizer": tokenizer_folder, "overlong": overlong, "tokens": kept, "stage": stages, **options}
        result = call(chats, *more, **options)  # type: ignore[operator]
        if call is packsort.compare:
            assert result == expected
        return stages

    expected = packsort.compare(chats, 64, tokenizer=tokenizer_folder, overlong=overlong)  # type: ignore[arg-type]
    assert "tokenizing" in stages_of(packsort.compare, 64)
    assert len(list(kept.iterdir())) == 1
    assert "tokenizing" not in stages_of(packsort.compare, 64)
    assert "tokenizing" not in stages_of(packsort.write_shards, tmp_path / "packed", 64)
    assert "tokenizing" in stages_of(packsort.write_shards, tmp_path / "other", 64, loss="all")

"""`packsort.schedule` against a slow reference, and invariants of every schedule."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import packsort
from packsort import CostModel
from packsort.balance.costs import LLAMA_3_8B

# Either coefficient can dominate at max_length 200.
COST = CostModel(linear=100.0, quadratic=1.0)


@st.composite
def plans(draw: st.DrawFn) -> packsort.Plan:
    max_length = draw(st.integers(1, 200))
    lengths = draw(st.lists(st.integers(1, max_length), max_size=200))
    return packsort.plan(lengths, max_length, seed=draw(st.none() | st.integers(0, 9)))


@st.composite
def layouts(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "world_size": draw(st.integers(1, 6)),
        "accumulation": draw(st.integers(1, 4)),
        "window": draw(st.integers(1, 9)),
        "seed": draw(st.none() | st.integers(0, 2**64 - 1)),
        "attention": draw(st.sampled_from(["document", "pack"])),
        "cost": draw(st.sampled_from([COST, CostModel(1, 0), CostModel(0, 1), LLAMA_3_8B])),
    }


def reference_costs(plan: packsort.Plan, cost: CostModel, attention: str) -> list[float]:
    """Compute the cost of each pack, one sequence after another."""
    costs = []
    for pack in range(plan.num_packs):
        lengths = plan.list_lengths(pack, pack + 1).tolist()
        lengths = [sum(lengths)] if attention == "pack" else lengths
        costs.append(sum(cost.linear * length + cost.quadratic * length**2 for length in lengths))
    return costs


def reference_utilization(steps: NDArray[np.int64], costs: list[float]) -> float:
    """Compute the mean over steps of mean / max cost over ranks."""
    shares = []
    for ranks in steps.tolist():
        load = [sum(costs[pack] for pack in packs) for packs in ranks]
        shares.append(sum(load) / len(load) / max(load))
    return sum(shares) / len(shares) if shares else 1.0


def shuffled(plan: packsort.Plan, made: packsort.Schedule, seed: int | None) -> NDArray[np.int64]:
    """Return the order before balancing, which is that of one rank, in the shape of a schedule."""
    order = packsort.schedule(plan, 1, seed=seed).order.ravel()
    return np.resize(order, made.order.shape) if len(order) else made.order


def whole_step(plan: packsort.Plan, layout: dict[str, Any]) -> bool:
    return plan.num_packs == 0 or plan.num_packs >= layout["world_size"] * layout["accumulation"]


@given(plans(), layouts())
@settings(max_examples=100, deadline=None)
def test_padding_trains_on_each_pack_and_counts_what_comes_again(plan: packsort.Plan, layout: dict[str, Any]) -> None:
    made = packsort.schedule(plan, **layout, tail="pad")
    step = layout["world_size"] * layout["accumulation"]
    assert made.order.shape == (-(-plan.num_packs // step), layout["world_size"], layout["accumulation"])
    assert sorted(made.order.ravel()) == sorted([*range(plan.num_packs), *made.repeated])
    assert len(made.repeated) < step
    assert len(made.dropped) == 0


@given(plans(), layouts())
@settings(max_examples=100, deadline=None)
def test_dropping_leaves_out_less_than_a_step(plan: packsort.Plan, layout: dict[str, Any]) -> None:
    step = layout["world_size"] * layout["accumulation"]
    if not whole_step(plan, layout):
        with pytest.raises(packsort.OptionError, match="needs at least one full step"):
            packsort.schedule(plan, **layout, tail="drop")
        return
    made = packsort.schedule(plan, **layout, tail="drop")
    assert made.order.shape == (plan.num_packs // step, layout["world_size"], layout["accumulation"])
    assert sorted([*made.order.ravel(), *made.dropped]) == list(range(plan.num_packs))
    assert len(made.dropped) < step
    assert len(made.repeated) == 0


@given(plans(), layouts())
@settings(max_examples=100, deadline=None)
def test_packs_stay_in_their_window_of_the_shuffled_order(plan: packsort.Plan, layout: dict[str, Any]) -> None:
    made = packsort.schedule(plan, **layout)
    before = shuffled(plan, made, layout["seed"])
    starts = made.window_starts.tolist()
    assert starts[0] == 0
    assert starts[-1] == made.num_steps
    for start, stop in pairwise(starts):
        assert 0 < stop - start <= layout["window"]
        assert sorted(made.order[start:stop].ravel()) == sorted(before[start:stop].ravel())


@given(plans(), layouts())
@settings(max_examples=100, deadline=None)
def test_utilization_is_the_references_and_never_worse_than_before(plan: packsort.Plan, layout: dict[str, Any]) -> None:
    made = packsort.schedule(plan, **layout)
    costs = reference_costs(plan, layout["cost"], layout["attention"])
    before = reference_utilization(shuffled(plan, made, layout["seed"]), costs)
    assert made.costs.tolist() == pytest.approx(costs, rel=1e-12)
    assert made.utilization == pytest.approx(reference_utilization(made.order, costs), rel=1e-12)
    assert made.utilization_before == pytest.approx(before, rel=1e-12)
    assert made.utilization_before <= made.utilization <= 1
    assert made.speedup >= 1 - 1e-9


@given(plans(), layouts())
@settings(max_examples=50, deadline=None)
def test_a_rank_and_a_step_find_their_packs(plan: packsort.Plan, layout: dict[str, Any]) -> None:
    made = packsort.schedule(plan, **layout)
    assert len(made) == made.num_steps
    for step, ranks in enumerate(made):
        for rank in range(made.world_size):
            assert made.packs(rank, step).tolist() == ranks[rank].tolist()
    for rank, step in ((made.world_size, 0), (-1, 0), (0, made.num_steps), (0, -1)):
        with pytest.raises(IndexError, match="is not in the schedule, which has"):
            made.packs(rank, step)


def mix(max_length: int, share: float, document: float, sigma: float) -> packsort.Plan:
    """Plan chats of about 500 tokens and a share of documents, truncated at max_length."""
    rng = np.random.default_rng(0)
    chats, documents = rng.lognormal(np.log(500), 1, 200_000), rng.lognormal(np.log(document), sigma, 200_000)
    lengths = np.where(rng.random(200_000) < share, documents, chats)
    return packsort.plan(np.clip(lengths, 16, max_length).astype(np.int64), max_length, seed=0)


def llama_1b() -> CostModel:
    return CostModel.from_model(2048, 16, 32, intermediate_size=8192, num_key_value_heads=8, vocab_size=128256)


@pytest.mark.parametrize("cost", [LLAMA_3_8B, llama_1b()], ids=["8b", "1b"])
@pytest.mark.parametrize(
    ("plan", "most_before"), [(mix(32_768, 0.02, 16_000, 0.8), 0.8), (mix(131_072, 0.01, 48_000, 1.0), 0.6)]
)
def test_long_mixes_over_eight_ranks_go_above_98_percent(
    plan: packsort.Plan, most_before: float, cost: CostModel
) -> None:
    made = packsort.schedule(plan, 8, cost=cost)
    assert made.utilization_before < most_before
    assert made.utilization > 0.98
    assert packsort.schedule(plan, 8, cost=cost, window=4).utilization < made.utilization


def test_steps_are_level_at_every_pack_they_accumulate() -> None:
    plan = mix(131_072, 0.01, 48_000, 1.0)
    made = packsort.schedule(plan, 8, accumulation=4)
    costs = made.costs[made.order]
    single = (costs.mean(1) / costs.max(1)).mean()
    assert single > 0.97
    assert made.utilization > 0.99


def test_another_seed_is_another_order_and_the_same_seed_the_same() -> None:
    plan = mix(32_768, 0.02, 16_000, 0.8)
    orders = [packsort.schedule(plan, 8, seed=seed).order for seed in (0, 0, 1, None)]
    assert np.array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).mean() > 0.9
    assert (orders[0] != orders[3]).mean() > 0.9


def test_without_a_seed_windows_are_those_of_the_plans_order() -> None:
    plan = packsort.plan([9, 8, 7, 6, 5, 4, 3, 2], max_length=9, seed=None)
    made = packsort.schedule(plan, 1, seed=None)
    assert made.order.ravel().tolist() == list(range(plan.num_packs))


def test_epochs_of_a_plan_are_balanced_alike() -> None:
    plan = mix(131_072, 0.01, 48_000, 1.0)
    first, second = (packsort.schedule(plan.with_epoch(epoch), 8) for epoch in (0, 1))
    assert first.num_steps == second.num_steps
    assert first.utilization == pytest.approx(second.utilization, abs=0.01)


def test_a_plan_of_nothing_has_no_steps() -> None:
    for tail in ("pad", "drop"):
        made = packsort.schedule(packsort.plan([], max_length=10), 4, tail=tail)
        assert (made.num_steps, made.utilization, made.utilization_before, made.speedup) == (0, 1.0, 1.0, 1.0)
        assert made.order.shape == (0, 4, 1)
        assert made.window_starts.tolist() == [0]


def test_one_pack_over_many_ranks_is_repeated_and_said_so() -> None:
    made = packsort.schedule(packsort.plan([5], max_length=10), 4)
    assert made.order.tolist() == [[[0], [0], [0], [0]]]
    assert made.repeated.tolist() == [0, 0, 0]
    assert repr(made) == "Schedule(1 packs -> 1 steps of 4 ranks, utilization 100.00 -> 100.00 %, 3 repeated)"


def test_repr_says_what_was_dropped_and_accumulated() -> None:
    made = packsort.schedule(packsort.plan([10] * 13, max_length=10), 2, accumulation=3, tail="drop")
    assert repr(made) == "Schedule(13 packs -> 2 steps of 2 ranks x 3, utilization 100.00 -> 100.00 %, 1 dropped)"


def test_arrays_are_read_only_and_schedules_pickle() -> None:
    made = packsort.schedule(packsort.plan([5, 4, 3], max_length=5), 2)
    for array in (made.order, made.costs, made.repeated, made.dropped, made.packs(0, 0)):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    again = pickle.loads(pickle.dumps(made))
    assert np.array_equal(again.order, made.order)
    assert repr(again) == repr(made)


PROGRAM = """
import hashlib, numpy, packsort
rng = numpy.random.default_rng(1)
plan = packsort.plan(rng.lognormal(6, 1.5, 300_000).clip(1, 32768).astype(int), max_length=32768, seed=3)
made = packsort.schedule(plan, 8, accumulation=2, window=16)
digest = hashlib.sha256(made.order.tobytes() + made.costs.tobytes() + made.repeated.tobytes())
print(digest.hexdigest(), made.utilization.hex(), made.utilization_before.hex(), made.speedup.hex())
"""


def test_any_number_of_threads_gives_the_same() -> None:
    found = set()
    for threads in ("1", "2", "7"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads}
        found.add(
            subprocess.run([sys.executable, "-c", PROGRAM], env=environment, check=True, capture_output=True).stdout
        )
    assert len(found) == 1


def test_other_python_threads_run_meanwhile() -> None:
    costs = np.random.default_rng(0).random(4_000_000)
    ticks, started, stop = [], threading.Event(), threading.Event()

    def tick() -> None:
        while not stop.is_set():
            ticks.append(time.perf_counter())
            started.set()
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    started.wait()
    start = time.perf_counter()
    packsort._core.schedule(costs, 8, 1, 64, "pad", 0)
    end = time.perf_counter()
    stop.set()
    thread.join()
    # A call that held the lock would let other threads run only at its ends.
    assert sum(start + 0.1 * (end - start) < at < end - 0.1 * (end - start) for at in ticks) > 3


PLAN = packsort.plan([10] * 5, max_length=10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"world_size": 0}, "world_size must be at least 1, got 0"),
        ({"world_size": -3}, "world_size must be at least 1, got -3"),
        ({"world_size": 2.0}, "world_size must be an integer, got 2.0"),
        ({"world_size": True}, "world_size must be an integer, got True"),
        ({"accumulation": 0}, "accumulation must be at least 1, got 0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"window": None}, "window must be an integer, got None"),
        ({"tail": "keep"}, "tail must be one of 'pad', 'drop', got 'keep'"),
        ({"seed": -1}, "seed must be between 0 and 2**64 - 1, got -1"),
        ({"seed": 2**64}, f"seed must be between 0 and 2**64 - 1, got {2**64}"),
        ({"attention": "causal"}, "attention must be one of 'document', 'pack', got 'causal'"),
        ({"cost": 3.0}, "cost must be a CostModel, got 3.0"),
        ({"plan": [[1, 2]]}, "plan must be a Plan, got list"),
        (
            {"world_size": 2**20, "accumulation": 2**10},
            f"world_size x accumulation must be at most {2**24} packs per step, got {2**20} x {2**10}",
        ),
        (
            {"world_size": 4, "accumulation": 2, "tail": "drop"},
            "tail='drop' needs at least one full step, 8 packs (world_size 4 x accumulation 2), got 5: pass tail='pad'",
        ),
    ],
)
def test_options_that_are_not_allowed_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        packsort.schedule(**({"plan": PLAN, "world_size": 2} | options))
    assert str(caught.value) == message


def test_a_window_beyond_all_steps_is_the_whole_epoch() -> None:
    made = packsort.schedule(PLAN, 2, window=10**30)
    assert made.window_starts.tolist() == [0, 3]
    assert packsort.schedule(PLAN, np.int64(2), window=np.uint8(3)).num_steps == 3

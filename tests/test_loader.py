"""Ranks, epochs and checkpoints of `PackedLoader`, checked for every number of ranks and batches."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st

import loading
import packsort
from loading import digest, digests, fork
from packed_rows import MAX_LENGTH, packed, rows
from packsort.torch import PackedLoader
from test_torch import same

TABLE = rows(300)

# Python 3.12 and later warn of forks.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
ALL_OPTIONS = [{}, {"balance": True}, {"seed": None}, {"seed": 7, "tail": "drop"}]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return packed(tmp_path_factory.mktemp("loader"), TABLE)


@pytest.fixture(scope="module", params=["packed", "on the fly"])
def make(request, path):
    """Function that makes loaders of the same sequences, packed to disk or on the fly."""
    if request.param == "packed":
        return lambda **options: PackedLoader(path, **options)
    return lambda **options: PackedLoader(TABLE, max_length=MAX_LENGTH, **options)


def epoch_of(loader):
    """Return the pack numbers of each batch of the loader's epoch."""
    return [loader.packs_of(i) for i in range(len(loader))]


worlds = st.fixed_dictionaries(
    {
        "world_size": st.integers(1, 5),
        "batch_size": st.integers(1, 3),
        "accumulation": st.integers(1, 3),
        "tail": st.sampled_from(["pad", "drop"]),
        "balance": st.booleans(),
        "seed": st.sampled_from([None, 0, 1, 2**64 - 1]),
    }
)


def fits(loader_options, packs):
    size = loader_options["world_size"] * loader_options["batch_size"] * loader_options["accumulation"]
    return loader_options["tail"] == "pad" or packs >= size


# Ranks


@settings(max_examples=60, deadline=None)
@given(options=worlds, epoch=st.integers(0, 3))
def test_ranks_have_equal_steps_and_each_pack_comes_once(make, options, epoch):
    packs = make().num_packs
    if not fits(options, packs):
        return
    loaders = [make(rank=rank, **options) for rank in range(options["world_size"])]
    for loader in loaders:
        loader.set_epoch(epoch)
    step = options["world_size"] * options["batch_size"] * options["accumulation"]
    steps = packs // step if options["tail"] == "drop" else -(-packs // step)
    assert {len(loader) for loader in loaders} == {steps * options["accumulation"]}
    seen = Counter(pack for loader in loaders for batch in epoch_of(loader) for pack in batch)
    assert sum(seen.values()) == steps * step
    assert set(seen) <= set(range(packs))
    if options["tail"] == "drop":
        assert set(seen.values()) == {1}
        assert packs - len(seen) < step
    else:
        assert len(seen) == packs
        rest = steps * step - packs
        assert sorted(seen.values()) == sorted(1 + (i < rest % packs) + rest // packs for i in range(packs))


def test_batches_are_of_the_packs_they_say(path):
    shards = packsort.open_shards(path)
    for loader in (PackedLoader(path, rank=1, world_size=3, batch_size=2), PackedLoader(path, balance=True)):
        for index, batch in enumerate(loader):
            expected = [shards[i]["input_ids"] for i in loader.packs_of(index)]
            assert batch["input_ids"][0].tolist() == np.concatenate(expected).tolist()


def test_ranks_come_from_torch_distributed(path, tmp_path):
    def run(rank):
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=rank, world_size=2)
        loader = PackedLoader(path, batch_size=2)
        (tmp_path / f"{rank}.json").write_text(json.dumps([epoch_of(loader), loader.rank, loader.world_size]))
        dist.barrier()
        dist.destroy_process_group()

    runs = [fork(run, rank) for rank in range(2)]
    for rank, process in enumerate(runs):
        process.join(100)
        assert process.exitcode == 0
        expected = [epoch_of(PackedLoader(path, batch_size=2, rank=rank, world_size=2)), rank, 2]
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == expected


def test_balance_levels_the_ranks_of_each_step():
    rng = np.random.default_rng(0)
    lengths = np.where(rng.random(400) < 0.3, 500, rng.integers(5, 30, 400))
    table = pa.table({"input_ids": [np.ones(n, np.int32) for n in lengths]})
    cost = packsort.CostModel(0.0, 1.0)

    def waste(balance):
        loaders = [PackedLoader(table, max_length=512, rank=r, world_size=4, balance=balance) for r in range(4)]
        costs = np.array([[cost.of(batch["cu_seq_lens_q"].diff().numpy()).sum() for batch in one] for one in loaders])
        return 1 - (costs.mean(0) / costs.max(0)).mean()

    assert waste(cost) < waste(False) / 3


# Epochs


def test_each_epoch_has_all_sequences_in_an_order_of_its_own(make):
    loader = make()
    orders = [[tuple(batch["input_ids"][0].tolist()) for batch in loader] for _ in range(4)]
    assert loader.epoch == 4
    tokens = sorted(pa.concat_arrays(TABLE["input_ids"].chunks).flatten().to_pylist())
    for order in orders:
        assert len(order) == len(loader)
        assert sorted(token for batch in order for token in batch) == tokens
    assert all(one != other for one, other in pairwise(orders))
    loader.set_epoch(1)
    assert [tuple(batch["input_ids"][0].tolist()) for batch in loader] == orders[1]


def test_a_packed_directory_keeps_its_packs_and_a_table_does_not(path):
    kept = [{tuple(b["input_ids"][0].tolist()) for b in loader} for loader in [PackedLoader(path)] * 2]
    assert kept[0] == kept[1]
    fresh = [{tuple(b["input_ids"][0].tolist()) for b in one} for one in [PackedLoader(TABLE, max_length=64)] * 2]
    assert fresh[0] != fresh[1]


def test_packs_on_the_fly_are_those_of_pack():
    loader = PackedLoader(TABLE, max_length=MAX_LENGTH, seed=3, strategy="bfd", max_sequences=4)
    expected = packsort.pack(TABLE, MAX_LENGTH, seed=3, strategy="bfd", max_sequences=4)["input_ids"].to_pylist()
    assert [batch["input_ids"][0].tolist() for batch in loader] == expected


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_parquet_shards_are_read_one_after_another(tmp_path, format):
    shards = packsort.open_shards(packed(tmp_path, TABLE, format=format, shard_size="4KB"))
    ends = np.cumsum([shard.packs for shard in shards.manifest.shards])
    assert len(ends) > 3
    loader = PackedLoader(shards)
    order = np.searchsorted(ends, [pack for batch in epoch_of(loader) for pack in batch], side="right")
    changes = int((np.diff(order) != 0).sum())
    assert (changes == len(ends) - 1) == (format == "parquet")


def test_a_pass_left_early_starts_anew(make):
    loader = make()
    first = digest(next(iter(loader)))
    assert digest(next(iter(loader))) == first
    assert loader.epoch == 0


def test_set_epoch_to_where_it_is_keeps_the_place(make):
    whole = digests(make())
    loader = make()
    loader.load_state_dict(make().state_dict() | {"packs": 2})
    loader.set_epoch(0)
    assert digests(loader) == whole[2:]
    loader.load_state_dict(make().state_dict() | {"packs": 2})
    loader.set_epoch(1)
    loader.set_epoch(0)
    assert digests(loader) == whole


# Checkpoints


@settings(max_examples=40, deadline=None)
@given(data=st.data(), options=st.sampled_from(ALL_OPTIONS), prefetch=st.sampled_from([0, 1, 3]))
def test_goes_on_at_any_step_batch_for_batch(make, data, options, prefetch):
    loader = make(prefetch=prefetch, **options)
    expected = digests(loader) + digests(loader)
    at = data.draw(st.integers(0, len(expected)))
    loader = make(prefetch=prefetch, **options)
    passes, received = iter(loader), []
    while len(received) < at:
        for batch in passes:
            received.append(digest(batch))
            if len(received) == at:
                break
        else:
            passes = iter(loader)
    state = json.loads(json.dumps(loader.state_dict()))  # numbers and strings
    again = make(prefetch=prefetch, **options)
    again.load_state_dict(state)
    assert again.state_dict() == state
    while again.epoch < 2:
        received += digests(again)
    assert received == expected


splits = [(1, 2, 6), (2, 2, 3), (3, 2, 2), (6, 2, 1), (1, 3, 4), (4, 1, 3), (2, 3, 2), (1, 12, 1), (12, 1, 1)]


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    split=st.sampled_from(splits),
    other=st.sampled_from(splits),
    options=st.sampled_from(ALL_OPTIONS),
    epoch=st.integers(0, 2),
)
def test_goes_on_with_other_ranks_and_the_same_global_batches(make, data, split, other, options, epoch):
    def ranks(split):
        world_size, batch_size, accumulation = split
        kinds = {"world_size": world_size, "batch_size": batch_size, "accumulation": accumulation}
        return [make(rank=rank, **kinds, **options) for rank in range(world_size)]

    def steps(loaders, first=0):
        """Return the sorted packs of each step, and the line of batches."""
        accumulation = other[2] if loaders[0].world_size == other[0] and loaders[0].batch_size == other[1] else split[2]
        line = [packs for batch in zip(*map(epoch_of, loaders), strict=True) for packs in batch]
        size = loaders[0].world_size * accumulation
        return [sorted(chain(*line[i : i + size])) for i in range(first * size, len(line), size)], line

    before = ranks(split)
    for loader in before:
        loader.set_epoch(epoch)
    expected, line = steps(before)
    step = data.draw(st.integers(0, len(expected)))
    state = before[0].state_dict() | {"packs": step * 12}
    after = ranks(other)
    for loader in after:
        loader.load_state_dict(state)
        assert loader.state_dict() == state
    found, other_line = steps(after)
    assert found == expected
    if split[1] == other[1]:
        assert other_line == line  # batches of the same size hold the same packs
    # the next epochs agree as well
    for loader in [*before, *after]:
        loader.set_epoch(epoch + 1)
    assert steps(before)[0] == steps(after)[0]


def test_a_global_step_of_another_size_is_refused(path):
    state = PackedLoader(path, batch_size=2, world_size=2, rank=0).state_dict()
    message = "state is of steps of 4 packs, but world_size 1 x batch_size 3 x accumulation 1 is 3: choose ranks"
    with pytest.raises(packsort.OptionError, match=message):
        PackedLoader(path, batch_size=3).load_state_dict(state)


def test_a_state_amid_a_step_that_other_ranks_cannot_take_is_refused(path):
    loader = PackedLoader(path, accumulation=4)
    next(iter(loader))
    with pytest.raises(packsort.OptionError, match="state is 1 packs into the epoch, inside a step: world_size 2 x"):
        PackedLoader(path, world_size=2, rank=0, accumulation=2).load_state_dict(loader.state_dict())


@pytest.mark.parametrize("change", [{"seed": 1}, {"tail": "drop"}, {"balance": True}])
def test_a_state_of_another_order_is_refused(path, change):
    (name,) = change
    with pytest.raises(packsort.OptionError, match=f"state is of a loader with {name}=.*, this one has {name}="):
        PackedLoader(path, **change).load_state_dict(PackedLoader(path).state_dict())


def test_a_state_of_another_plan_or_other_data_is_refused_with_both_fingerprints():
    state = PackedLoader(TABLE, max_length=64).state_dict()
    other = PackedLoader(TABLE, max_length=65)
    mine = other.state_dict()["plan"]
    assert mine != state["plan"]
    with pytest.raises(
        packsort.OptionError, match=f"another plan: its plan has the fingerprint {state['plan']}, that of .* is {mine}"
    ):
        other.load_state_dict(state)
    ids = [[token + 1 for token in one] for one in TABLE["input_ids"].to_pylist()]
    other = PackedLoader(TABLE.set_column(0, "input_ids", pa.array(ids, pa.list_(pa.int32()))), max_length=64)
    mine = other.state_dict()["data"]
    with pytest.raises(
        packsort.OptionError, match=f"other data: its data has the fingerprint {state['data']}, that of .* is {mine}"
    ):
        other.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "state has version 2, but this packsort reads version 1"),
        ({"packs": -1}, r"packs must be between 0 and 2\*\*64 - 1, got -1"),
        ({"packs": 10_000}, r"state must be 0 to \d+ packs into an epoch, got 10000"),
        ({"epoch": -1}, "state must be one that `state_dict` returned: epoch must be between .*, got -1"),
        ({"epoch": "x"}, "state must be one that `state_dict` returned: epoch must be an integer, got 'x'"),
        ({"worker": 0, "num_workers": 2}, "state is of DataLoader worker 0 of 2, but this is no worker"),
    ],
)
def test_a_state_that_is_none_is_refused(path, change, message):
    loader = PackedLoader(path)
    with pytest.raises(packsort.OptionError, match=message):
        loader.load_state_dict(loader.state_dict() | change)
    with pytest.raises(packsort.OptionError, match="state must be one that `state_dict` returned: it has no 'version'"):
        loader.load_state_dict({})


@pytest.mark.parametrize("options", [{}, {"balance": True, "batch_size": 2, "accumulation": 2}])
@pytest.mark.parametrize("on_the_fly", [False, True])
def test_killed_runs_go_on_with_the_batches_of_an_undisturbed_one(tmp_path, on_the_fly, options):
    source = tmp_path / "rows.parquet"
    if on_the_fly:
        pq.write_table(TABLE, source)
        options = options | {"max_length": MAX_LENGTH}
    else:
        source = packed(tmp_path, TABLE)
    loader = PackedLoader(source, **options)
    expected = digests(loader) + digests(loader)
    log, checkpoint = tmp_path / "log", tmp_path / "checkpoint"
    arguments = (str(source), str(log), str(checkpoint), repr(options))
    for lines in (4, len(expected) // 2 + 2):  # in the first and the second epoch
        run = fork(loading.main, *arguments)
        end = time.monotonic() + 100
        while not log.exists() or log.read_text().count("\n") < lines:
            assert run.is_alive()
            assert time.monotonic() < end
            time.sleep(0.005)
        run.kill()
        run.join()
        assert run.exitcode == -signal.SIGKILL
    # The last run inherits nothing from this process.
    subprocess.run([sys.executable, loading.__file__, *arguments], check=True, timeout=100)
    seen: dict[int, int] = {}
    for line in log.read_text().splitlines():
        number, found = map(int, line.split())
        assert seen.setdefault(number, found) == found  # batches repeated after a kill are the same
    assert [seen[i + 1] for i in range(len(seen))] == expected


def test_state_is_the_same_on_all_ranks_and_counts_what_was_received(path):
    loaders = [PackedLoader(path, rank=rank, world_size=2, prefetch=4) for rank in range(2)]
    passes = [iter(loader) for loader in loaders]
    for _ in range(3):
        for one in passes:
            next(one)
    first, second = (loader.state_dict() for loader in loaders)
    assert first == second
    assert first["packs"] == 6
    for one, loader in zip(passes, loaders, strict=True):
        rest = list(one)
        again = PackedLoader(path, rank=loader.rank, world_size=2)
        again.load_state_dict(first)
        for left, right in zip(rest, again, strict=True):
            same(left, right)

"""`packsort.plan` against the readable reference, for every kind of input."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import time
from itertools import pairwise
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from reference import fewest_packs, first_fit_decreasing, martello_toth_l2

LENGTHS = [30, 7, 100, 55, 45, 7, 62, 1, 99, 38, 38]
EXPECTED = first_fit_decreasing(LENGTHS, 100)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], int]:
    max_length = draw(st.integers(1, 200))
    return draw(st.lists(st.integers(1, max_length), max_size=200)), max_length


def packs_of(plan: packsort.Plan) -> list[list[int]]:
    return [ids.tolist() for ids in plan]


@given(cases())
@settings(max_examples=200, deadline=None)
def test_packs_are_the_textbooks_id_for_id(case: tuple[list[int], int]) -> None:
    lengths, max_length = case
    plan = packsort.plan(lengths, max_length)
    assert packs_of(plan) == first_fit_decreasing(lengths, max_length)
    assert plan.pack_offsets.dtype == np.int64
    assert plan.sequence_ids.dtype == np.uint32


@given(cases(), st.none() | st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
@settings(max_examples=120, deadline=None)
def test_any_seed_and_epoch_uses_each_sequence_once(case: tuple[list[int], int], seed: int | None, epoch: int) -> None:
    lengths, max_length = case
    textbook = packsort.plan(lengths, max_length)
    plan = packsort.plan(lengths, max_length, seed=seed, epoch=epoch)
    assert sorted(plan.sequence_ids.tolist()) == list(range(len(lengths)))
    by_length = sorted(sorted(lengths[i] for i in pack) for pack in packs_of(plan))
    assert by_length == sorted(sorted(lengths[i] for i in pack) for pack in packs_of(textbook))
    assert plan.piece_lengths.tolist() == [lengths[i] for i in plan.sequence_ids]
    assert plan.piece_starts.tolist() == [0] * len(lengths)
    assert all(plan[i].tolist() == pack for i, pack in enumerate(packs_of(plan)))
    assert plan == packsort.plan(lengths, max_length, seed=seed).with_epoch(epoch)


@given(st.lists(st.integers(1, 30), max_size=8), st.integers(30, 60))
@settings(max_examples=150, deadline=None)
def test_lower_bound_is_the_definitions_and_never_above_the_optimum(lengths: list[int], max_length: int) -> None:
    plan = packsort.plan(lengths, max_length)
    assert plan.lower_bound == martello_toth_l2(lengths, max_length)
    assert plan.lower_bound <= fewest_packs(lengths, max_length) <= plan.num_packs


def inputs() -> dict[str, object]:
    numbers = pa.array(LENGTHS)
    frame = pd.DataFrame({"length": LENGTHS})
    database = duckdb.connect()
    return {
        "list": LENGTHS,
        "tuple": tuple(LENGTHS),
        "list of numpy numbers": [np.int32(n) for n in LENGTHS],
        **{name: np.array(LENGTHS, name) for name in ("int8", "int16", "int32", "int64")},
        **{name: np.array(LENGTHS, name) for name in ("uint8", "uint16", "uint32", "uint64")},
        "big-endian": np.array(LENGTHS, ">i4"),
        "strided": np.repeat(np.array(LENGTHS), 3)[::3],
        "read-only": np.frombuffer(np.array(LENGTHS).tobytes(), np.int64),
        "unaligned": np.frombuffer(b"-" + np.array(LENGTHS, np.int32).tobytes(), np.int32, offset=1),
        "column of a matrix": np.stack([np.zeros(len(LENGTHS), int), np.array(LENGTHS)], 1)[:, 1],
        "objects": np.array(LENGTHS, object),
        "torch": torch.tensor(LENGTHS),
        "arrow": numbers,
        "sliced": pa.array([0, -1, *LENGTHS, None]).slice(2, len(LENGTHS)),
        "chunked": pa.chunked_array([numbers[:3], numbers[3:3], numbers[3:].cast(pa.int64())]),
        "chunked and sliced": pa.chunked_array([pa.array([9, 9, *LENGTHS[:5]]), numbers[5:]])[2:],
        "dictionary": pa.array(LENGTHS).dictionary_encode(),
        "table of one column": pa.table({"length": numbers}),
        "record batch": pa.record_batch({"length": numbers}),
        "pandas series": frame["length"],
        "pandas nullable": frame["length"].astype("Int64"),
        "pandas arrow": frame["length"].astype("int16[pyarrow]"),
        "pandas frame": frame,
        "polars series": pl.Series(LENGTHS),
        "polars chunks": pl.concat([pl.Series(LENGTHS[:4]), pl.Series(LENGTHS[4:])], rechunk=False),
        "polars frame": pl.DataFrame({"length": LENGTHS}, schema={"length": pl.UInt16}),
        "duckdb relation": database.sql(f"select unnest({LENGTHS}) as length"),
        "duckdb arrow": database.sql("select unnest(" + str(LENGTHS) + ")::utinyint as length").to_arrow_table()[
            "length"
        ],
        "datasets column": datasets.Dataset.from_dict({"length": LENGTHS})["length"],
    }


@pytest.mark.parametrize("kind", list(inputs()))
def test_every_kind_of_integers_gives_the_same_packs(kind: str) -> None:
    assert packs_of(packsort.plan(inputs()[kind], 100)) == EXPECTED


@given(st.lists(st.integers(1, 127), max_size=60), st.integers(127, 300))
@settings(max_examples=100, deadline=None)
def test_arrays_columns_and_lists_of_every_width_give_equal_plans(lengths: list[int], max_length: int) -> None:
    plan = packsort.plan(lengths, max_length)
    for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"):
        assert packsort.plan(np.array(lengths, name), max_length) == plan
        assert packsort.plan(pa.array(lengths, name), max_length) == plan


@given(cases(), st.lists(st.integers(0, 200), max_size=5), st.sampled_from([pa.int16(), pa.uint32(), pa.int64()]))
@settings(max_examples=100, deadline=None)
def test_chunks_change_nothing(case: tuple[list[int], int], cuts: list[int], kind: pa.DataType) -> None:
    lengths, max_length = case
    edges = [0, *sorted(min(cut, len(lengths)) for cut in cuts), len(lengths)]
    chunks = [pa.array(lengths[a:b], kind) for a, b in pairwise(edges)]
    assert packsort.plan(pa.chunked_array(chunks), max_length) == packsort.plan(lengths, max_length)


@pytest.mark.parametrize("make", [np.array, pa.array, pl.Series])
def test_arrow_and_numpy_input_is_not_copied(make: object) -> None:
    lengths = make(np.full(20_000_000, 5, np.int64))  # type: ignore[operator]
    packsort.plan(lengths[:10], 5)
    before = psutil.Process().memory_info().rss
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.is_set():
            peak = max(peak, psutil.Process().memory_info().rss)
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    plan = packsort.plan(lengths, 5)
    done.set()
    watcher.join()
    assert plan.num_packs == 20_000_000
    assert peak - before < 120e6, "the plan's own ids take 80 MB, a copy of the lengths would take 160 MB more"


CODE = """
import numpy as np, packsort
lengths = np.clip(np.random.default_rng(1).lognormal(5.8, 1, 300_000), 1, 8192).astype(np.int32)
for seed in (None, 3):
    plan = packsort.plan(lengths, 8192, seed=seed)
    print(plan.fingerprint, hash(plan.sequence_ids.tobytes()), hash(plan.pack_offsets.tobytes()))
"""


def test_any_number_of_threads_gives_the_same_plan() -> None:
    said = set()
    for threads in ("1", "2", "5"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": "0"}
        said.add(subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, check=True).stdout)
    assert len(said) == 1


def test_the_interpreter_goes_on_while_a_plan_is_made() -> None:
    lengths = np.random.default_rng(0).integers(1, 8192, 10_000_000)
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    before = ticks
    packsort.plan(lengths, 8192, seed=0).sequence_ids  # noqa: B018
    during = ticks - before
    done.set()
    thread.join()
    assert during >= 5


def _sum_of_ids(queue: object) -> None:
    queue.put(int(packsort.plan(np.full(200_000, 3), 7, seed=0).sequence_ids.sum()))  # type: ignore[attr-defined]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_of_a_process_that_planned_plans_too() -> None:
    packsort.plan(np.full(200_000, 3), 7)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_sum_of_ids, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == 200_000 * 199_999 // 2
    child.join()


def test_patterns_say_which_lengths_share_a_pack() -> None:
    plan = packsort.plan([4, 4, 4, 4, 3, 3], 8)
    assert plan.patterns.to_pylist() == [
        {"pattern": 0, "repeat": 2, "length": 4, "copies": 2},
        {"pattern": 1, "repeat": 1, "length": 3, "copies": 2},
    ]
    sums = pc.sum(pc.multiply(plan.patterns["repeat"], plan.patterns["copies"])).as_py()
    assert sums == plan.num_sequences


def test_epochs_hand_out_other_ids_in_another_order() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 5000)
    plan = packsort.plan(lengths, 128, seed=0)
    first, second = plan.with_epoch(1), plan.with_epoch(2)
    assert first.num_packs == second.num_packs == plan.num_packs
    assert packs_of(first) != packs_of(second)
    assert packs_of(first) == packs_of(packsort.plan(lengths, 128, seed=0, epoch=1))
    assert packs_of(packsort.plan(lengths, 128, seed=1)) != packs_of(plan)
    textbook = packsort.plan(lengths, 128)
    assert packs_of(textbook.with_epoch(0)) == packs_of(textbook)
    assert packs_of(textbook.with_epoch(1)) == packs_of(first)


def test_a_seed_does_not_leave_packs_in_the_order_of_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 20_000)
    plan = packsort.plan(lengths, 1000, seed=0)
    first = np.array([lengths[ids].max() for ids in plan])
    assert abs(np.corrcoef(np.arange(len(first)), first)[0, 1]) < 0.05


def test_saved_plans_come_back(tmp_path: object) -> None:
    lengths = np.random.default_rng(0).integers(1, 600, 5000)
    plan = packsort.plan(lengths, 512, overlong="drop", seed=3, epoch=2)
    path = tmp_path / "plan.arrow"  # type: ignore[operator]
    plan.save(path)
    again = packsort.load_plan(path)
    assert again == plan
    assert hash(again) == hash(plan)
    assert packs_of(again) == packs_of(plan)
    assert (again.num_dropped, again.tokens_lost) == (plan.num_dropped, plan.tokens_lost)
    assert packs_of(again.with_epoch(0)) == packs_of(plan.with_epoch(0))
    assert packs_of(pickle.loads(pickle.dumps(plan))) == packs_of(plan)
    assert os.listdir(tmp_path) == ["plan.arrow"]  # type: ignore[call-overload]


def test_damaged_plans_are_refused(tmp_path: object) -> None:
    path = tmp_path / "plan.arrow"  # type: ignore[operator]
    packsort.plan(list(range(1, 500)), 600, seed=1).save(path)
    whole = path.read_bytes()
    with pytest.raises(packsort.SourceNotFoundError, match="no saved plan `"):
        packsort.load_plan(tmp_path / "none.arrow")  # type: ignore[operator]
    for at in range(200, len(whole), 97):
        path.write_bytes(whole[:at])
        with pytest.raises(packsort.DamagedError, match="not a saved plan"):
            packsort.load_plan(path)
    changed = bytearray(whole)
    where = whole.index(np.arange(3, dtype=np.uint32).tobytes())  # the ids
    changed[where] ^= 1
    path.write_bytes(changed)
    with pytest.raises(packsort.DamagedError, match="was changed after it was saved"):
        packsort.load_plan(path)


def test_repr_is_short_and_says_the_most() -> None:
    assert repr(packsort.plan(LENGTHS, 100, seed=4)) == (
        "Plan(11 sequences, 482 tokens -> 5 packs of 100, efficiency 96.40 %, ffd, seed 4)"
    )


def test_no_lengths_make_an_empty_plan() -> None:
    for nothing in (
        [],
        np.array([], np.int64),
        pa.array([], pa.int32()),
        pa.chunked_array([], pa.int8()),
        np.array([]),
    ):
        plan = packsort.plan(nothing, 10)
        assert (plan.num_packs, plan.efficiency, plan.lower_bound, packs_of(plan)) == (0, 1.0, 0, [])


WAYS = "pass overlong='drop', 'truncate' or 'split'"


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        (
            [3, 0],
            "sequence 1 has length 0; every length must be at least 1: pass empty='drop' to leave empty sequences out",
        ),
        (pa.chunked_array([[1, 2], [3, -7]]), "sequence 3 has length -7; every length must be at least 1"),
        (
            np.array([2**63 + 5], np.uint64),
            f"1 of 1 sequence (100 %) is longer than 10 tokens; it has {2**63 + 5:,} (sequence 0): {WAYS}",
        ),
        ([1, 11], f"1 of 2 sequences (50 %) is longer than 10 tokens; it has 11 (sequence 1): {WAYS}"),
        (pa.array([1, None, 3]), "lengths has a null at sequence 1; every sequence needs a length"),
        (pl.Series([1, 2, None]), "lengths has a null at sequence 2; every sequence needs a length"),
        ([4, None], "lengths has a null at sequence 1; every sequence needs a length"),
        ([2**70], f"sequence 0 has length {2**70}, more than 64 bits hold"),
    ],
)
def test_wrong_lengths_are_named_with_their_row(lengths: object, message: str) -> None:
    with pytest.raises(packsort.LengthError) as caught:
        packsort.plan(lengths, 10)
    assert str(caught.value) == message
    assert caught.value.row == int(re.findall(r"sequence (\d+)", message)[0])
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (str(copied), copied.row, copied.length) == (message, caught.value.row, caught.value.length)


@pytest.mark.parametrize(
    ("lengths", "part"),
    [
        ([1.5, 2], "got 1.5 at sequence 0"),
        ([True], "got True at sequence 0"),
        (["7"], "got '7' at sequence 0"),
        (np.array([1.0]), "of shape (n,), got float64 of shape (1,)"),
        (np.array([[1]]), "of shape (n,), got int64 of shape (1, 1)"),
        (pa.array([1.0]), "lengths must be integers, int8 to int64 or uint8 to uint64, got double"),
        (pl.Series([1.0]), "got double"),
        (pa.array([True]), "got bool"),
        (pa.array([[1]]), "pass pyarrow.compute.list_value_length(column)"),
        (pa.table({"a": [1], "b": [2]}), "lengths must be one column of integers, got a table of columns `a`, `b`"),
        (pl.DataFrame({"a": [1], "b": [2]}), "lengths must be one column of integers, got a table of columns `a`, `b`"),
        ("123", "got str"),
        (7, "got int"),
        ({"length": [1]}, "got dict"),
    ],
)
def test_what_is_not_integers_is_refused(lengths: object, part: str) -> None:
    with pytest.raises(packsort.LengthTypeError) as caught:
        packsort.plan(lengths, 10)
    assert part in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 0}, "max_length must be between 1 and 2**31 - 1, got 0"),
        ({"max_length": -4}, "max_length must be between 1 and 2**31 - 1, got -4"),
        ({"max_length": 2**31}, "max_length must be between 1 and 2**31 - 1, got 2147483648"),
        ({"max_length": 8.0}, "max_length must be an integer, got 8.0"),
        ({"max_length": True}, "max_length must be an integer, got True"),
        ({"max_length": 8, "seed": -1}, "seed must be between 0 and 2**64 - 1, got -1"),
        ({"max_length": 8, "epoch": None}, "epoch must be an integer, got None"),
        (
            {"max_length": 8, "overlong": "cut"},
            "overlong must be one of 'error', 'drop', 'truncate', 'split', got 'cut'",
        ),
        (
            {"max_length": 8, "strategy": "best"},
            "strategy must be one of 'ffd', 'bfd', 'hybrid', 'padding', 'random', 'in_order', 'optimal' "
            "('greedy' is 'ffd'), got 'best'",
        ),
    ],
)
def test_wrong_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(packsort.OptionError) as caught:
        packsort.plan([1, 2], **options)  # type: ignore[arg-type]
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


@given(st.lists(st.integers(1, 40), max_size=80), st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_dropping_and_truncating_count_what_is_lost(lengths: list[int], max_length: int) -> None:
    dropped = packsort.plan(lengths, max_length, overlong="drop")
    assert sorted(dropped.sequence_ids.tolist()) == [i for i, n in enumerate(lengths) if n <= max_length]
    assert dropped.num_dropped == sum(n > max_length for n in lengths)
    assert dropped.num_tokens + dropped.tokens_lost == sum(lengths)
    cut = packsort.plan(lengths, max_length, overlong="truncate")
    assert packs_of(cut) == first_fit_decreasing([min(n, max_length) for n in lengths], max_length)
    assert cut.num_truncated == dropped.num_dropped
    assert cut.num_tokens + cut.tokens_lost == sum(lengths)
    assert max([*cut.piece_lengths.tolist(), 0]) <= max_length


def test_a_pack_outside_the_plan_is_an_index_error() -> None:
    plan = packsort.plan(LENGTHS, 100)
    assert plan[-1].tolist() == EXPECTED[-1]
    for index in (len(plan), -len(plan) - 1):
        with pytest.raises(IndexError, match=f"pack {index} is not in the plan"):
            plan[index]


@pytest.mark.parametrize("index", [True, np.bool_(False), 1.0, "1", None, (0, 1)])
def test_what_is_no_index_is_a_type_error(index: Any) -> None:
    with pytest.raises(TypeError, match=re.escape(f"pack indices must be integers or slices, got {index!r}")):
        packsort.plan(LENGTHS, 100)[index]


@given(cases(), st.slices(30), st.sampled_from(["ffd", "random"]), st.none() | st.just(3))
@settings(max_examples=60, deadline=None)
def test_slices_are_lists_of_packs(
    case: tuple[list[int], int], part: slice, strategy: packsort.options.Strategy, seed: int | None
) -> None:
    plan = packsort.plan(*case, strategy=strategy, seed=seed)
    assert [ids.tolist() for ids in plan[part]] == packs_of(plan)[part]


@pytest.mark.parametrize("strategy", ["ffd", "random"])
def test_packs_are_of_one_type_and_read_only(strategy: packsort.options.Strategy) -> None:
    plan = packsort.plan(LENGTHS, 100, strategy=strategy)
    found = [plan[0], plan[-1], plan[np.int64(1)], plan[torch.tensor(1)], *plan[1:3], *plan[::2], *plan]
    for ids in (*found, plan.sequence_ids):
        assert ids.dtype == np.uint32
        with pytest.raises(ValueError, match="read-only"):
            ids[...] = 0
    assert plan[0] is not plan[0], "each array is the caller's"


def test_planning_needs_numpy_alone_and_imports_no_more() -> None:
    code = """
    import sys

    class OnlyNumPy:  # a machine where nothing else is installed
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] not in {*sys.stdlib_module_names, "packsort", "numpy"}:
                raise ModuleNotFoundError(f"No module named '{name}'", name=name)

    def imported():
        names = ("numpy", "pyarrow", "rich", "xxhash", "pandas", "torch", "transformers")
        return [name for name in names if name in sys.modules]

    only = OnlyNumPy()
    sys.meta_path.insert(0, only)
    import packsort
    print(imported())
    packsort.plan([3, 5, 2, 2], 7, seed=0).sequence_ids
    import numpy as np, pickle, tempfile
    plan = packsort.plan(np.array([3, 5, 2, 2]), 7)
    plan.sequence_ids, plan[0], list(plan), repr(plan), pickle.loads(pickle.dumps(plan)), plan.with_epoch(1)
    packsort.plan(np.array([3, 5]), 7, strategy="random").piece_lengths
    packsort.plan_counts(np.array([0, 3, 5]), 7).list_packs(0, 2)
    packsort.schedule(plan, 2)
    groups, flags = np.array([0, 5, 5]), np.array([True, False, False])
    packsort.plan(np.array([3, 5, 2]), 7, groups=groups, alone=flags).sequence_ids
    packsort.plan([3, 5, 2], 7, strategy="hybrid", splittable=[True, True, False], groups=[1, 1, 0]).sequence_ids
    try:
        packsort.plan(np.array([3, 9]), 7)
    except packsort.LengthError:
        print(imported())
    sys.meta_path.remove(only)
    packsort.plan(np.array([3, 5]), 7, groups=np.array([0, 9])).patterns
    with tempfile.TemporaryDirectory() as folder:
        plan.save(folder + "/plan.arrow")
        assert packsort.load_plan(folder + "/plan.arrow") == plan
    print(imported())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines() == ["[]", "['numpy']", "['numpy', 'pyarrow', 'xxhash']"]


class Waiting:
    """Plan whose packs take as long to compute as the block lasts, as those of many sequences take a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.plan = packsort.plan(LENGTHS, 100)
        self.started, self.stop = threading.Event(), threading.Event()
        list_packs = packsort.Plan.list_packs

        def wait(plan: packsort.Plan, start: int, stop: int) -> Any:
            if plan is self.plan and threading.current_thread() is self.thread:
                self.started.set()
                assert self.stop.wait(60)
            return list_packs(plan, start, stop)

        monkeypatch.setattr(packsort.Plan, "list_packs", wait)
        self.thread = threading.Thread(target=lambda: self.plan.sequence_ids)

    def __enter__(self) -> packsort.Plan:
        self.thread.start()
        assert self.started.wait(60)
        return self.plan

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()


def test_plans_do_not_wait_for_the_packs_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    with Waiting(monkeypatch) as computing:
        other = packsort.plan([3, 4, 5], 8)
        assert other.sequence_ids.tolist() == [2, 0, 1]
        first = computing.sequence_ids
    assert computing.sequence_ids is first, "threads that ask at once see one array"


def _send_ids(plan: packsort.Plan, queue: Any) -> None:
    queue.put(plan.sequence_ids.tolist())


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_child_forked_while_a_thread_computes_packs_has_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    with Waiting(monkeypatch) as plan:
        child = context.Process(target=_send_ids, args=(plan, queue))
        child.start()
        try:
            assert queue.get(timeout=60) == [row for pack in EXPECTED for row in pack]
        finally:
            child.kill()
            child.join()


def test_memory_does_not_grow() -> None:
    lengths = np.random.default_rng(0).integers(1, 512, 50_000)
    process = psutil.Process()

    def work() -> None:
        for epoch in range(60):
            plan = packsort.plan(lengths, 512, seed=0, epoch=epoch)
            plan.sequence_ids  # noqa: B018
            with pytest.raises(packsort.LengthError):
                packsort.plan(lengths, 300)

    work()
    before = process.memory_info().rss
    for _ in range(5):
        work()
    assert process.memory_info().rss - before < 8e6

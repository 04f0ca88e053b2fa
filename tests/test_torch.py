from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import DataCollatorWithFlattening

import packsort
from packed_rows import MAX_LENGTH, packed, rows
from packsort.torch import Batcher, PackedCollator, PackedDataset, PackedLoader, PackedStream

# Enough tokens that the core uses more than one thread for a batch (`PARALLEL_FROM`).
LARGE = 1 << 17


def sequences(pack):
    """Split a pack into sequences, each with its labels as the shard holds them."""
    cuts = np.cumsum(pack["seq_lengths"])[:-1]
    ids = np.split(pack["input_ids"], cuts)
    return list(zip(ids, np.split(pack["labels"], cuts) if "labels" in pack else ids, strict=True))


def plain_batch(packs):
    """Build the flat batch of packs straight from its definition."""
    input_ids, labels, position_ids, seq_idx, ends = [], [], [], [], [0]
    for number, (ids, marks) in enumerate(one for pack in packs for one in sequences(pack)):
        input_ids += ids.tolist()
        labels += [-100, *marks.tolist()[1:]]
        position_ids += range(len(ids))
        seq_idx += [number] * len(ids)
        ends.append(len(input_ids))
    longest = max(np.diff(ends)).item()
    return {
        "input_ids": torch.tensor([input_ids]),
        "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([position_ids]),
        "seq_idx": torch.tensor([seq_idx], dtype=torch.int32),
        "cu_seq_lens_q": torch.tensor(ends, dtype=torch.int32),
        "cu_seq_lens_k": torch.tensor(ends, dtype=torch.int32),
        "max_length_q": longest,
        "max_length_k": longest,
    }


def same(batch, expected):
    """Assert that two batches have the same keys, types, shapes and values."""
    assert batch.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert batch[name].dtype == value.dtype, name
            assert torch.equal(batch[name], value), name
        else:
            assert type(batch[name]) is int
            assert batch[name] == value, name


def large_directory(folder):
    ids = np.arange(LARGE, dtype=np.int32)
    return packed(folder, pa.table({"input_ids": pa.array(np.split(ids, 64))}), LARGE // 8)


# Contents of a batch


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("format", ["arrow", "parquet"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_are_the_packs_in_order_built_plainly(tmp_path, labels, format, batch_size):
    shards = packsort.open_shards(packed(tmp_path, rows(labels=labels), format=format, shard_size="2KB"))
    loader = PackedLoader(shards, batch_size=batch_size, seed=None)
    batches = list(loader)
    assert len(shards.manifest.shards) > 1
    assert len(batches) == len(loader) == -(-len(shards) // batch_size)
    for i, batch in enumerate(batches):
        packs = [shards[j % len(shards)] for j in range(i * batch_size, (i + 1) * batch_size)]
        same(batch, plain_batch(packs))


def test_a_batch_has_exactly_these_types_and_shapes(tmp_path):
    batch = next(iter(PackedLoader(packed(tmp_path), batch_size=2)))
    tokens, sequences = batch["input_ids"].shape[1], len(batch["cu_seq_lens_q"]) - 1
    found = {name: (v.dtype, tuple(v.shape)) for name, v in batch.items() if isinstance(v, torch.Tensor)}
    assert found == {
        "input_ids": (torch.int64, (1, tokens)),
        "labels": (torch.int64, (1, tokens)),
        "position_ids": (torch.int64, (1, tokens)),
        "cu_seq_lens_q": (torch.int32, (sequences + 1,)),
        "cu_seq_lens_k": (torch.int32, (sequences + 1,)),
        "seq_idx": (torch.int32, (1, tokens)),
    }
    assert batch.keys() - found.keys() == {"max_length_q", "max_length_k"}
    without = next(iter(PackedLoader(packed(tmp_path / "other"), batch_size=2, seq_idx=False)))
    assert without.keys() == batch.keys() - {"seq_idx"}


def test_last_batch_is_filled_up_with_the_first_packs(tmp_path):
    shards = packsort.open_shards(packed(tmp_path))
    size = next(n for n in range(2, len(shards)) if len(shards) % n)
    loader = PackedLoader(shards, batch_size=size, seed=None)
    *_, last = loader
    assert len(loader) == len(shards) // size + 1
    left = range(len(shards) - len(shards) % size, len(shards))
    same(last, plain_batch([shards[i] for i in [*left, *range(size - len(left))]]))
    assert len(next(iter(PackedLoader(shards, batch_size=len(shards))))["cu_seq_lens_q"]) == 61


def test_a_batch_filled_by_several_threads_is_the_same(tmp_path):
    shards = packsort.open_shards(large_directory(tmp_path))
    (batch,) = PackedLoader(shards, batch_size=len(shards), seed=None)
    assert batch["input_ids"].shape == (1, LARGE)
    same(batch, plain_batch(list(shards)))


def test_batches_are_what_transformers_collates(tmp_path):
    shards = packsort.open_shards(packed(tmp_path))
    collate = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True)
    for batch, pack in zip(PackedLoader(shards, seed=None), shards, strict=True):
        same(batch, collate([{"input_ids": i.tolist(), "labels": m.tolist()} for i, m in sequences(pack)]))


def test_tensors_can_be_written_without_harm(tmp_path):
    loader = PackedLoader(packed(tmp_path), seed=None)
    for batch in loader:
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                value.fill_(1)
    assert loader.shards.verify().ok
    for batch, pack in zip(loader, loader.shards, strict=True):
        assert batch["input_ids"][0].tolist() == pack["input_ids"].tolist()


def test_every_pass_starts_at_the_first_pack(tmp_path):
    loader = PackedLoader(packed(tmp_path), seed=None)
    next(iter(loader))
    for one, other in zip(loader, loader, strict=True):
        same(one, other)


# Refusals


def test_layout_unknown_names_the_allowed(tmp_path):
    with pytest.raises(packsort.OptionError, match=re.escape("layout must be one of 'flat', 'rows', 'megatron'")):
        PackedLoader(packed(tmp_path), layout="rows_")


@pytest.mark.parametrize(
    ("size", "message"),
    [
        (0, "batch_size must be at least 1, got 0"),
        (-1, "batch_size must be at least 1, got -1"),
        (1.5, "batch_size must be an integer, got 1.5"),
        (True, "batch_size must be an integer, got True"),
        (None, "batch_size must be an integer, got None"),
    ],
)
def test_batch_size_that_is_no_size_is_named(tmp_path, size, message):
    with pytest.raises(packsort.OptionError, match=re.escape(message)):
        PackedLoader(packed(tmp_path), batch_size=size)


def test_batch_size_over_the_packs_names_both_numbers(tmp_path):
    path = packed(tmp_path)
    packs = len(packsort.open_shards(path))
    message = f"batch_size must be at most {packs}, the number of packs in `{path}`, got 10000"
    with pytest.raises(packsort.OptionError, match=re.escape(message)):
        PackedLoader(path, batch_size=10_000)


def test_max_length_other_than_packed_with_names_both(tmp_path):
    path = packed(tmp_path)
    assert PackedLoader(path, max_length=MAX_LENGTH).max_length == PackedLoader(path).max_length == MAX_LENGTH
    with pytest.raises(packsort.OptionError, match=f"max_length must be {MAX_LENGTH}, as .* has it, or None, got 32"):
        PackedLoader(path, max_length=32)


def test_max_length_is_needed_where_nothing_is_packed_yet(tmp_path):
    message = "max_length must be given to pack a Table on the fly; only a packed directory knows its own"
    with pytest.raises(packsort.OptionError, match=message):
        PackedLoader(rows())
    (tmp_path / "rows.parquet").touch()
    with pytest.raises(packsort.OptionError, match=r"max_length must be given to pack source `.*rows\.parquet` on"):
        PackedLoader(tmp_path / "rows.parquet")


def test_what_is_no_packed_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no packed directory"):
        PackedLoader(tmp_path / "nowhere")
    with pytest.raises(packsort.DamagedError, match="it is no packed directory, or packing it was not finished"):
        PackedLoader(tmp_path)


def test_damaged_pack_is_named(tmp_path):
    class Damaged(packsort.Shards):
        def take(self, numbers, **options):
            packs = super().take(numbers, **options)
            wrong = [pack | {"seq_lengths": pack["seq_lengths"] + 1} for pack in packs]
            return [one if number == 2 else pack for number, pack, one in zip(numbers, packs, wrong, strict=True)]

    path = packed(tmp_path)
    batches = iter(PackedLoader(Damaged(path), seed=None))
    next(batches)
    next(batches)
    with pytest.raises(
        packsort.DamagedError, match=r"batch 2, packs 2 of `.*`: pack 0 of the batch is damaged: seq_lengths"
    ):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


# Options


CALLS = {
    "PackedLoader": lambda source, **options: PackedLoader(source, 64, **options),
    "PackedDataset": lambda source, **options: PackedDataset(source, 64, **options),
    "PackedStream": lambda source, **options: PackedStream(source, 64, **options),
    "PackedCollator": lambda source, **options: PackedCollator("rows", 64, **options),
    "Batcher": lambda source, **options: Batcher("rows", 64, **options),
}


class Unopened:
    """Source that fails on every access."""

    def __getattribute__(self, name):
        raise AssertionError(f"{name} was looked up before the options were checked")


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("option", "hint"),
    [("stratgy", "strategy"), ("max_sequence", "max_sequences"), ("batchsize", "batch_size"), ("colour", None)],
)
def test_unknown_options_are_refused_by_the_name_that_was_called(name, option, hint):
    with pytest.raises(TypeError) as caught:
        CALLS[name](Unopened(), **{option: 3})
    assert str(caught.value).startswith(f"{name}() got an unexpected keyword argument {option!r}")
    if hint == "max_sequences":
        assert str(caught.value).endswith("; did you mean 'max_sequences'?")
    if hint in ("strategy", "batch_size") and name == "PackedLoader":
        assert str(caught.value).endswith(f"; did you mean {hint!r}?")


@pytest.mark.parametrize(
    ("name", "option"),
    [("PackedDataset", "layout"), ("PackedStream", "plan"), ("PackedCollator", "seed"), ("Batcher", "overlong")],
)
def test_options_of_another_callable_are_refused(name, option):
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument '{option}'"):
        CALLS[name](Unopened(), **{option: None})


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("PackedLoader", {"strategy": "best"}, "strategy must be one of"),
        ("PackedLoader", {"labels": "both"}, "labels must be one of"),
        ("PackedLoader", {"layout": "rows", "static_shapes": True}, "static_shapes does not go with layout='rows'"),
        ("PackedLoader", {"tail": "keep"}, "tail must be one of"),
        ("PackedLoader", {"separator": "x"}, "separator='x' is text, and there is no tokenizer"),
        ("PackedDataset", {"overlong": "cut"}, "overlong must be one of"),
        ("PackedDataset", {"epoch": -1}, "epoch must be between 0 and"),
        ("PackedDataset", {"max_sequences": True}, "max_sequences must be an integer"),
        ("PackedStream", {"overlong": "split"}, "overlong must be one of 'error', 'drop', 'truncate'"),
    ],
)
def test_options_are_checked_before_a_source_is_looked_at(name, option, message):
    with pytest.raises(packsort.OptionError, match=re.escape(message)):
        CALLS[name](Unopened(), **option)


def test_max_length_is_the_second_argument_everywhere(tmp_path):
    table = rows()
    same(next(iter(PackedLoader(table, MAX_LENGTH))), next(iter(PackedLoader(table, max_length=MAX_LENGTH))))
    pack = PackedDataset(table, MAX_LENGTH)[0]
    same(PackedCollator("rows", MAX_LENGTH)([pack]), Batcher("rows", max_length=MAX_LENGTH)([pack]))
    assert PackedStream([[1]], 4).max_length == Batcher("rows", 4).max_length == 4
    for missing in (Batcher, PackedCollator):
        with pytest.raises(packsort.OptionError, match="max_length must be an integer, got None"):
            missing("rows")


def test_integers_of_numpy_and_torch_are_integers():
    for three in (np.int64(3), np.uint8(3), torch.tensor(3)):
        loader = PackedLoader(rows(), np.int32(MAX_LENGTH), batch_size=three, seed=three, prefetch=three)
        assert (loader.max_length, loader.batch_size, loader.prefetch) == (MAX_LENGTH, 3, 3)
        assert type(loader.state_dict()["seed"]) is int
        assert Batcher("rows", three).max_length == PackedStream([[1]], three).max_length == 3


def test_pad_token_id_is_of_all_padding(tmp_path):
    options = {"layout": "rows", "pad_token_id": 101, "seed": None}
    for loader in (
        PackedLoader(rows(), MAX_LENGTH, pad_to_multiple_of=4, **options),
        PackedLoader(packed(tmp_path, pad_to_multiple_of=4, pad_token_id=101), **options),
    ):
        for batch in loader:
            assert (batch["input_ids"][batch["segment_ids"] == 0] == 101).all()


def test_loaders_with_a_plan_or_a_callback_can_be_pickled():
    table = rows()
    plan = packsort.plan([len(one) for one in table["input_ids"].to_pylist()], MAX_LENGTH, seed=0, max_sequences=2)
    for loader in (PackedLoader(table, plan=plan), PackedLoader(table, MAX_LENGTH, on_progress=lambda *_: None)):
        again = pickle.loads(pickle.dumps(loader))
        assert again.state_dict() == loader.state_dict()
        for one, other in zip(again, loader, strict=True):
            same(one, other)


def test_a_stream_is_sent_to_packed_stream():
    for stream in (({"input_ids": [1]} for _ in range(3)), datasets.Dataset(rows()).to_iterable_dataset()):
        with pytest.raises(packsort.SourceError, match=r"source is a stream .*`packsort\.torch\.PackedStream`"):
            PackedLoader(stream, 8)


# Processes


FORK_AFTER_THREADS = """
import os, signal, sys
from packsort import _core
from packsort.torch import PackedLoader

def whole():
    (batch,) = PackedLoader(loader.shards, batch_size=len(loader.shards), prefetch=0)
    return batch["input_ids"].sum().item(), batch["labels"].sum().item()

loader = PackedLoader(sys.argv[1])
expected = whole()
threads = _core.num_threads()
assert len(os.listdir("/proc/self/task")) > threads  # the pool is there
child = os.fork()
if not child:
    signal.alarm(20)  # kills a child that waits for threads it does not have
    ok = len(os.listdir("/proc/self/task")) == 1 and whole() == expected and whole() == expected
    os._exit(0 if ok and _core.num_threads() == threads else 1)
_, status = os.waitpid(child, 0)
assert whole() == expected  # the parent's pool still works
print("child", status)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_forked_child_has_threads_of_its_own(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", FORK_AFTER_THREADS, large_directory(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "RAYON_NUM_THREADS": "3", "OMP_NUM_THREADS": "1"},
    )
    assert found.stdout == "child 0\n", found.stderr


class Batches(Dataset):
    """Dataset whose items are the first and last batch of a loader."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return 2

    def __getitem__(self, index):
        batches = list(self.loader)
        return os.getpid(), [batches[0], batches[-1]]


# Python 3.12 and later warn of forks in a process with threads.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("start", "format"), [("fork", "arrow"), ("fork", "parquet"), ("spawn", "arrow")])
def test_loader_works_inside_dataloader_workers(tmp_path, start, format):
    table = pa.table({"input_ids": pa.array(np.split(np.arange(LARGE, dtype=np.int32), 64))})
    shards = packsort.open_shards(packed(tmp_path, table, LARGE // 8, format=format))
    loader = PackedLoader(shards, batch_size=len(shards), seed=None)
    (expected,) = loader  # the parent uses the thread pool first
    context = multiprocessing.get_context(start)
    # one worker is enough under spawn, which imports torch again
    workers = DataLoader(
        Batches(loader),
        batch_size=None,
        num_workers=2 if start == "fork" else 1,
        multiprocessing_context=context,
        timeout=60,
    )
    for process, (first, last) in workers:
        assert process != os.getpid()
        same(first, expected)
        same(last, expected)


def test_shards_and_loader_are_pickled_by_their_path(tmp_path):
    loader = PackedLoader(packed(tmp_path), batch_size=2, seed=None)
    list(loader)  # mapped files are not pickled
    data = pickle.dumps(loader)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert repr(again) == repr(loader)
    for one, other in zip(again, loader, strict=True):
        same(one, other)

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import DataCollatorWithFlattening

import packsort
from packed_rows import MAX_LENGTH, packed, rows
from packsort.torch import PackedLoader

# More tokens than a batch may have before it is filled by more than one thread (`PARALLEL_FROM` in the core).
LARGE = 1 << 17


def sequences(pack):
    """The sequences of a pack, each with its labels as the shard has them."""
    cuts = np.cumsum(pack["seq_lengths"])[:-1]
    ids = np.split(pack["input_ids"], cuts)
    return list(zip(ids, np.split(pack["labels"], cuts) if "labels" in pack else ids, strict=True))


def plain_batch(packs):
    """The flat batch of some packs, built as its definition reads."""
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
    """Says that two batches have the same keys, in types, shapes and values."""
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


# What a batch holds


@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("format", ["arrow", "parquet"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_are_the_packs_in_order_built_plainly(tmp_path, labels, format, batch_size):
    shards = packsort.open_shards(packed(tmp_path, rows(labels=labels), format=format, shard_size="2KB"))
    loader = PackedLoader(shards, batch_size=batch_size, seed=None, seq_idx=True)
    batches = list(loader)
    assert len(shards.manifest.shards) > 1
    assert len(batches) == len(loader) == -(-len(shards) // batch_size)
    for i, batch in enumerate(batches):
        packs = [shards[j % len(shards)] for j in range(i * batch_size, (i + 1) * batch_size)]
        same(batch, plain_batch(packs))


def test_a_batch_has_exactly_these_types_and_shapes(tmp_path):
    batch = next(iter(PackedLoader(packed(tmp_path), batch_size=2, seq_idx=True)))
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
    assert "seq_idx" not in next(iter(PackedLoader(packed(tmp_path / "other"))))


def test_last_batch_is_filled_up_with_the_first_packs(tmp_path):
    shards = packsort.open_shards(packed(tmp_path))
    size = next(n for n in range(2, len(shards)) if len(shards) % n)
    loader = PackedLoader(shards, batch_size=size, seed=None, seq_idx=True)
    *_, last = loader
    assert len(loader) == len(shards) // size + 1
    left = range(len(shards) - len(shards) % size, len(shards))
    same(last, plain_batch([shards[i] for i in [*left, *range(size - len(left))]]))
    assert len(next(iter(PackedLoader(shards, batch_size=len(shards))))["cu_seq_lens_q"]) == 61


def test_a_batch_filled_by_several_threads_is_the_same(tmp_path):
    shards = packsort.open_shards(large_directory(tmp_path))
    (batch,) = PackedLoader(shards, batch_size=len(shards), seed=None, seq_idx=True)
    assert batch["input_ids"].shape == (1, LARGE)
    same(batch, plain_batch(list(shards)))


def test_batches_are_what_transformers_collates(tmp_path):
    shards = packsort.open_shards(packed(tmp_path))
    collate = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True)
    for batch, pack in zip(PackedLoader(shards, seed=None, seq_idx=True), shards, strict=True):
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


# What is refused


def test_layout_unknown_names_the_allowed(tmp_path):
    with pytest.raises(packsort.OptionError, match=re.escape("layout is 'rows_', allowed are 'flat'")):
        PackedLoader(packed(tmp_path), layout="rows_")


@pytest.mark.parametrize("size", [0, -1, 10_000, 1.5, None])
def test_batch_size_outside_the_packs_names_both_numbers(tmp_path, size):
    path = packed(tmp_path)
    packs = len(packsort.open_shards(path))
    message = f"batch_size is {size!r}, allowed is 1 to {packs}, the number of packs in `{path}`"
    with pytest.raises(packsort.OptionError, match=re.escape(message)):
        PackedLoader(path, batch_size=size)


def test_max_length_other_than_packed_with_names_both(tmp_path):
    path = packed(tmp_path)
    assert PackedLoader(path, max_length=MAX_LENGTH).max_length == PackedLoader(path).max_length == MAX_LENGTH
    with pytest.raises(packsort.OptionError, match=f"max_length is 32, but .* is packed with max_length {MAX_LENGTH}"):
        PackedLoader(path, max_length=32)


def test_max_length_is_needed_where_nothing_is_packed_yet(tmp_path):
    message = "max_length is None, but the Table is to be packed on the fly: allowed is 1 and more"
    with pytest.raises(packsort.OptionError, match=message):
        PackedLoader(rows())
    (tmp_path / "rows.parquet").touch()
    with pytest.raises(packsort.OptionError, match=r"max_length is None, but the source `.*rows\.parquet` is to be"):
        PackedLoader(tmp_path / "rows.parquet")


def test_what_is_no_packed_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no packed directory"):
        PackedLoader(tmp_path / "nowhere")
    with pytest.raises(packsort.DamagedError, match="it is no packed directory, or packing it was not finished"):
        PackedLoader(tmp_path)


def test_damaged_pack_is_named(tmp_path):
    class Damaged(packsort.Shards):
        def __getitem__(self, index):
            pack = super().__getitem__(index)
            return pack | {"seq_lengths": pack["seq_lengths"] + 1} if index == 2 else pack

    path = packed(tmp_path)
    batches = iter(PackedLoader(Damaged(path), seed=None))
    next(batches)
    next(batches)
    with pytest.raises(packsort.DamagedError, match=r"batch 2, packs 2 of `.*`: pack 0 of the batch is damaged: seq_lengths"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)


# Imports and processes


def test_import_packsort_imports_no_framework():
    code = "import packsort, sys; print(sorted({'torch', 'transformers', 'datasets', 'ray'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "[]\n"


def test_missing_torch_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import packsort.torch"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "ImportError: packsort.torch needs PyTorch: pip install 'packsort[torch]'" in found.stderr


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
    """All batches of a loader as the items of a dataset."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self):
        return 2

    def __getitem__(self, index):
        batches = list(self.loader)
        return os.getpid(), [batches[0], batches[-1]]


# Python 3.12 and later warn of what this test is about.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("format", ["arrow", "parquet"])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_loader_works_inside_dataloader_workers(tmp_path, start, format):
    table = pa.table({"input_ids": pa.array(np.split(np.arange(LARGE, dtype=np.int32), 64))})
    shards = packsort.open_shards(packed(tmp_path, table, LARGE // 8, format=format))
    loader = PackedLoader(shards, batch_size=len(shards), seed=None, seq_idx=True)
    (expected,) = loader  # the parent uses the thread pool first
    context = multiprocessing.get_context(start)
    # one worker is enough under spawn, which imports torch anew
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
    loader = PackedLoader(packed(tmp_path), batch_size=2, seed=None, seq_idx=True)
    list(loader)  # mapped files stay behind
    data = pickle.dumps(loader)
    assert len(data) < 2000
    again = pickle.loads(data)
    assert repr(again) == repr(loader)
    for one, other in zip(again, loader, strict=True):
        same(one, other)

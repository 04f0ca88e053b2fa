"""`datasets` objects give the rows that a training loop would get from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
import packsort.hf
from packsort._options.input import InputConfig
from packsort.errors import OptionError, SourceError
from packsort.sources.hugging_face import selected
from packsort.sources.source import open_source
from packsort.torch import PackedDataset, PackedLoader, PackedStream


def rows(number: int, first: int = 0) -> dict[str, list[Any]]:
    return {
        "input_ids": [[i, *range(i % 5)] for i in range(first, first + number)],
        "text": [f"row {i}" for i in range(first, first + number)],
    }


def dataset(number: int = 30, files: int = 3) -> datasets.Dataset:
    """A dataset of several record batches."""
    parts = [datasets.Dataset.from_dict(rows(number // files, i * (number // files))) for i in range(files)]
    return datasets.concatenate_datasets(parts)


def read(source: Any, split: str | None = None) -> dict[str, list[Any]]:
    """All columns by `read`, which must equal `batches`."""
    opened = open_source(source, InputConfig(split=split))
    table = opened.read(opened.schema.names)
    batches = [batch for _, _, batch in opened.batches(opened.schema.names, 7)]
    assert pa.Table.from_batches(batches, table.schema).equals(table)
    assert opened.num_rows == len(table)
    return dict(table.to_pydict())


def says(*parts: str) -> str:
    return ".*".join(re.escape(part) for part in parts)


# Rows


@given(
    numbers=st.lists(st.integers(0, 29), min_size=1, max_size=60),
    again=st.lists(st.integers(0, 10**6), min_size=1, max_size=20),
    part=st.integers(1, 40),
)
@settings(deadline=None, max_examples=100)
def test_selected_rows_come_in_their_order(numbers, again, part):
    chosen = dataset().select(numbers)
    chosen = chosen.select([number % len(chosen) for number in again])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selected, "_PART_ROWS", part)
        assert read(chosen) == chosen[:]


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.shuffle(seed=1),
        lambda one: one.select([*range(30)][::-1]),
        lambda one: one.shard(4, 1, contiguous=False),
        lambda one: one.filter(lambda row: len(row["input_ids"]) > 2),
        lambda one: one.train_test_split(0.3, seed=0)["test"],
        lambda one: one.select(range(7, 21)).select(range(2, 9)),
        lambda one: one.shuffle(seed=1).select(range(5)).flatten_indices(),
        lambda one: datasets.concatenate_datasets([one.shuffle(seed=1), one.select([3])]),
        lambda one: datasets.interleave_datasets([one, one.shuffle(seed=2)]),
    ],
)
def test_rows_are_those_of_the_object(change):
    changed = change(dataset())
    assert read(changed) == changed[:]


def test_offsets_that_overflow_are_taken_in_parts(monkeypatch):
    """A join that refuses more than eight rows stands for strings of more than 2 GiB."""
    taken: list[int] = []

    def join(batches):
        taken.append(sum(batch.num_rows for batch in batches))
        if taken[-1] > 8:
            raise pa.ArrowInvalid("offset overflow while concatenating arrays")
        return pa.Table.from_batches(batches)

    monkeypatch.setattr(selected, "_join", join)
    batches = dataset().data.table.to_batches()
    starts = np.cumsum([0, *(batch.num_rows for batch in batches)])
    numbers = np.random.default_rng(0).permutation(30)
    parts = [*selected._take(batches, starts, numbers)]
    assert len(parts) == 4
    assert pa.concat_tables(parts)["text"].to_pylist() == [f"row {i}" for i in numbers]


def big_table(number: int) -> pa.Table:
    ids = pa.array(np.arange(number * 64, dtype=np.int32))
    return pa.table({"input_ids": pa.ListArray.from_arrays(pa.array(np.arange(number + 1, dtype=np.int32) * 64), ids)})


def test_contiguous_rows_are_not_copied():
    chosen = datasets.Dataset(big_table(10_000)).select([*range(1000, 9000)])
    before = pa.total_allocated_bytes()
    table = open_source(chosen).read(["input_ids"])
    assert pa.total_allocated_bytes() - before < 100_000
    assert table["input_ids"][0].as_py()[0] == 64_000


def test_shuffled_rows_cost_about_their_own_size(monkeypatch):
    monkeypatch.setattr(selected, "_PART_ROWS", 2_000)
    shuffled = datasets.Dataset(big_table(50_000)).shuffle(seed=0)
    held: list[int] = []
    take = selected._take
    monkeypatch.setattr(selected, "_take", lambda *given: held.append(pa.total_allocated_bytes()) or take(*given))
    before = pa.total_allocated_bytes()
    table = open_source(shuffled).read(["input_ids"])
    held.append(pa.total_allocated_bytes())
    assert len(held) > 20
    assert max(held) - before < 1.2 * table.nbytes


# Formats and transforms


@pytest.mark.parametrize("kind", [None, "numpy", "torch", "pandas", "polars", "arrow"])
def test_formats_do_not_change_values(kind):
    assert read(dataset().with_format(kind)) == dataset()[:]
    assert read(dataset().shuffle(seed=0).with_format(kind)) == dataset().shuffle(seed=0)[:]


def test_columns_of_a_format():
    one = dataset().with_format("numpy", columns=["input_ids"])
    assert list(read(one)) == ["input_ids"]
    assert read(one.shuffle(seed=0)) == {"input_ids": dataset().shuffle(seed=0)[:]["input_ids"]}
    assert list(read(dataset().with_format("numpy", columns=["input_ids"], output_all_columns=True))) == [
        "input_ids",
        "text",
    ]
    labelled = dataset().add_column("labels", [[-100] * len(ids) for ids in dataset()["input_ids"]])
    assert "labels" not in packsort.pack(labelled.with_format(columns=["input_ids"]), 64).column_names


def as_lists(batch):
    return {"input_ids": [[len(text), 7] for text in batch["text"]]}


def as_tensors(batch):
    return {"input_ids": torch.tensor([[len(text), 7] for text in batch["text"]])}


def as_arrays(batch):
    return {"input_ids": [np.array([len(text), 7]) for text in batch["text"]]}


@pytest.mark.parametrize("transform", [as_lists, as_tensors, as_arrays])
@pytest.mark.parametrize("number", [3, 2500])
def test_transforms_make_the_rows(transform, number):
    made = datasets.Dataset.from_dict(rows(number)).shuffle(seed=0).with_transform(transform)
    expected = [torch.as_tensor(row["input_ids"]).tolist() for row in made]
    assert read(made) == {"input_ids": expected}
    packed = packsort.pack(made, 64, strategy="padding", seed=None)
    assert packed["input_ids"].to_pylist() == expected


def test_tokenizers_as_transforms(tokenizer):
    texts = datasets.Dataset.from_dict({"text": ["one two", "three"]})
    made = texts.with_transform(lambda batch: tokenizer(batch["text"]))
    assert read(made)["input_ids"] == [tokenizer(text)["input_ids"] for text in texts["text"]]
    batch = next(iter(PackedLoader(made, 64, seed=None)))
    assert sorted(batch["input_ids"].flatten().tolist()) == sorted(
        token for ids in read(made)["input_ids"] for token in ids
    )


@pytest.mark.parametrize(
    ("transform", "said"),
    [
        (lambda batch: {"input_ids": batch["text"][:1]}, ("returns 1 rows of `input_ids` for 30", "dataset.map(")),
        (lambda batch: {"input_ids": [object()] * len(batch["text"])}, ("column `input_ids` that Arrow cannot hold",)),
        (lambda batch: [1] * len(batch["text"]), ("must return columns by name, got a list",)),
    ],
)
def test_transforms_that_give_no_rows_are_refused(transform, said):
    with pytest.raises(SourceError, match=says(*said)):
        open_source(dataset().with_transform(transform))


def test_packs_of_a_transformed_dataset_have_no_transform():
    packed = packsort.hf.pack_dataset(dataset().with_transform(as_lists), 64)
    assert packed.format["type"] is None
    assert sum(map(len, packed["input_ids"])) == 60


def test_other_features_do_not_matter():
    one = dataset(4, 1).add_column("label", [0, 1, 0, 1]).add_column("path", ["x"] * 4)
    one = one.cast_column("label", datasets.ClassLabel(names=["a", "b"]))
    one = one.cast_column("path", datasets.Audio())
    one = one.add_column("picture", ["x"] * 4).cast_column("picture", datasets.Image())
    for changed in (one, one.shuffle(seed=0)):
        assert packsort.pack(changed, 64)["seq_lengths"].to_pylist() == [[1, 2, 3, 4][::-1]]


def test_json_features_stay_json():
    content = ["x", [{"type": "text", "text": "y"}]]
    one = datasets.Dataset.from_dict(
        {"messages": [[{"role": "user", "content": one}] for one in content]}, on_mixed_types="use_json"
    )
    for changed in (one, one.select([1, 0])):
        assert "json" in str(open_source(changed).schema.field("messages").type)


# Dictionaries of splits


def test_splits_of_a_dict():
    several = datasets.DatasetDict({"test": dataset(3), "train": dataset(30)})
    with pytest.raises(SourceError, match=says("`train` (30 rows), `test` (3 rows)", "split='train'", "split='all'")):
        open_source(several)
    assert read(several, "train") == dataset(30)[:]
    assert len(read(several, "test+train")["text"]) == 33
    assert len(read(several, "all")["text"]) == 33
    assert [file.path for file in open_source(several, InputConfig(split="test")).files] == ["<test>"]
    with pytest.raises(OptionError, match=says("split must be one of", "got 'dev'")):
        open_source(several, InputConfig(split="dev"))
    assert read(datasets.DatasetDict({"train": dataset(3)})) == dataset(3)[:]


def test_split_of_one_dataset(tmp_path: Path):
    dataset(3).to_parquet(tmp_path / "a.parquet")
    one = datasets.load_dataset(
        "parquet", data_files=str(tmp_path / "a.parquet"), split="train", cache_dir=tmp_path / "c"
    )
    assert read(one, "train") == dataset(3)[:]
    with pytest.raises(OptionError, match=says("split='test' does not go with a Dataset")):
        open_source(one, InputConfig(split="test"))


# Streams


def stream() -> datasets.IterableDataset:
    return datasets.Dataset.from_dict({"input_ids": [[1, 2]]}).to_iterable_dataset()


class TorchStream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([{"input_ids": [1, 2]}])


@pytest.mark.parametrize("make", [stream, TorchStream, lambda: iter([{"input_ids": [1, 2]}]), lambda: (i for i in ())])
@pytest.mark.parametrize(
    "door",
    [
        lambda source, out: packsort.pack(source, 8),
        lambda source, out: packsort.write_shards(source, out, 8),
        lambda source, out: packsort.tokenize(source, "no tokenizer is needed to see it"),
        lambda source, out: packsort.compare(source, 8),
        lambda source, out: PackedLoader(source, 8),
        lambda source, out: PackedLoader(source),
        lambda source, out: PackedDataset(source, 8),
        lambda source, out: packsort.hf.pack_dataset(source, 8),
    ],
)
def test_every_door_sends_streams_to_packed_stream(make, door, tmp_path):
    with pytest.raises(SourceError, match=says("packsort.torch.PackedStream")):
        door(make(), tmp_path / "out")


def test_packed_stream_takes_them():
    for source in (stream(), TorchStream()):
        assert next(iter(PackedStream(source, 8)))["input_ids"].flatten().tolist() == [1, 2]


def test_dicts_of_streams_are_refused():
    several = datasets.IterableDatasetDict({"train": stream()})
    with pytest.raises(SourceError, match=says("IterableDatasetDict", "one split of it", "PackedStream")):
        open_source(several)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([{"input_ids": [1]}], ("a list of sources must hold paths, got a dict", "from_list")),
        ({"input_ids": [[1]]}, ("got a dict of `input_ids`", "pyarrow.table(source)")),
        (torch.utils.data.TensorDataset(torch.ones(2, 2)), ("got a TensorDataset", "from_list")),
        (7, ("got a int",)),
    ],
)
def test_other_objects_are_refused_with_a_way_out(source, said):
    with pytest.raises(SourceError, match=says(*said)):
        open_source(source)

"""Folders as real programs leave them: which rows they give, what is skipped, and which splits there are."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import datasets
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

import packsort
from packsort._options.input import InputConfig
from packsort.errors import OptionError, SourceError
from packsort.sources.source import Source, open_source


def rows(first: int, number: int = 6) -> dict[str, list[list[int]]]:
    """Sequences that begin with `first`, `first + 1` and so on."""
    return {"input_ids": [[first + i, 1, 2] for i in range(number)]}


def firsts(source: object, split: str | None = None) -> list[int]:
    """First token of each row of a source, sorted."""
    return sorted(row[0] for row in opened(source, split).read(["input_ids"])["input_ids"].to_pylist())


def opened(source: object, split: str | None = None) -> Source:
    return open_source(source, InputConfig(split=split))


def skipped(source: Source) -> set[tuple[str, str]]:
    return {(Path(file.path).name, str(file.reason)) for file in source.skipped}


@pytest.fixture(autouse=True)
def quiet(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


# One split


def saved(folder: Path) -> None:
    datasets.Dataset.from_dict(rows(10)).save_to_disk(folder, num_shards=3)
    data = datasets.load_from_disk(folder)
    data.map(lambda row: {"length": 3})
    data.filter(lambda row: True)
    data.shuffle(seed=1)
    assert sum(path.name.startswith("cache-") for path in folder.iterdir()) == 3


def cached(folder: Path) -> None:
    """The cache of `load_dataset`, seen from its root."""
    pl.DataFrame(rows(10)).write_parquet(folder / "one.parquet")
    data = datasets.load_dataset(
        "parquet", data_files=str(folder / "one.parquet"), split="train", cache_dir=str(folder / "cache")
    )
    data.map(lambda row: {"input_ids": row["input_ids"][::-1]})
    os.remove(folder / "one.parquet")


def hub_snapshot(folder: Path) -> None:
    """The cache of `huggingface_hub`: links into a folder of blobs."""
    home = folder / "hub/datasets--org--name"
    (home / "blobs").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs/main").write_text("0a1b")
    pl.DataFrame(rows(10)).write_parquet(home / "blobs/f00d")
    (home / "blobs/cafe").write_text("# Name")
    data = home / "snapshots/0a1b/data"
    data.mkdir(parents=True)
    os.symlink("../../../blobs/f00d", data / "train-00000-of-00001.parquet")
    os.symlink("../../blobs/cafe", data.parent / "README.md")


def spark(folder: Path) -> None:
    """Spark's layout, with a job that is still writing."""
    for day, first in ((1, 10), (2, 13)):
        part = folder / f"day=2024-01-0{day}"
        part.mkdir()
        pq.write_table(pa.table(rows(first, 3)), part / "part-00000-0a1b.c000.snappy.parquet", compression="snappy")
        (part / ".part-00000-0a1b.c000.snappy.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()
    (folder / "_temporary/0/task_1").mkdir(parents=True)
    pq.write_table(pa.table(rows(50)), folder / "_temporary/0/task_1/part-00001.snappy.parquet")
    pq.write_metadata(pa.table(rows(0)).schema, folder / "_common_metadata")


def partitioned_by_arrow(folder: Path) -> None:
    table = pa.table({**rows(10), "source": list("aabbcc")})
    pa.dataset.write_dataset(table, folder, format="parquet", partitioning=["source"], partitioning_flavor="hive")


def partitioned_by_polars(folder: Path) -> None:
    frame = pl.DataFrame({**rows(10), "source": list("aabbcc")})
    for (source,), part in frame.group_by("source"):
        (folder / f"source={source}").mkdir()
        part.drop("source").write_ipc(folder / f"source={source}/0.ipc")


def partitioned_by_duckdb(folder: Path) -> None:
    table = pa.table({**rows(10), "source": list("aabbcc")})
    duckdb.from_arrow(table).query("t", f"copy t to '{folder}/out' (format parquet, partition_by (source))")


def training_run(folder: Path) -> None:
    """Data beside what a Trainer and a notebook leave."""
    pl.DataFrame(rows(10)).write_parquet(folder / "ROWS.PARQUET")
    for name in ("checkpoint-500", ".ipynb_checkpoints"):
        (folder / name).mkdir()
        pl.DataFrame(rows(50)).write_parquet(folder / name / "rows.parquet")
    for name in ("trainer_state.json", "tokenizer.json", "README.md", "model.safetensors"):
        (folder / name).write_text("{}")


def packed_inside(folder: Path) -> None:
    pl.DataFrame(rows(10)).write_ipc(folder / "rows.feather")
    packsort.write_shards(folder, folder / "packed", 8)


def linked_disks(folder: Path) -> None:
    disk = folder.parent / "disk"
    for name, first in (("one", 10), ("two", 13)):
        (disk / name).mkdir(parents=True)
        pl.DataFrame(rows(first, 3)).write_parquet(disk / name / "rows.pq")
        os.symlink(disk / name, folder / name)
    os.symlink(disk / "one", folder / "one-again")
    os.symlink(folder, folder / "loop")


def json_lines(folder: Path) -> None:
    """JSON Lines of three writers, with what describes them beside."""
    datasets.Dataset.from_dict(rows(10, 2)).to_json(folder / "a.jsonl")
    pl.DataFrame(rows(12, 2)).write_ndjson(folder / "b.NDJSON")
    with gzip.open(folder / "c.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"input_ids": row}) + "\n" for row in rows(14, 2)["input_ids"])
    (folder / "dataset_info.json").write_text('{"chats": {"file_name": "a.jsonl"}}')
    (folder / ".c.jsonl.swp").touch()


ONE_SPLIT: list[tuple[Callable[[Path], None], set[str]]] = [
    (saved, {"cache", "other"}),
    (cached, {"cache", "other", "temporary"}),
    (hub_snapshot, {"other"}),
    (spark, {"hidden", "temporary"}),
    (partitioned_by_arrow, set()),
    (partitioned_by_polars, set()),
    (partitioned_by_duckdb, set()),
    (training_run, {"checkpoint", "other"}),
    (json_lines, {"hidden", "other"}),
    (packed_inside, {"packed"}),
    (linked_disks, {"loop", "repeated"}),
]


@pytest.mark.parametrize(("write", "reasons"), ONE_SPLIT, ids=[write.__name__ for write, _ in ONE_SPLIT])
def test_each_row_is_read_once(tmp_path, write, reasons):
    folder = tmp_path / "data"
    folder.mkdir()
    write(folder)
    for source in (folder, f"{folder}/**", f"{tmp_path}/dat*"):
        assert firsts(source) == list(range(10, 16)), source
    assert {reason for _, reason in skipped(opened(folder))} == reasons


# Several splits


def saved_dict(folder: Path) -> None:
    splits = {"train": rows(10), "test": rows(50, 2), "validation": rows(70, 1)}
    found = datasets.DatasetDict({name: datasets.Dataset.from_dict(one) for name, one in splits.items()})
    found.save_to_disk(folder)


def hub_layout(folder: Path, end: str = "") -> None:
    data = folder / "data"
    data.mkdir()
    for name, one in (("train", rows(10)), ("test", rows(50, 2)), ("validation", rows(70, 1))):
        whole = datasets.Dataset.from_dict(one)
        for index in range(2 if name == "train" else 1):
            total = 2 if name == "train" else 1
            shard = whole.shard(total, index)
            shard.to_parquet(str(data / f"{name}-{index:05}-of-{total:05}{end}.parquet"))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / ".gitattributes").touch()


def hub_layout_with_digests(folder: Path) -> None:
    hub_layout(folder, "-a09b74b3ef9c3b56")


def converted_by_the_hub(folder: Path) -> None:
    for name, one in (("train", rows(10)), ("test", rows(50, 2)), ("validation", rows(70, 1))):
        (folder / "default" / name).mkdir(parents=True)
        pl.DataFrame(one).write_parquet(folder / "default" / name / "0000.parquet")


def named_files(folder: Path) -> None:
    for name, one in (("train", rows(10)), ("test", rows(50, 2)), ("dev", rows(70, 1))):
        pl.DataFrame(one).write_parquet(folder / f"chats_{name}.parquet")


def named_json_lines(folder: Path) -> None:
    for name, one in (("train", rows(10)), ("TEST", rows(50, 2)), ("val", rows(70, 1))):
        datasets.Dataset.from_dict(one).to_json(folder / f"{name}.jsonl")


def partition_of_splits(folder: Path) -> None:
    names = ["train"] * 6 + ["test"] * 2 + ["valid"]
    ids = rows(10)["input_ids"] + rows(50, 2)["input_ids"] + rows(70, 1)["input_ids"]
    pa.dataset.write_dataset(
        pa.table({"input_ids": ids, "split": names}),
        folder,
        format="parquet",
        partitioning=["split"],
        partitioning_flavor="hive",
    )


def cached_splits(folder: Path) -> None:
    hub_layout(folder)
    datasets.load_dataset(str(folder), cache_dir=str(folder / "cache"))
    for path in (folder / "data").iterdir():
        path.unlink()


SPLITS = [saved_dict, hub_layout, hub_layout_with_digests, converted_by_the_hub, named_files, partition_of_splits]
SPLITS += [named_json_lines, cached_splits]


@pytest.mark.parametrize("write", SPLITS, ids=[write.__name__ for write in SPLITS])
def test_splits_are_never_mixed_unasked(tmp_path, write):
    write(tmp_path)
    for source in (tmp_path, f"{tmp_path}/*", f"{tmp_path}/**/*.[paj]*"):
        with pytest.raises(SourceError, match=r"`train` \(6 rows\), `validation` \(1 row\), `test` \(2 rows\)"):
            open_source(source)
    assert firsts(tmp_path, "train") == list(range(10, 16))
    assert firsts(tmp_path, "val+train") == [*range(10, 16), 70]
    assert firsts(tmp_path, "all") == [*range(10, 16), 50, 51, 70]
    with pytest.raises(OptionError, match="one of 'train', 'validation', 'test'"):
        opened(tmp_path, "tran")


def test_files_of_several_splits_given_one_by_one_are_read_with_a_warning(tmp_path):
    hub_layout(tmp_path)
    paths = sorted((tmp_path / "data").iterdir())
    with pytest.warns(UserWarning, match="'train', 'validation', 'test' were given") as caught:
        assert len(firsts(paths)) == 9
    assert caught[0].filename == __file__
    assert len(firsts(paths, "all")) == 9


def test_missing_shard_is_said(tmp_path):
    hub_layout(tmp_path)
    os.remove(tmp_path / "data/train-00001-of-00002.parquet")
    with pytest.warns(UserWarning, match="train-00000-of-00002.parquet` tells of 2 files, and only 1"):
        assert len(firsts(tmp_path, "train")) == 3
    saved_dict(tmp_path / "saved")
    os.remove(tmp_path / "saved/train/data-00000-of-00001.arrow")
    with pytest.raises(SourceError, match=r"no file .*data-00000-of-00001.arrow`, which .*state.json` names"):
        opened(tmp_path / "saved", "train")


def test_configurations_of_the_hub_are_refused(tmp_path):
    for name in ("main", "socratic"):
        (tmp_path / name).mkdir()
        hub_layout(tmp_path / name)
        (tmp_path / name / "README.md").unlink()
    with pytest.raises(SourceError, match=r"holds 2 configurations.*main`.*socratic`"):
        opened(tmp_path, "train")
    assert len(firsts(tmp_path / "main", "train")) == 6


# Through the doors


def test_every_door_takes_a_split(tmp_path):
    import torch

    from packsort.torch import PackedDataset, PackedLoader

    hub_layout(tmp_path)
    assert packsort.pack(tmp_path, 64, split="train").num_rows == 1
    loader = PackedLoader(tmp_path, 64, split="train")
    assert sum(int(torch.count_nonzero(batch["input_ids"] == 2)) for batch in loader) == 6
    assert len(PackedDataset(str(tmp_path), 3, split="test")) == 2
    for door in (packsort.pack, PackedLoader, PackedDataset):
        with pytest.raises(SourceError, match=r"has the splits .* split='train'"):
            door(tmp_path, 64)


def test_split_and_strays_are_recorded_and_shown(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("sft").mkdir()
    hub_layout(Path("sft"))
    found = run("pack", "sft", "--max-length", 8, "-o", "packed")
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == "hint: use `--split train` or `--split all`"
    found = run("pack", "sft", "--max-length", 8, "-o", "packed", "--split", "train")
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[:5] == [
        "split       train with 6 rows",
        "skipped     1 hidden: `sft/.gitattributes`",
        "            2 of other splits, such as `sft/data/test-00000-of-00001.parquet`",
        "            1 of other kinds: `sft/README.md`",
        "sequences   6 of 6 rows",
    ]
    manifest = packsort.open_shards("packed").manifest
    assert manifest.options.split == "train"
    assert manifest.rows_by_split == {"train": 6}
    assert {one.reason: one.count for one in manifest.skipped} == {"hidden": 1, "split": 2, "other": 1}
    assert json.loads(Path("packed/manifest.json").read_text())["skipped"][0]["example"] == "sft/.gitattributes"
    assert "every token" in run("verify", "packed", "--source", "sft").stdout
    assert packsort.verify("packed", "sft")
    assert packsort.verify("packed", open_source("sft", InputConfig(split="train")).read(["input_ids"]))
    wrong = packsort.verify("packed", "sft/data/test-00000-of-00001.parquet")
    assert "the source has 2 rows, 6 were packed" in wrong.problems


def test_shards_of_one_split_are_not_taken_for_those_of_another(tmp_path):
    for name in ("train", "test"):  # equal lengths, so equal plans
        pl.DataFrame(rows(10 if name == "train" else 50)).write_parquet(tmp_path / f"{name}.parquet")
    first = packsort.write_shards(tmp_path, tmp_path / ".out", 8, split="train")
    second = packsort.write_shards(tmp_path, tmp_path / ".out", 8, split="test", overwrite=True)
    assert first.shards[0].checksum != second.shards[0].checksum
    assert packsort.verify(tmp_path / ".out", tmp_path)


def test_names_that_look_like_addresses_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("s3:x.parquet", "file:y.parquet", "gs:z.arrow"):
        frame = pl.DataFrame(rows(10))
        with open(name, "wb") as file:
            (frame.write_ipc if name.endswith("arrow") else frame.write_parquet)(file)
        assert len(firsts(name)) == 6
        assert sum(len(batch) for *_, batch in open_source(name).batches(["input_ids"])) == 6
    assert packsort.write_shards("s3:x.parquet", "out", 8).counts.rows == 6


def test_name_that_is_not_utf8_ends_the_command_in_one_line(tmp_path):
    folder = os.fsencode(tmp_path) + b"/\xe9t\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes no such name")
    with open(folder + b"/a.parquet", "wb") as file:
        pl.DataFrame(rows(10)).write_parquet(file)
    command = [sys.executable, "-m", "packsort", "pack", folder, "--max-length", "8", "-o", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: the name of `")
    assert done.stderr.count(b"\n") == 1
    with pytest.raises(SourceError, match=r"\\xe9t\\xe9` is not UTF-8"):
        packsort.pack(os.fsdecode(folder), 8)


CARD = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: [chats/*.parquet, more.parquet]
  - split: heldout
    path: "extra/**"
---
# Chats
"""


def test_splits_that_a_card_declares(tmp_path):
    for name, first in (("chats/a", 10), ("more", 12), ("extra/b/c", 50), ("raw", 90)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(rows(first, 2)).write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text(CARD)
    for source in (tmp_path, f"{tmp_path}/*", f"{tmp_path}/**/*.parquet"):
        with pytest.raises(SourceError, match=r"`train` \(4 rows\), `heldout` \(2 rows\)"):
            open_source(source)
    with pytest.warns(UserWarning, match=r"1 files are left out, such as .*raw.parquet`: the README.md"):
        assert firsts(tmp_path, "train") == [10, 11, 12, 13]
    theirs = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / ".cache"))
    assert sorted(row[0] for row in theirs["train"]["input_ids"]) == [10, 11, 12, 13]
    another = "- config_name: extra\n  data_files: extra/**\n---\n#"
    (tmp_path / "README.md").write_text(CARD.replace("---\n#", another))
    with pytest.raises(SourceError, match=r"declares 2 configurations, `default`, `extra`: .*chats/\*.parquet`"):
        opened(tmp_path, "train")
    (tmp_path / "README.md").write_text("---\nconfigs: data_files\n---\n")
    with pytest.raises(SourceError, match=r"README.md` does not declare its files"):
        open_source(tmp_path)


def test_folder_that_a_card_declares(tmp_path):
    for name, first in (("chats/a", 10), ("raw/b", 50)):
        (tmp_path / name).parent.mkdir()
        pl.DataFrame(rows(first, 2)).write_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "README.md").write_text("---\nconfigs: [{config_name: default, data_dir: chats}]\n---\n")
    with pytest.raises(SourceError, match=r"declares that the data is in `.*/chats`: pass that folder"):
        opened(tmp_path)
    theirs = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / ".cache"))
    assert sorted(row[0] for row in theirs["train"]["input_ids"]) == firsts(tmp_path / "chats") == [10, 11]
    (tmp_path / "README.md").write_text("---\nconfigs: [{config_name: default, data_dir: .}]\n---\n")
    assert firsts(tmp_path) == [10, 11, 50, 51]


def test_folder_that_is_not_utf8_may_be_the_working_folder(tmp_path, monkeypatch):
    folder = os.fsencode(tmp_path) + b"/\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes no such name")
    monkeypatch.chdir(os.fsdecode(folder))
    pl.DataFrame(rows(10)).write_parquet("a.parquet")
    pl.DataFrame(rows(20)).write_ipc("b.arrow")
    assert packsort.write_shards(".", "packed", 8, format="parquet").counts.rows == 12
    assert len(packsort.open_shards("packed")[0]["input_ids"]) == 6

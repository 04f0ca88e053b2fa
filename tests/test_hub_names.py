"""Names on the Hugging Face Hub, `hf:owner/name:split`: from the cache of `datasets`, and without a network."""

from __future__ import annotations

import re
import time
from pathlib import Path

import datasets
import pytest

import packsort
from commands import Run
from packsort._options.input import InputConfig
from packsort.errors import OptionError, SourceError, SourceNotFoundError
from packsort.sources.source import open_source


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that has `owner/name` with the splits `train` and `test`; there is no network."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    for split, rows in (("train", 5), ("test", 2)):
        datasets.Dataset.from_dict({"input_ids": [[i] for i in range(rows)]}).to_parquet(f"{split}.parquet")
    files = {split: f"{split}.parquet" for split in ("train", "test")}
    datasets.load_dataset("parquet", "default", data_files=files, cache_dir=str(tmp_path / "made"))
    made = next(Path("made").rglob("dataset_info.json")).parent
    stored = tmp_path / "cache" / "owner___name" / "default" / "0.0.0" / "0123abc"
    stored.parent.mkdir(parents=True)
    made.rename(stored)
    for file in stored.glob("parquet-*.arrow"):
        file.rename(stored / file.name.replace("parquet-", "name-"))
    return tmp_path / "cache"


def says(*parts: str) -> str:
    return ".*".join(re.escape(part) for part in parts)


@pytest.mark.usefixtures("cache")
def test_cached_data_sets_are_read_without_a_network():
    source = open_source("hf:owner/name:train")
    assert source.read(["input_ids"])["input_ids"].to_pylist() == [[0], [1], [2], [3], [4]]
    assert [(file.path, file.split) for file in source.files] == [("hf:owner/name:train", "train")]
    assert open_source("hf:owner/name/default:test").num_rows == 2
    assert open_source("hf:owner/name", InputConfig(split="test")).num_rows == 2
    assert open_source("hf:owner/name:all").rows_by_split == {"train": 5, "test": 2}
    assert open_source("hf:owner/name:test+train").num_rows == 7
    assert packsort.pack("hf:owner/name:train", 8, seed=None)["input_ids"].to_pylist() == [[0, 1, 2, 3, 4]]


@pytest.mark.usefixtures("cache")
def test_commands_read_them(run: Run):
    done = run("pack", "hf:owner/name:train", "-o", "out", "--max-length", 8)
    assert done.returncode == 0, done.stderr
    assert packsort.open_shards("out").manifest.counts.sequences == 5
    assert run("verify", "out", "--source", "hf:owner/name:train").returncode == 0
    assert run("pack", "hf:owner/name", "--split", "test", "-o", "out2", "--max-length", 8).returncode == 0


@pytest.mark.usefixtures("cache")
def test_splits_are_asked_for():
    with pytest.raises(SourceError, match=says("`train` (5 rows), `test` (2 rows)", "`hf:owner/name:train`")):
        open_source("hf:owner/name")
    with pytest.raises(OptionError, match=says("split must be one of 'train', 'test'", "got 'dev'")):
        open_source("hf:owner/name:dev")
    with pytest.raises(OptionError, match=says("split='test' does not go with `hf:owner/name:train`")):
        open_source("hf:owner/name:train", InputConfig(split="test"))


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["hf:owner/none:train", "hf:owner/name/other:train"])
def test_no_network_is_said_at_once(name):
    start = time.monotonic()
    with pytest.raises(SourceNotFoundError, match="the Hugging Face Hub cannot be reached"):
        open_source(name)
    assert time.monotonic() - start < 10
    assert not datasets.config.HF_HUB_OFFLINE


@pytest.mark.usefixtures("cache")
def test_local_files_and_folders_win():
    Path("hf:x").write_text('{"input_ids": [1]}\n')
    assert open_source("hf:x").num_rows == 1
    Path("owner/name").mkdir(parents=True)
    with pytest.raises(SourceError, match=says("the folder `owner/name` that is here")):
        open_source("hf:owner/name:train")


@pytest.mark.parametrize("name", ["hf:", "hf:squad", "hf:a/b/c/d:train", "hf:a/b:"])
def test_other_names_are_refused_in_words(name):
    with pytest.raises(SourceError, match=says("must be `hf:owner/name:split`")):
        open_source(name)

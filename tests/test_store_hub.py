"""Packed directories on the Hugging Face Hub, written by its own client to a local server that takes commits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import packsort
from fake_hub import hub
from loading import digests
from packsort.errors import OutputError, OutputExistsError
from packsort.torch import PackedLoader

URL = "hf://datasets/owner/name/packed"
SIZE = "16kB"


def rows() -> pa.Table:
    draw = np.random.default_rng(0)
    return pa.table({"input_ids": [draw.integers(1, 99, n).tolist() for n in draw.integers(1, 40, 500)]})


def content(folder: Path) -> dict[str, bytes]:
    return {f"packed/{path.name}": path.read_bytes() for path in folder.iterdir()}


def test_a_directory_on_the_hub_is_that_of_a_disk(tmp_path: Path) -> None:
    files = {"README.md": b"a data set"}
    packsort.write_shards(rows(), tmp_path / "one", 64, shard_size=SIZE)
    packsort.write_shards(rows(), tmp_path / "other", 48, shard_size=SIZE)
    with hub(files) as (address, _):
        options = {"endpoint": address}
        packsort.write_shards(rows(), URL, 64, shard_size=SIZE, storage_options=options)
        assert files == content(tmp_path / "one") | {"README.md": b"a data set"}
        shards = packsort.open_shards(URL, storage_options=options, cache_dir=tmp_path / "cache")
        assert shards.verify(rows())
        one = PackedLoader(tmp_path / "one", seed=None, batch_size=2)
        assert digests(PackedLoader(shards, seed=None, batch_size=2)) == digests(one)
        with pytest.raises(OutputExistsError, match="is not empty; pass overwrite=True"):
            packsort.write_shards(rows(), URL, 48, shard_size=SIZE, storage_options=options)
        packsort.write_shards(rows(), URL, 48, shard_size=SIZE, storage_options=options, overwrite=True)
        assert files == content(tmp_path / "other") | {"README.md": b"a data set"}


class Refusing(dict[str, bytes]):
    """Files of which one may not be written."""

    refused = ""

    def __setitem__(self, name: str, content: bytes) -> None:
        if name == self.refused:
            raise PermissionError("you may not write this file")
        super().__setitem__(name, content)


@pytest.mark.parametrize("name", ["train-00001-of-00003.arrow", "manifest.json"])
def test_a_file_that_the_hub_refuses_leaves_no_manifest(name: str, tmp_path: Path) -> None:
    files = Refusing()
    packsort.write_shards(rows(), tmp_path / "one", 64, shard_size=SIZE)
    with hub(files) as (address, _):
        options = {"endpoint": address}
        files.refused = f"packed/{name}"
        with pytest.raises(OutputError, match=name):
            packsort.write_shards(rows(), URL, 64, shard_size=SIZE, storage_options=options)
        assert "packed/manifest.json" not in files
        files.refused = ""
        packsort.write_shards(rows(), URL, 64, shard_size=SIZE, storage_options=options)
        assert files == content(tmp_path / "one")

"""Exported packs of every format; `test_megatron_export` reads those for Megatron-Bridge."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

import packsort
from commands import run_process
from packed_rows import packed, rows
from packsort.shards.export import export


@pytest.mark.parametrize("format", ["megatron", "trl"])
def test_what_was_exported_is_not_packed_again(tmp_path, format):
    export(packed(tmp_path, rows(labels=True)), tmp_path / "out", format=format)
    with pytest.raises(packsort.SourceError, match="the rows are packed already"):
        packsort.pack(tmp_path / "out", 4096)
    with pytest.raises(packsort.SourceError, match="the rows are packed already"):
        packsort.compare(tmp_path / "out", 4096)


def test_trl_has_its_columns(tmp_path):
    shards = packsort.open_shards(packed(tmp_path))
    (file,) = export(shards, tmp_path / "out", format="trl")
    packs = [{k: v.tolist() for k, v in pack.items() if k != "sequence_ids"} for pack in shards]
    assert pq.read_table(file).to_pylist() == packs
    with pytest.raises(packsort.OutputExistsError, match="is not empty"):
        export(shards, tmp_path / "out", format="trl")
    assert export(shards, tmp_path / "out", format="trl", overwrite=True) == [file]
    with pytest.raises(
        packsort.OptionError, match="format must be one of 'megatron', 'megatron-bin', 'trl', got 'nemo'"
    ):
        export(shards, tmp_path / "out", format="nemo")


def test_command_prints_the_files_it_wrote(tmp_path, run):
    path = packed(tmp_path)
    command = ("export", path, "-o", tmp_path / "out", "--json")
    done = run_process(*command)
    assert done.returncode == 0, done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert pq.read_table(file).num_rows == len(packsort.open_shards(path))
    again = run(*command)
    assert (again.returncode, json.loads(again.stdout)["error"]["hints"]) == (1, ["--overwrite"])

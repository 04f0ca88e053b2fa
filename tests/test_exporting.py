"""Exported packs, read by what Megatron-Bridge's and TRL's readers do with them."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from commands import run_process
from packed_rows import packed, rows
from packsort.shards import export as exporting
from packsort.shards.export import export


def collated(row):
    """Input, labels and mask of a row, as Megatron-Bridge's `GPTSFTPackedDataset.collate_fn` cuts them."""
    bounds = [*row["seq_start_id"], len(row["input_ids"])]
    spans = list(pairwise(bounds))
    ids, mask = row["input_ids"], row["loss_mask"]
    inputs = [token for a, b in spans for token in ids[a : b - 1]]
    labels = [token for a, b in spans for token in ids[a + 1 : b]]
    return inputs, labels, [m for a, b in spans for m in mask[a : b - 1]], [b - a - 1 for a, b in spans]


@pytest.mark.parametrize("format", ["arrow", "parquet"])
@pytest.mark.parametrize("labels", [True, False])
def test_megatron_bridge_takes_loss_where_the_labels_say(tmp_path, monkeypatch, format, labels):
    monkeypatch.setattr(exporting, "_PACKS_PER_GROUP", 2)
    shards = packsort.open_shards(packed(tmp_path, rows(labels=labels), format=format, shard_size="2KB"))
    files = export(shards, tmp_path / "out")
    assert len(files) == len(shards.manifest.shards) > 1
    assert all(file.name.endswith(".idx.parquet") for file in files)
    assert pq.ParquetFile(files[0]).num_row_groups == -(-shards.manifest.shards[0].packs // 2)
    table = pa.concat_tables([pq.read_table(file) for file in files])
    kinds = {"input_ids": pa.int32(), "seq_start_id": pa.int32(), "loss_mask": pa.int8()}
    assert {field.name: field.type.value_type for field in table.schema} == kinds
    for row, pack in zip(table.to_pylist(), shards, strict=True):
        inputs, targets, mask, lengths = collated(row)
        cuts = np.cumsum(pack["seq_lengths"])[:-1]
        ids = np.split(pack["input_ids"], cuts)
        marks = np.split(pack["labels"], cuts) if labels else ids
        assert lengths == (pack["seq_lengths"] - 1).tolist()
        assert inputs == [token for one in ids for token in one[:-1].tolist()]
        assert targets == [token for one in ids for token in one[1:].tolist()]
        assert mask == [int(mark != -100) for one in marks for mark in one[1:].tolist()]


@pytest.mark.parametrize("format", ["megatron", "trl"])
def test_what_was_exported_is_not_packed_again(tmp_path, format):
    export(packed(tmp_path, rows(labels=True)), tmp_path / "out", format=format)
    with pytest.raises(packsort.SourceError, match="the rows are packed already"):
        packsort.pack(tmp_path / "out", 4096)
    with pytest.raises(packsort.SourceError, match="the rows are packed already"):
        packsort.compare(tmp_path / "out", 4096)


def test_filler_is_sequences_without_loss():
    table = pa.table({"input_ids": [[5, 6, 7, 0, 0]], "seq_lengths": [[3, 2]], "sequence_ids": [[4, -1]]})
    assert exporting._megatron(table, "here").to_pylist() == [
        {"input_ids": [5, 6, 7, 0, 0], "seq_start_id": [0, 3], "loss_mask": [1, 1, 0, 0, 0]}
    ]


def test_labels_that_a_mask_cannot_say_are_named(tmp_path):
    source = pa.table({"input_ids": [[1, 2, 3]], "labels": [[-100, 9, 3]]})
    path = packed(tmp_path, source, 4)
    message = "pack 0: label at token 1 must be the token, 2, or -100 with format='megatron', got 9"
    with pytest.raises(packsort.SourceError, match=re.escape(message)):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_trl_has_its_columns(tmp_path):
    shards = packsort.open_shards(packed(tmp_path))
    (file,) = export(shards, tmp_path / "out", format="trl")
    packs = [{k: v.tolist() for k, v in pack.items() if k != "sequence_ids"} for pack in shards]
    assert pq.read_table(file).to_pylist() == packs
    with pytest.raises(packsort.OutputExistsError, match="is not empty"):
        export(shards, tmp_path / "out", format="trl")
    assert export(shards, tmp_path / "out", format="trl", overwrite=True) == [file]
    with pytest.raises(packsort.OptionError, match="format must be one of 'megatron', 'trl', got 'nemo'"):
        export(shards, tmp_path / "out", format="nemo")


def test_command_prints_the_files_it_wrote(tmp_path, run):
    path = packed(tmp_path)
    command = ("export", path, "-o", tmp_path / "out", "--json")
    done = run_process(*command)
    assert done.returncode == 0, done.stderr
    (file,) = json.loads(done.stdout)["files"]
    assert pq.read_table(file).num_rows == len(packsort.open_shards(path))
    again = run(*command)
    assert (again.returncode, again.stdout) == (1, "")

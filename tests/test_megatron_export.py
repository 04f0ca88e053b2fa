"""Packs exported for Megatron-Bridge, read by its reader."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import packsort
from megatron_bridge import READERS, PackedReader
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort.shards import export as exporting
from packsort.shards.export import export
from packsort.shards.megatron import Metadata, RowFormat

EOS = VOCABULARY  # in no row
MULTIPLE = {"pad_to_multiple_of": 8, "pad_token_id": EOS}
PACKINGS = {
    "plain": {},
    "separator": {"separator": EOS, "pad_token_id": EOS},
    "multiple": MULTIPLE,
    "multiple and separator": {**MULTIPLE, "separator": EOS},
    "pieces": {**MULTIPLE, "separator": 5, "overlong": "split", "max_length": 30},
    "odd size": {**MULTIPLE, "max_length": 61, "overlong": "truncate"},
    "one per pack": {**MULTIPLE, "strategy": "padding"},
}


def sequences(pack):
    """Return tokens, labels and number of tokens of each sequence of a pack, filler behind its tokens."""
    cuts = np.cumsum(pack["seq_lengths"])[:-1]
    found = []
    columns = [np.split(pack[name], cuts) for name in ("input_ids", "labels")]
    for tokens, labels, number in zip(*columns, pack["sequence_ids"], strict=True):
        if number < 0:
            found[-1][0].extend(tokens)
        else:
            found.append((tokens.tolist(), labels.tolist(), len(tokens)))
    return found


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("packing", PACKINGS)
def test_each_token_is_trained_on_where_the_labels_say(tmp_path, reader, packing):
    options = PACKINGS[packing]
    shards = packsort.open_shards(packed(tmp_path, rows(), shard_size="2KB", **options))
    form = RowFormat.of(shards.manifest)
    export(shards, tmp_path / "out")
    read = reader(tmp_path / "out", form.pack_size, EOS, form.multiple)
    assert len(read) == len(shards)
    assert form.pack_size <= shards.manifest.max_length
    for number, pack in enumerate(shards):
        batch = read.batch([number])
        tokens, labels, mask = (batch[name][0].tolist() for name in ("tokens", "labels", "loss_mask"))
        starts = batch["cu_seqlens_q_padded" if form.multiple > 1 else "cu_seqlens_q"][0].tolist()
        assert len(starts) > len(sequences(pack))
        for (ids, marks, own), (start, end) in zip(sequences(pack), pairwise(starts), strict=False):
            length = end - start
            assert length > 0
            assert length % form.multiple == 0
            stored = ids + [EOS] * (length + 1 - len(ids))
            assert tokens[start:end] == stored[:length]
            assert labels[start : start + own - 1] == ids[1:own]
            assert mask[start : start + own - 1] == [int(mark != -100) for mark in marks[1:]]
            assert not any(mask[start + own - 1 : end])
        assert sum(mask) == sum(mark != -100 for _, marks, _ in sequences(pack) for mark in marks[1:])


@pytest.mark.parametrize("reader", READERS)
def test_padding_is_told_by_the_end_of_sequence_token(tmp_path, reader):
    shards = packsort.open_shards(packed(tmp_path, rows(), **MULTIPLE))
    export(shards, tmp_path / "out")
    read = reader(tmp_path / "out", MAX_LENGTH, EOS, 8)
    for number, pack in enumerate(shards):
        real = [own for _, _, own in sequences(pack)]
        batch = read.batch([number])
        assert batch["cu_seqlens_q"][0].diff().tolist()[: len(real)] == real
        assert int((~batch["padding_mask"]).sum()) == sum(real)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("packing", ["plain", "multiple and separator"])
def test_the_metadata_fixes_all_shapes(tmp_path, reader, packing):
    shards = packsort.open_shards(packed(tmp_path, rows(), **PACKINGS[packing]))
    export(shards, tmp_path / "out")
    metadata = tmp_path / "out" / f"_{MAX_LENGTH}_metadata.jsonl"
    assert metadata == exporting.metadata_path(shards, tmp_path / "out")
    free = PackedReader(tmp_path / "out", MAX_LENGTH, EOS, shards.manifest.options.pad_to_multiple_of)
    read = reader(tmp_path / "out", MAX_LENGTH, EOS, free.multiple, metadata)
    batches = [read.batch([number]) for number in range(len(read))]
    assert (
        len(
            {
                tuple(
                    (name, value.shape)
                    for name, value in batch.items()
                    if name != "token_count" and hasattr(value, "shape")
                )
                for batch in batches
            }
        )
        == 1
    )
    (longest,) = {int(batch["max_seqlen_q"]) for batch in batches}
    assert all(int(batch["cu_seqlens_q"].diff().max()) <= longest for batch in batches)
    (facts,) = json.loads(metadata.read_text())
    spans = [np.diff([*row["seq_start_id"], len(row["input_ids"])]) - 1 for row in free.rows]
    assert facts == {
        "dataset_max_seqlen": max(int(one.max()) for one in spans),
        "max_samples_per_bin": max(map(len, spans)),
        "packing_factor": round(sum(map(len, spans)) / len(spans), 2),
        "packing_efficiency": round(100 * sum(int(one.sum()) for one in spans) / len(spans) / MAX_LENGTH, 2),
        "pack_size": MAX_LENGTH,
        "min_packed_seqlen": min(int(one.sum()) for one in spans),
    }


def test_rows_are_written_group_by_group(tmp_path, monkeypatch):
    shards = packsort.open_shards(packed(tmp_path, rows(), format="parquet", **MULTIPLE))
    (whole,) = export(shards, tmp_path / "whole")
    monkeypatch.setattr(exporting, "_PACKS_PER_GROUP", 2)
    (file,) = export(shards, tmp_path / "out")
    assert file.name.endswith(".idx.parquet")
    assert pq.ParquetFile(file).num_row_groups == -(-len(shards) // 2) > 1
    assert pq.read_table(file).equals(pq.read_table(whole))
    names = [exporting.metadata_path(shards, tmp_path / folder) for folder in ("whole", "out")]
    assert names[0].read_text() == names[1].read_text()


def test_a_pack_may_begin_with_filler_and_know_no_sequences():
    table = pa.table({"input_ids": [[9, 5, 6, 7, 0, 3]], "seq_lengths": [[1, 3, 1, 1]]})
    numbered = table.append_column("sequence_ids", pa.array([[-2, 4, -1, 8]]))
    form = RowFormat(multiple=1, padding=2, pack_size=8)
    first = {"input_ids": [9, 2, 5, 6, 7, 0, 3, 2], "seq_start_id": [0, 2, 6], "loss_mask": [0, 0, 1, 1, 0, 0, 0, 0]}
    assert form.rows(numbered, "here").to_pylist() == [first]
    every = {
        "input_ids": [9, 2, 5, 6, 7, 0, 2, 3, 2],
        "seq_start_id": [0, 2, 5, 7],
        "loss_mask": [0, 0, 1, 1, *[0] * 5],
    }
    assert form.rows(table, "here").to_pylist() == [every]
    metadata = Metadata(8)
    metadata.add(form.rows(numbered, "here"))
    assert json.loads(metadata.to_json())[0]["dataset_max_seqlen"] == 3


def test_a_label_that_a_mask_cannot_say_is_named_with_its_pack(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "_PACKS_PER_GROUP", 1)
    source = pa.table({"input_ids": [[1, 2, 3], [4, 5, 6]], "labels": [[-100, 2, 3], [-100, 9, 6]]})
    path = packed(tmp_path, source, 4, seed=None)
    message = "pack 1: label at token 1 must be the token, 5, or -100 with format='megatron', got 9"
    with pytest.raises(packsort.SourceError, match=re.escape(message)):
        export(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_or_lies_in_the_way_is_said(tmp_path):
    weighted = rows().append_column("weights", pa.array([[1.0] * len(one) for one in rows()["input_ids"]]))
    path = packed(tmp_path, weighted)
    with pytest.warns(UserWarning, match="^`weights` is left out: format='megatron' has no place for other columns$"):
        export(path, tmp_path / "out")
    (tmp_path / "out" / "train-00007-of-00008.parquet").write_bytes(b"mine")
    with pytest.raises(
        packsort.OutputError, match=r"holds `train-00007-of-00008.parquet`, which packsort did not write"
    ):
        export(path, tmp_path / "out", format="trl", overwrite=True)
    (tmp_path / "out" / "train-00007-of-00008.parquet").unlink()
    (file,) = export(path, tmp_path / "out", format="trl", overwrite=True)
    assert [one.name for one in (tmp_path / "out").iterdir()] == [file.name], "no files of the other format are left"
    with pytest.raises(packsort.OptionError, match="is the packed directory itself: choose another folder"):
        export(path, path, overwrite=True)


def test_a_directory_without_packs_is_refused(tmp_path):
    path = packed(tmp_path, pa.table({"input_ids": [[1, 2, 3]]}), 2, overlong="drop")
    with pytest.raises(packsort.SourceError, match="holds no packs, and Megatron reads no empty data set"):
        export(path, tmp_path / "out")


def test_the_command_says_where_the_metadata_is(tmp_path, run):
    path = packed(tmp_path, rows(), **MULTIPLE)
    done = run("export", path, "-o", tmp_path / "out")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [str(tmp_path / "out/train-00000-of-00001.idx.parquet")]
    metadata = tmp_path / "out/_64_metadata.jsonl"
    assert done.stderr == f"metadata for fixed shapes (`packed_metadata_path`): `{metadata}`\n"
    again = json.loads(run("export", path, "-o", tmp_path / "out", "--overwrite", "--json").stdout)
    assert again["metadata"] == str(metadata)

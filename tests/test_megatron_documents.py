"""Packs exported as Megatron's `.bin` and `.idx` files."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest

import packsort
from indexed_data import READERS, WRITERS
from packed_rows import MAX_LENGTH, VOCABULARY, packed, rows
from packsort.shards import megatron_bin
from packsort.shards.export import export

EOD, PAD = VOCABULARY, VOCABULARY + 1  # in no row
DIFFERENT_ENDS = "ignore:sequences that others follow"
PACKINGS = {
    "plain": {},
    "separator": {"separator": EOD, "pad_token_id": EOD},
    "multiple": {"pad_to_multiple_of": 8, "pad_token_id": EOD},
    "pieces": {"overlong": "split", "max_length": 30},
    "parquet": {"format": "parquet"},
}


def written(path, **options):
    """Return the bytes of both files of an export."""
    export(path, path.parent / "out", format="megatron-bin", overwrite=True, **options)
    return [(path.parent / "out" / name).read_bytes() for name in ("train.bin", "train.idx")]


def filled(path, token=PAD):
    """Return the tokens of each pack, filled up to `max_length`; `token` also replaces its own padding."""
    shards = packsort.open_shards(path)
    found = []
    for pack in shards:
        padding = np.repeat(pack["sequence_ids"] == -1, pack["seq_lengths"])
        ids = np.where(padding, token, pack["input_ids"]).tolist()
        found.append(ids + [token] * (shards.max_length - len(ids)))
    return found


@pytest.mark.filterwarnings(DIFFERENT_ENDS)
@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("packing", PACKINGS)
def test_files_are_those_of_a_builder(tmp_path, monkeypatch, write, packing):
    monkeypatch.setattr(megatron_bin, "_BLOCK", 5)
    path = packed(tmp_path, rows(labels=False), shard_size="1KB", **PACKINGS[packing])
    assert len(packsort.open_shards(path).manifest.shards) > 1
    write(tmp_path / "built", [[pack] for pack in filled(path)])
    tokens, index = written(path, pad_token_id=PAD)
    assert tokens == (tmp_path / "built.bin").read_bytes()
    assert index == (tmp_path / "built.idx").read_bytes()


@pytest.mark.parametrize("read", READERS)
@pytest.mark.filterwarnings(DIFFERENT_ENDS)
def test_a_sample_of_gpt_training_is_a_pack(tmp_path, read):
    path = packed(tmp_path, rows(labels=False))
    written(path, pad_token_id=-1)
    documents = read(tmp_path / "out" / "train")
    # `GPTDataset` shuffles documents, joins them, and cuts every `sequence_length` tokens.
    order = np.random.default_rng(0).permutation(len(documents))
    samples = np.concatenate([documents[number] for number in order]).reshape(-1, MAX_LENGTH)
    assert samples.tolist() == [filled(path, -1)[number] for number in order]


def test_every_token_must_carry_loss(tmp_path):
    ids = [[1, 2, EOD], [3, EOD]]
    first = pa.table({"input_ids": ids, "labels": [[-100, 2, EOD], [3, EOD]]})
    tokens, _ = written(packed(tmp_path / "first", first, 5))
    assert np.frombuffer(tokens, np.int32).tolist() == [1, 2, EOD, 3, EOD]
    for label, fault in ((-100, "carries no loss"), (7, "has the label 7")):
        table = pa.table({"input_ids": ids, "labels": [[1, label, EOD], [3, EOD]]})
        path = packed(tmp_path / f"label {label}", table, 5)
        with pytest.raises(packsort.SourceError, match=f"arrow`: pack 0: token 1 {fault}, .*format='megatron'"):
            written(path)
        assert not (path.parent / "out").exists()


def test_packs_that_are_not_full_need_a_token(tmp_path, run):
    path = packed(tmp_path, rows(labels=False))
    with pytest.raises(packsort.OptionError, match=r"filled up to max_length .*: pass `pad_token_id`"):
        written(path)
    failed = run("export", path, "-o", tmp_path / "out", "--format", "megatron-bin")
    assert failed.returncode == 1
    assert "`--pad-token-id ID`" in failed.stderr
    full = packed(tmp_path / "full", pa.table({"input_ids": [[1, 2], [3, 2]]}), 4)
    assert np.frombuffer(written(full)[0], np.int32).size == 4
    with pytest.raises(packsort.OptionError, match="pad_token_id has no use with format='trl'"):
        export(path, tmp_path / "trl", format="trl", pad_token_id=0)
    with pytest.raises(packsort.OptionError, match="pad_token_id must be"):
        written(path, pad_token_id=-2)


def test_ends_that_differ_are_said(tmp_path):
    ended = pa.table({"input_ids": [[1, 2, 3, EOD], [4, 5, 6]]})
    with pytest.warns(UserWarning, match=f"end with different tokens, such as 2 and {EOD}, .*`separator`"):
        written(
            packed(tmp_path / "differ", pa.table({"input_ids": [[1, 2], [EOD], [3]]}), 4, seed=None), pad_token_id=0
        )
    written(packed(tmp_path / "last may differ", ended, 8, seed=None), pad_token_id=0)
    separated = packed(tmp_path / "separated", rows(labels=False), separator=EOD, pad_token_id=EOD)
    written(separated)


@pytest.mark.filterwarnings(DIFFERENT_ENDS)
def test_command_writes_a_pair_and_replaces_its_own(tmp_path, run):
    path = packed(tmp_path, rows(labels=False))
    command = ("export", path, "-o", tmp_path / "out", "--format", "megatron-bin", "--pad-token-id", "-1")
    done = run(*command, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["files"] == [str(tmp_path / "out" / f"train.{end}") for end in ("bin", "idx")]
    assert found["metadata"] is None
    assert run(*command).returncode == 1
    assert run(*command, "--overwrite").returncode == 0
    (tmp_path / "out" / "train.idx").write_bytes(b"another program's")
    failed = run(*command, "--overwrite")
    assert failed.returncode == 1
    assert "train.bin" in failed.stderr


def test_columns_without_a_place_are_said(tmp_path):
    table = pa.table({"input_ids": [[1, 2], [3, 4]], "weights": [[0.5, 1.0], [1.0, 1.0]]})
    path = packed(tmp_path, table, 2)
    with pytest.warns(UserWarning, match="`weights` is left out: format='megatron-bin' has no place"):
        written(path)

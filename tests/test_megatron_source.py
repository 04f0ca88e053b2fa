"""Megatron's `.bin` and `.idx` files as a source."""

from __future__ import annotations

import os

import numpy as np
import pytest

import packsort
from indexed_data import WRITERS, index_bytes, write_pair
from packsort._options.input import InputConfig
from packsort.sources.formats import megatron
from packsort.sources.source import open_source
from packsort.sources.tokens.lengths import source_lengths
from packsort.torch import PackedLoader

DTYPES = ("uint8", "int8", "int16", "uint16", "int32", "int64")


def documents(count=40, *, seed=0, most=100):
    """Return documents of one to three sequences, each of one to nine tokens."""
    random = np.random.default_rng(seed)
    return [[random.integers(0, most, random.integers(1, 10)).tolist() for _ in range(random.integers(1, 4))]
            for _ in range(count)]  # fmt: skip


def joined(made):
    return [[token for sequence in document for token in sequence] for document in made]


@pytest.mark.parametrize("memory_map", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("write", WRITERS)
def test_documents_are_rows(tmp_path, write, dtype, memory_map):
    made = documents()
    source = open_source(write(tmp_path / "data", made, dtype), InputConfig(memory_map=memory_map))
    assert source.read(["length", "input_ids"]).to_pydict() == {
        "length": list(map(len, joined(made))),
        "input_ids": joined(made),
    }
    parts = [(first, batch["input_ids"].to_pylist()) for _, first, batch in source.batches(["input_ids"], 7)]
    assert parts == [(first, joined(made)[first : first + 7]) for first in range(0, len(made), 7)]
    assert source.files[0].bytes == sum(os.path.getsize(tmp_path / f"data.{end}") for end in ("bin", "idx"))


def test_blocks_of_the_index_join(tmp_path, monkeypatch):
    made = [*documents(30), [], [[]], [[], [3]], []]
    index = write_pair(tmp_path / "data", made)
    for block in (1, 3, 8):
        monkeypatch.setattr(megatron, "_BLOCK", block)
        source = open_source(index)
        assert source.read(["input_ids"])["input_ids"].to_pylist() == joined(made)
        assert [row for *_, batch in source.batches(["length"], 5) for row in batch["length"].to_pylist()] == list(
            map(len, joined(made))
        )


@pytest.mark.parametrize("name", ["data.idx", "data.bin", "data", "", "data.*", "*.idx", "*.bin", "d*"])
def test_either_file_both_or_their_folder_is_given(tmp_path, name):
    made = documents()
    write_pair(tmp_path / "data", made)
    source = open_source(tmp_path / name)
    assert source.num_rows == len(made)
    assert [file.path for file in source.files] == [str(tmp_path / "data.idx")]
    assert source.skipped == ()


def test_several_pairs_are_one_source(tmp_path):
    made = [documents(seed=seed) for seed in range(3)]
    for name, dtype, some in zip("abc", ("uint16", "int32", "int64"), made, strict=True):
        write_pair(tmp_path / name, some, dtype)
    source = open_source(tmp_path)
    assert source.read(["input_ids"])["input_ids"].to_pylist() == [row for some in made for row in joined(some)]
    assert open_source([tmp_path / "c.bin", tmp_path / "a"]).num_rows == 80
    with pytest.raises(packsort.SourceError, match=r"a.idx` is given twice"):
        open_source([tmp_path / "a.bin", tmp_path / "a.idx"])


def test_packs_hold_every_document(tmp_path):
    made = documents(200)
    index = write_pair(tmp_path / "data", made, "uint16")
    packsort.write_shards(index, tmp_path / "packed", 48)
    assert packsort.verify(tmp_path / "packed", tmp_path / "data")
    rows = joined(made)
    for pack in packsort.open_shards(tmp_path / "packed"):
        assert pack["input_ids"].tolist() == [token for row in pack["sequence_ids"] for token in rows[row]]
    (batch, *_) = PackedLoader(index, 48)
    assert batch["input_ids"].numel() > 30


def test_lengths_need_no_tokens(tmp_path):
    made = documents()
    source = open_source(write_pair(tmp_path / "data", made))
    (tmp_path / "data.bin").unlink()
    lengths, column = source_lengths(source)
    assert (lengths.to_pylist(), column) == (list(map(len, joined(made))), "length")


def test_files_of_other_programs_are_left_out(tmp_path):
    write_pair(tmp_path / "data", documents())
    (tmp_path / "other.idx").write_bytes(b"FFDB\x00")
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04")
    os.mkfifo(tmp_path / "pipe.idx")
    source = open_source(tmp_path)
    assert [file.path for file in source.files] == [str(tmp_path / "data.idx")]
    assert sorted(os.path.basename(file.path) for file in source.skipped) == [
        "other.idx",
        "pipe.idx",
        "pytorch_model.bin",
    ]
    (tmp_path / "data.jsonl").write_text('{"input_ids": [1]}\n')
    with pytest.raises(packsort.SourceError, match=r"differ only in their format|mixes formats"):
        open_source(tmp_path)


def test_tokens_beyond_int32_are_refused(tmp_path):
    index = write_pair(tmp_path / "data", [[[1, 2]], [[3, 2**31]]], "int64")
    with pytest.raises(packsort.SourceError, match=r"data.idx` row 1: .*2147483648"):
        packsort.write_shards(index, tmp_path / "packed", 8)
    negative = write_pair(tmp_path / "negative", [[[1, -1]]], "int8")
    with pytest.raises(packsort.SourceError, match=r"negative.idx` row 0: .*-1"):
        packsort.write_shards(negative, tmp_path / "packed", 8)


LENGTHS, DOCUMENTS = (2, 3, 1), (0, 2, 3)
SIZE = 4 * sum(LENGTHS)
WRONG_INDEX = {
    "shorter than its header": (index_bytes(LENGTHS, DOCUMENTS)[:20], "has 20 bytes, and its header alone has 34"),
    "cut": (index_bytes(LENGTHS, DOCUMENTS)[:-1], "has 93 bytes, and 3 sequences and 2 documents need 94"),
    "more sequences than bytes": (index_bytes(LENGTHS, DOCUMENTS, counts=(2**63, 3)), "9,223,372,036,854,775,808 sequ"),
    "more documents than bytes": (index_bytes(LENGTHS, DOCUMENTS, counts=(3, 2**64 - 1)), "need 147,573,952,589,676"),
    "no document index": (index_bytes(LENGTHS, (), counts=(3, 0)), "counts no document index"),
    "version": (index_bytes(LENGTHS, DOCUMENTS, version=2), "must have version 1 of Megatron's index, got 2"),
    "type": (index_bytes(LENGTHS, DOCUMENTS, code=9), "no type of tokens has the code 9"),
    "floats": (index_bytes(LENGTHS, DOCUMENTS, code=7), "must hold integers as tokens, got float32"),
    "negative length": (index_bytes((2, -3, 1), DOCUMENTS, pointers=(0, 8, 20)), "sequence 1 has -3 tokens"),
    "overlap": (
        index_bytes(LENGTHS, DOCUMENTS, pointers=(0, 4, 20)),
        "sequence 1 must begin at byte 8 of the .bin file, where the one before it ends, got 4",
    ),
    "first document": (index_bytes(LENGTHS, (1, 2, 3)), "the first document begins at sequence 1"),
    "order of documents": (index_bytes(LENGTHS, (0, 3, 2, 3)), "document 2 begins before the one before it"),
    "rest": (
        index_bytes(LENGTHS, (0, 2)),
        "its 1 documents end at sequence 2 of 3, so the rest belongs to no document",
    ),
    "beyond": (index_bytes(LENGTHS, (0, 2, 4)), "its 2 documents end at sequence 4 of 3"),
    "images": (index_bytes(LENGTHS, DOCUMENTS, modes=(0, 0, 1)), "sequence 2 has mode 1, so it is no text"),
    "old kind": (index_bytes(LENGTHS, DOCUMENTS, magic=b"TNTIDX\x00\x00\x00"), "index of the old cached or lazy kind"),
    "larger": (index_bytes((2, 3, 2), DOCUMENTS), r"must have the 28 bytes that .* counts, got 24"),
    "smaller": (index_bytes((2, 3, 0), DOCUMENTS), r"must have the 20 bytes that .* counts, got 24"),
}


@pytest.mark.parametrize("wrong", WRONG_INDEX)
def test_damaged_indices_are_refused(tmp_path, wrong):
    content, message = WRONG_INDEX[wrong]
    (tmp_path / "data.idx").write_bytes(content)
    (tmp_path / "data.bin").write_bytes(bytes(SIZE))
    with pytest.raises(packsort.SourceError, match=message.replace("(", r"\(")):
        open_source(tmp_path / "data.idx")


def test_modes_of_text_change_nothing(tmp_path):
    (tmp_path / "data.idx").write_bytes(index_bytes(LENGTHS, DOCUMENTS, modes=(0, 0, 0)))
    (tmp_path / "data.bin").write_bytes(np.arange(6, dtype=np.int32).tobytes())
    assert open_source(tmp_path / "data").read(["input_ids"])["input_ids"].to_pylist() == [[0, 1, 2, 3, 4], [5]]


def test_a_missing_half_is_named(tmp_path):
    index = write_pair(tmp_path / "data", documents())
    tokens = tmp_path / "data.bin"
    tokens.rename(tmp_path / "elsewhere")
    for given in (index, tmp_path / "data", tmp_path):
        with pytest.raises(packsort.SourceNotFoundError, match=r"no file `.*data.bin`, which holds the tokens of"):
            open_source(given)
    for make in (os.mkdir, os.mkfifo):
        make(tokens)
        with pytest.raises(packsort.SourceError, match="must be a file with the tokens of"):
            open_source(index)
        tokens.rename(tmp_path / f"{make.__name__} made it")
    (tmp_path / "elsewhere").rename(tokens)
    index.unlink()
    with pytest.raises(packsort.SourceNotFoundError, match=r"no file `.*data.idx`, the index of the tokens in"):
        open_source(tmp_path / "data")
    with pytest.raises(packsort.SourceError, match=r"`data.idx` is missing beside it"):
        open_source(tokens)


@pytest.mark.parametrize("memory_map", [True, False])
def test_files_that_changed_are_refused(tmp_path, memory_map):
    index = write_pair(tmp_path / "data", documents())
    source = open_source(index, InputConfig(memory_map=memory_map))
    os.truncate(tmp_path / "data.bin", 8)
    with pytest.raises(packsort.SourceError, match=r"data.bin` was changed since it was opened"):
        source.read(["input_ids"])
    os.truncate(index, 40)
    with pytest.raises(packsort.SourceError, match=r"data.idx` was changed since it was opened"):
        source.read(["length"])


def test_any_byte_of_the_index_may_be_wrong(tmp_path):
    made = documents(5)
    content = write_pair(tmp_path / "data", made).read_bytes()
    right = joined(made)
    refused = 0
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x81
        (tmp_path / "data.idx").write_bytes(damaged)
        try:
            found = open_source(tmp_path / "data").read(["input_ids"])["input_ids"].to_pylist()
        except packsort.SourceError:
            refused += 1
            continue
        # Only where a document begins can differ, and the type of as many bytes.
        assert [token for row in found for token in row] == [token for row in right for token in row]
    assert refused > len(content) * 0.9

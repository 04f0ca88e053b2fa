"""Columns with one value for each sequence ride along in packs, shards, datasets and batches; `verify` sees them."""

from __future__ import annotations

import inspect
import json
import os
import pickle
import warnings
from contextlib import contextmanager
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.loss.loss_utils import ForCausalLMLoss, fixed_cross_entropy

import packsort
from packsort._checksum import checksum
from packsort.hf import load, pack_dataset
from packsort.shards.sealed_json import seal
from packsort.torch import PackedCollator, PackedDataset, PackedLoader
from packsort.torch._loss_arguments import LOSS_ARGUMENTS
from packsort.torch.layouts import LAYOUTS
from tiny_models import llama
from tiny_tokenizer import built

# Python 3.12 and later warn of forks.
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`model...batch.` fails on `source`:UserWarning"),
]

KEEP = ["source", "pair", "reward", "chosen"]
SOURCES = ["math", "code", "math", "chat", "code"]
LENGTHS = [3, 5, 2, 4, 1]


def rows(number=5, seed=0):
    random = np.random.default_rng(seed)
    lengths = [LENGTHS[i % 5] for i in range(number)]
    return pa.table(
        {
            "input_ids": [random.integers(1, 90, n).tolist() for n in lengths],
            "source": [SOURCES[i % 5] for i in range(number)],
            "pair": pa.array(range(number), pa.uint16()),
            "reward": pa.array(random.random(number).astype(np.float32)),
            "chosen": [i % 2 == 0 for i in range(number)],
        }
    )


TABLE = rows()
FILLERS = {"source": None, "pair": -1, "reward": 0.0, "chosen": False}


def expected(table, ids, texts=True):
    """Return the kept values of segments."""
    columns = {name: table[name].to_pylist() for name in KEEP}
    found = {name: [FILLERS[name] if row < 0 else columns[name][row] for row in ids] for name in KEEP}
    return found if texts else found | {"source": [-1 if text is None else text for text in found["source"]]}


def as_texts(codes, dictionary):
    return [None if code < 0 else dictionary[code] for code in codes]


@given(
    number=st.integers(1, 40),
    seed=st.integers(0, 99),
    multiple=st.sampled_from([1, 2]),
    separator=st.sampled_from([None, 7]),
    overlong=st.sampled_from(["split", "drop", "truncate"]),
)
@settings(max_examples=40, deadline=None)
def test_every_segment_has_the_value_of_its_row(number, seed, multiple, separator, overlong):
    table = rows(number, seed)
    options = {"pad_to_multiple_of": multiple, "separator": separator, "overlong": overlong, "keep": KEEP}
    for pack in packsort.pack(table, 4, **options).to_pylist():
        assert {name: pack[name] for name in KEEP} == expected(table, pack["sequence_ids"])
    dataset = PackedDataset(table, 4, **options)
    for pack in dataset:
        values = expected(table, pack["sequence_ids"])
        assert as_texts(pack["source"], dataset.dictionaries["source"]) == values["source"]
        assert all(pack[name].tolist() == values[name] for name in KEEP[1:])


@pytest.mark.parametrize("format", ["arrow", "parquet"])
def test_shards_hold_codes_and_the_manifest_their_texts(format, tmp_path):
    manifest = packsort.write_shards(TABLE, tmp_path, 4, keep=KEEP, overlong="split", separator=7, format=format)
    shards = packsort.open_shards(tmp_path)
    assert shards.manifest == manifest
    assert manifest.options.keep == tuple(KEEP)
    assert shards.dictionaries == {"source": ("math", "code", "chat")}
    assert not {"source", "pair", "reward", "chosen"} & set(manifest.left_out)
    for pack in shards:
        values = expected(TABLE, pack["sequence_ids"])
        assert as_texts(pack["source"], shards.dictionaries["source"]) == values["source"]
        assert all(pack[name].tolist() == values[name] for name in KEEP[1:])
        assert (pack["pair"].dtype, pack["reward"].dtype, pack["chosen"].dtype) == (np.int64, np.float32, np.bool_)
    assert packsort.verify(tmp_path)
    result = packsort.verify(tmp_path, TABLE)
    assert result, str(result)


def test_conversations_keep_them_too(tmp_path):
    turn = [{"role": "user", "content": "one two three"}, {"role": "assistant", "content": "four five six"}]
    table = pa.table({"messages": [turn, turn * 4, turn], "source": ["a", "b", "a"]})
    tokenizer = built(tmp_path / "tokenizer")
    options = {"tokenizer": tokenizer, "keep": "source"}
    packsort.write_shards(table, tmp_path / "packed", 96, overlong="split_turns", **options)
    shards = packsort.open_shards(tmp_path / "packed")
    assert shards.manifest.counts.split == 1
    assert shards.manifest.left_out == ()
    for pack in shards:
        assert as_texts(pack["source"], ("a", "b")) == [table["source"][row].as_py() for row in pack["sequence_ids"]]
    assert packsort.verify(tmp_path / "packed", table, tokenizer=tokenizer)
    loader = PackedLoader(table, 512, **options)
    copy = pickle.loads(pickle.dumps(loader))
    for batch, again in zip(loader, copy, strict=True):
        assert as_texts(batch["source"], loader.dictionaries["source"]) == [
            table["source"][row].as_py() for row in batch["sequence_ids"].tolist()
        ]
        assert torch.equal(batch["source"], again["source"])


def test_a_killed_run_goes_on_with_them(tmp_path):
    pq.write_table(rows(400), tmp_path / "rows.parquet")
    call = (tmp_path / "rows.parquet", tmp_path / "packed", 8)
    options = {"keep": KEEP, "shard_size": "2kB"}

    @contextmanager
    def die_at_the_third_shard(name, total=None, unit=""):
        found = iter(range(99))
        yield lambda done, note="": os._exit(9) if name == "packing" and next(found) == 2 else None

    child = os.fork()
    if not child:
        packsort.write_shards(*call, stage=die_at_the_third_shard, **options)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    left = sorted((tmp_path / ".packed.packsort-unfinished").glob("*.arrow"))
    stamps = [path.stat().st_mtime_ns for path in left[:2]]
    assert len(stamps) == 2
    with pytest.raises(packsort.OutputExistsError, match=r"a run of another source or other options .* is unfinished"):
        packsort.write_shards(*call, shard_size="2kB")
    packsort.write_shards(*call, **options)
    assert [(tmp_path / "packed" / path.name).stat().st_mtime_ns for path in left[:2]] == stamps
    result = packsort.verify(tmp_path / "packed", call[0])
    assert result, str(result)


def test_the_command_keeps_and_says_so(run, tmp_path):
    pq.write_table(TABLE, tmp_path / "rows.parquet")
    done = run("pack", tmp_path / "rows.parquet", "-o", tmp_path / "out", "--max-length", 8, "--keep", "source", "pair")
    assert done.returncode == 0
    assert "kept        columns with a value for each sequence: `source` (3 texts), `pair`" in done.stdout
    assert packsort.open_shards(tmp_path / "out").column_names[-2:] == ("source", "pair")
    shown = run("inspect", tmp_path / "out", "--json")
    first = json.loads(shown.stdout)["segments"][0]
    assert first["kept"] == {"source": SOURCES[first["row"]], "pair": first["row"]}
    shown = run("inspect", tmp_path / "out").stdout
    assert f"source  {SOURCES[first['row']]!r}\npair    {first['row']}\n" in shown
    done = run("pack", tmp_path / "rows.parquet", "-o", tmp_path / "out2", "--max-length", 8, "--keep", "sauce")
    assert (done.returncode, "keep='sauce' names no column" in done.stderr) == (1, True)


def test_a_changed_value_is_found(tmp_path):
    packsort.write_shards(TABLE, tmp_path, 8, keep=KEEP, seed=None)
    other = {
        "source": pa.array(["chat", *SOURCES[1:]]),
        "pair": pa.array([9, 1, 2, 3, 4], pa.uint16()),
        "reward": pa.array(np.ones(5, np.float32)),
        "chosen": pa.array([False] * 5),
    }
    for name, values in other.items():
        changed = TABLE.set_column(TABLE.schema.get_field_index(name), name, values)
        (problem,) = packsort.verify(tmp_path, changed).problems
        assert f"`{name}` is" in problem
        assert ", in the source " in problem
    assert "keep='pair' names no column" in packsort.verify(tmp_path, TABLE.drop_columns(["pair"])).problems[0]
    later = TABLE.set_column(4, "chosen", pa.array([1, 0, 1, 0, 1]))
    assert packsort.verify(tmp_path, later).problems == ("column `chosen` is bool in the packs, int64 in the source",)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [("source", 7, "has code 7, its dictionary has 3 texts"), ("source", -1, "has code -1"), ("pair", 40, "is 40")],
)
def test_a_shard_that_was_changed_is_found(name, value, words, tmp_path):
    packsort.write_shards(TABLE, tmp_path, 64, keep=KEEP, format="parquet")
    (file,) = tmp_path.glob("*.parquet")
    table = pq.read_table(file)
    lists = table[name].chunk(0)
    values = [value, *lists.values.to_pylist()[1:]]
    place = table.schema.get_field_index(name)
    changed = pa.ListArray.from_arrays(lists.offsets, pa.array(values, lists.type.value_type))
    pq.write_table(table.set_column(place, name, changed), file)
    facts = json.loads((tmp_path / "manifest.json").read_text())
    facts["shards"][0] |= {"bytes": file.stat().st_size, "checksum": checksum(file)}
    (tmp_path / "manifest.json").write_text(json.dumps(seal(facts)))
    result = packsort.verify(tmp_path, TABLE)
    assert not result
    assert words in result.problems[0]


def test_datasets_read_codes_as_class_labels(tmp_path):
    packsort.write_shards(TABLE, tmp_path / "p", 8, keep=KEEP, format="parquet", seed=None)
    packsort.write_shards(TABLE, tmp_path / "a", 8, keep=KEEP, seed=None)
    packsort.export(tmp_path / "a", tmp_path / "trl", format="trl")
    files = {"parquet": tmp_path / "p", "trl": tmp_path / "trl"}
    read = [
        datasets.load_dataset("parquet", data_files=f"{path}/*.parquet", split="train", cache_dir=str(tmp_path / "c"))
        for path in files.values()
    ]
    for dataset in (*read, load(tmp_path / "a"), pack_dataset(datasets.Dataset(TABLE), 8, seed=None, keep=KEEP)):
        assert dataset.features["source"].feature.names == ["math", "code", "chat"]
        assert [dataset.features["source"].feature.int2str(one) for one in dataset["source"]] == [
            ["code", "math"],
            ["chat", "math", "code"],
        ]
        assert dataset["pair"] == [[1, 0], [3, 2, 4]]


def test_splits_of_a_dataset_share_their_codes():
    other = TABLE.set_column(1, "source", pa.array(["new", "code", "new", "chat", "math"]))
    both = datasets.DatasetDict({"train": datasets.Dataset(TABLE), "test": datasets.Dataset(other)})
    packed = pack_dataset(both, 8, seed=None, keep="source", separator=7)
    assert packed["train"].features == packed["test"].features
    labels = packed["test"].features["source"].feature
    assert [[code if code < 0 else labels.int2str(code) for code in pack] for pack in packed["test"]["source"]] == [
        ["code", -1, "new"],
        ["chat", -1, "new"],
        ["math"],
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("static", [False, True])
def test_batches_have_one_value_a_segment(layout, static):
    table = rows(60)
    options = {"pad_to_multiple_of": 4, "separator": 7}
    if static and layout in ("flat", "megatron"):
        options |= {"max_sequences": 3, "static_shapes": True, "pad_batch_to_multiple_of": 24}
    found = set()
    loader = PackedLoader(table, 16, layout=layout, batch_size=2, keep=KEEP, **options)
    assert loader.kept == (*KEEP, "seq_lengths", "sequence_ids")
    for batch in loader:
        tokens = batch["input_ids"] if "input_ids" in batch else batch["tokens"]
        lengths, ids = batch["seq_lengths"], batch["sequence_ids"].tolist()
        assert lengths.sum() == tokens.numel()
        values = expected(table, ids)
        assert as_texts(batch["source"].tolist(), loader.dictionaries["source"]) == values["source"]
        assert all(batch[name].tolist() == values[name] for name in KEEP[1:])
        for row, stretch in zip(ids, tokens.flatten().split(lengths.tolist()), strict=True):
            assert row < 0 or stretch.tolist() == table["input_ids"][row].as_py()
        found.add(len(ids))
    assert len(found) == 1 or "static_shapes" not in options


def test_directories_and_packs_on_the_fly_give_the_same(tmp_path):
    packsort.write_shards(TABLE, tmp_path, 8, keep=KEEP, seed=None)
    options = {"seed": None}
    fly, written = PackedLoader(TABLE, 8, keep=KEEP, **options), PackedLoader(tmp_path, **options)
    dataset = PackedDataset(tmp_path)
    collate = PackedCollator(max_length=8)
    assert fly.dictionaries == written.dictionaries == dataset.dictionaries
    for one, other, pack in zip(fly, written, dataset, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in fly.kept)
        assert all(torch.equal(one[name], collate([pack])[name]) for name in fly.kept)
    assert PackedLoader(tmp_path, keep="pair").kept == ("pair", "seq_lengths", "sequence_ids")
    assert PackedLoader(tmp_path, drop_columns=KEEP).kept == ()
    assert "source" not in next(iter(PackedLoader(tmp_path, drop_columns=KEEP)))
    with pytest.raises(packsort.OptionError, match=r"keep='weight' names no column.*keeps `source`"):
        PackedLoader(tmp_path, keep="weight")


def test_a_loader_resumes_with_them_and_not_with_others():
    table = rows(60)
    loader = PackedLoader(table, 8, keep=KEEP)
    batches = iter(loader)
    for _ in range(3):
        next(batches)
    state = loader.state_dict()
    rest = [batch["pair"].tolist() for batch in batches]
    again = PackedLoader(table, 8, keep=KEEP)
    again.load_state_dict(state)
    assert [batch["pair"].tolist() for batch in again] == rest
    with pytest.raises(packsort.OptionError):
        PackedLoader(table.set_column(2, "pair", pa.array([1] * 60)), 8, keep=KEEP).load_state_dict(state)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array(["a", None, "b", "c", "d"]), r"row 1: column `extra` is null; a column to keep needs a value"),
        (
            pa.DictionaryArray.from_arrays(pa.array([0, 1, 0, 0, 0]), pa.array(["a", None])),
            "row 1: column `extra` is null",
        ),
        (pa.array([[1.0]] * 5), "keep='extra' must name a column of text, numbers or booleans, got list"),
        (pa.array([2**64 - 1] * 5, pa.uint64()), "column `extra` must hold integers of 64 bits"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused(column, words):
    with pytest.raises(packsort.SourceError, match=words):
        packsort.pack(TABLE.append_column("extra", column), 8, keep=["extra"])


def test_a_column_of_too_many_texts_is_refused():
    ids = [[1]] * 70_000
    table = pa.table({"input_ids": ids, "id": [str(number) for number in range(70_000)]})
    with pytest.raises(packsort.SourceError, match=r"more than 65,536 different texts.*sequence_ids"):
        packsort.pack(table, 8, keep=["id"])


@pytest.mark.parametrize("wrong", ["input_ids", "seq_lengths", "length", 3, [1], [""], ["a", "a"]])
def test_wrong_names_are_refused_before_any_data_is_opened(wrong):
    for call in (packsort.pack, PackedLoader, PackedDataset):
        with pytest.raises(packsort.OptionError, match="keep must"):
            call("missing.parquet", 8, keep=wrong)
    with pytest.raises(packsort.OptionError, match="keep must"):
        packsort.write_shards("missing.parquet", Path("nowhere"), 8, keep=wrong)


def fails(batch):
    """Run the documented loop's step, and return its error."""
    with pytest.raises(TypeError, match="multiple values for argument 'source'"):
        llama(97)(**batch)


def test_a_column_that_the_loss_fails_on_is_warned_of_with_the_way_out(tmp_path):
    packsort.write_shards(TABLE, tmp_path, 16, keep=["source", "reward"])
    warning = r"^`model\(\*\*batch\)` fails on `source` of the batches.*drop_columns=.*keep=\['source', 'reward'\]"
    dataset = PackedDataset(tmp_path)
    with pytest.warns(UserWarning, match=warning):
        fails(next(iter(PackedLoader(tmp_path))))
    with pytest.warns(UserWarning, match=warning):
        fails(PackedCollator(max_length=16)([dataset[0]]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for batch in (
            *PackedLoader(tmp_path, drop_columns=["source"]),
            PackedCollator(max_length=16, drop_columns=["source"])([dataset[0]]),
        ):
            assert llama(97)(**batch).loss.isfinite()
        loader = PackedLoader(tmp_path, keep=["source", "reward"])
        batch = next(iter(loader))
        kept = {name: batch.pop(name) for name in loader.kept}
        assert llama(97)(**batch).loss.isfinite()
        assert {"source", "reward"} < set(kept)
        PackedCollator(max_length=16, keep=["source", "reward"])([dataset[0]])
        PackedLoader(tmp_path, layout="megatron")  # its model has another loss


def test_the_names_are_those_of_the_installed_losses():
    taken = {name for one in (ForCausalLMLoss, fixed_cross_entropy) for name in inspect.signature(one).parameters}
    assert taken - {"labels", "shift_labels", "kwargs"} == LOSS_ARGUMENTS

"""Conversations and text go in wherever tokens do: each door gives what the tokens themselves give."""

from __future__ import annotations

import pickle

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import packsort
import tiny_tokenizer
from loading import digests
from packsort.hf import pack_dataset
from packsort.torch import PackedCollator, PackedDataset, PackedLoader

CHATS = pa.table(
    {
        "messages": [
            [{"role": "user", "content": f"count {n} boats"}, {"role": "assistant", "content": "a boat " * (1 + n % 7)}]
            for n in range(40)
        ],
        "language": [["en", "de"][n % 2] for n in range(40)],
    }
)
PAIRS = pa.table({"prompt": [f"count {n}" for n in range(20)], "completion": [f" boats {n}" for n in range(20)]})
LIMIT = 128


@pytest.fixture(scope="module", params=["conversations", "pairs"])
def rows(request) -> pa.Table:
    return CHATS if request.param == "conversations" else PAIRS


@pytest.fixture
def tokens(rows: pa.Table, tokenizer: object) -> pa.Table:
    return packsort.tokenize(rows, tokenizer, keep=rows.column_names[-1:]).read()


def test_packs_in_memory_are_those_of_the_tokens(rows, tokens, tokenizer, tokenizer_folder, tmp_path):
    expected = packsort.pack(tokens, LIMIT, pad_token_id=tokenizer.pad_token_id, pad_to_multiple_of=8)
    for one in (tokenizer, tokenizer_folder, str(tokenizer_folder)):
        assert packsort.pack(rows, LIMIT, tokenizer=one, pad_to_multiple_of=8).equals(expected)
    packsort.write_shards(rows, tmp_path / "packed", LIMIT, tokenizer=tokenizer, pad_to_multiple_of=8)
    shards = packsort.open_shards(tmp_path / "packed")
    assert [shards[i]["labels"].tolist() for i in range(len(shards))] == expected["labels"].to_pylist()


def test_batches_are_those_of_the_tokens(rows, tokens, tokenizer, tmp_path):
    pq.write_table(rows, tmp_path / "rows.parquet")
    options = {"batch_size": 2, "layout": "rows", "groups": rows.column_names[-1]}
    expected = digests(PackedLoader(tokens, LIMIT, **options, pad_token_id=tokenizer.pad_token_id))
    for source in (rows, tmp_path / "rows.parquet", datasets.Dataset(rows)):
        loader = PackedLoader(source, LIMIT, tokenizer=tokenizer, **options)
        assert digests(loader) == expected
    again = PackedLoader(tokens, LIMIT, **options, pad_token_id=tokenizer.pad_token_id)
    again.load_state_dict(loader.state_dict())
    other = tiny_tokenizer.built(tmp_path / "other", template=tiny_tokenizer.TEMPLATE.replace("\\n", " "))
    if rows is CHATS:
        with pytest.raises(packsort.OptionError, match=r"state is of (other data|another plan)"):
            PackedLoader(rows, LIMIT, tokenizer=other, **options).load_state_dict(loader.state_dict())


def test_ranks_share_the_packs(rows, tokens, tokenizer):
    for rank in range(2):
        one, other = (
            PackedLoader(x, LIMIT, rank=rank, world_size=2, **more)
            for x, more in ((tokens, {}), (rows, {"tokenizer": tokenizer}))
        )
        assert digests(one) == digests(other)


class Once:
    """A tokenizer that refuses to be pickled: workers must not need it."""

    def __reduce__(self):
        raise AssertionError("the tokenizer was pickled")


@pytest.mark.parametrize("kind", [PackedLoader, PackedDataset])
@pytest.mark.parametrize("strategy", ["ffd", "optimal"])
def test_a_pickle_has_the_tokens_and_no_tokenizer(rows, tokens, tokenizer, kind, strategy, monkeypatch):
    options = {"tokenizer": tokenizer, "strategy": strategy, "groups": rows.column_names[-1], "separator": "<|im_end|>"}
    made = kind(rows, LIMIT, **options)
    if kind is PackedDataset:
        made = made.with_epoch(3)
    text = pickle.dumps(made)
    assert len(text) < len(pickle.dumps(tokens)) + 20_000
    assert b"transformers" not in text
    again = pickle.loads(text)
    if kind is PackedLoader:
        assert digests(made) == digests(again)
    else:
        for one, other in zip(made, again, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in one)


def test_spawned_workers_get_the_packs(rows, tokens, tokenizer):
    dataset = PackedDataset(rows, LIMIT, tokenizer=tokenizer)
    collate = PackedCollator("rows", LIMIT)
    loaders = [
        torch.utils.data.DataLoader(dataset, collate_fn=collate, num_workers=n, multiprocessing_context=context)
        for n, context in ((0, None), (1, "spawn"))
    ]
    one, other = ([batch["input_ids"].tolist() for batch in loader] for loader in loaders)
    assert one == other


def test_datasets_are_packed_for_trl(rows, tokens, tokenizer):
    split = datasets.Dataset(rows)
    expected = pack_dataset(datasets.Dataset(tokens.select(["input_ids", "labels"])), LIMIT)
    packed = pack_dataset(split, LIMIT, tokenizer=tokenizer)
    assert packed.column_names == ["input_ids", "labels", "seq_lengths"]
    assert packed[:] == expected[:]
    both = pack_dataset(datasets.DatasetDict(train=split, test=split), LIMIT, tokenizer=tokenizer)
    assert both["test"][:] == packed[:]
    assert (
        both["train"]._fingerprint
        == packed._fingerprint
        != pack_dataset(split, LIMIT, tokenizer=tokenizer, loss="all")._fingerprint
    )


def test_lengths_are_compared(rows, tokens, tokenizer):
    one, other = (
        packsort.compare(source, LIMIT, **more) for source, more in ((tokens, {}), (rows, {"tokenizer": tokenizer}))
    )
    assert (one.num_tokens, one.longest, one.lengths) == (other.num_tokens, other.longest, other.lengths)


def test_notes_about_tokens_are_warnings(tmp_path):
    without_end = tiny_tokenizer.built(tmp_path, eos=False)
    for call in (packsort.pack, PackedLoader, PackedDataset):
        with pytest.warns(UserWarning, match="no end-of-sequence token") as caught:
            call(PAIRS, LIMIT, tokenizer=without_end)
        assert caught[0].filename == __file__


def test_what_is_too_long_is_a_conversation(tokenizer):
    for call in (packsort.pack, PackedLoader, PackedDataset):
        with pytest.raises(packsort.LengthError) as caught:
            call(CHATS, 20, tokenizer=tokenizer)
        assert "of 40 conversations" in str(caught.value)
        assert "split_turns" not in str(caught.value)


def test_rows_without_a_tokenizer_name_it(tmp_path):
    for call in (packsort.pack, PackedLoader, PackedDataset, packsort.compare):
        for table in (CHATS, PAIRS, pa.table({"text": ["a"]})):
            with pytest.raises(packsort.SourceError, match="pass `tokenizer`"):
                call(table, LIMIT)
    with pytest.raises(packsort.SourceError, match="pass `tokenizer`"):
        packsort.write_shards(CHATS, tmp_path / "out", LIMIT)
    with pytest.raises(packsort.SourceError, match="pass `tokenizer`"):
        pack_dataset(datasets.Dataset(CHATS), LIMIT)


def test_options_of_text_need_text(tokenizer, tmp_path):
    table = pa.table({"input_ids": [[1, 2]]})
    packsort.write_shards(table, tmp_path / "packed", LIMIT)
    for call in (packsort.pack, PackedLoader, PackedDataset):
        with pytest.raises(packsort.OptionError, match="loss='all' does not go with tokenizer=None"):
            call(table, LIMIT, loss="all")
    for call in (PackedLoader, PackedDataset):
        with pytest.raises(packsort.OptionError, match=r"tokenizer does not go with `.*`, which is packed already"):
            call(tmp_path / "packed", tokenizer=tokenizer)


def test_a_template_that_reads_the_date_wants_it_fixed(tmp_path):
    dated = tiny_tokenizer.built(tmp_path, template="{{ strftime_now('%Y-%m-%d') }} " + tiny_tokenizer.TEMPLATE)
    with pytest.warns(UserWarning, match="date") as caught:
        PackedLoader(CHATS, LIMIT, tokenizer=dated)
    assert "the chat template reads the date, which is" in str(caught[-1].message)
    assert "today: pass template_date='" in str(caught[-1].message)
    with pytest.warns(UserWarning, match="writes a date, here 2024-07-26") as caught:
        fixed = PackedLoader(CHATS, LIMIT, tokenizer=dated, template_date="2024-07-26")
    assert len(caught) == 1
    assert "2024-07-26" in dated.decode(next(iter(fixed))["input_ids"][0])

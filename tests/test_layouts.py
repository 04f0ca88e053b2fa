"""Every layout against its definition, on packs with padding and separators in them."""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import packsort
from megatron_bridge import PackedSeqParams
from packs import MAX_LENGTH, make_pack, packs, pieces, shift
from packsort.torch import Batcher
from packsort.torch.layouts import LAYOUTS, megatron

PAD = 93


def check(found, expected):
    """Assert that a batch has the expected keys, types, shapes and values."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape), name
            assert torch.equal(found[name], value), name
        elif isinstance(value, list):
            assert [one.tolist() for one in found[name]] == [one.tolist() for one in value], name
        else:
            assert (type(found[name]), found[name]) == (type(value), value), name


def i32(values):
    return torch.tensor(values, dtype=torch.int32)


def ends(lengths):
    return i32([0, *np.cumsum(lengths).tolist()])


def plain_flat(given_packs, *, shifted=False, pack_attention=False, row=0, most=0, multiple=1):
    ids, labels, positions, index, segments = [], [], [], [], []
    for pack in given_packs:
        for tokens, marks, _ in pieces(pack):
            ids += tokens
            labels += shift(marks) if shifted else marks
            if not pack_attention:
                positions += range(len(tokens))
                index += [len(segments)] * len(tokens)
                segments.append(len(tokens))
        if pack_attention:
            positions += range(len(pack["input_ids"]))
            index += [len(segments)] * len(pack["input_ids"])
            segments.append(len(pack["input_ids"]))
        if short := row and row - len(pack["input_ids"]):
            ids += [PAD] * short
            labels += [-100] * short
            positions += range(short)
            index += [len(segments)] * short
            segments.append(short)
    longest = row or max(segments)
    room = len(given_packs) * (most + 1)
    if tail := -len(ids) % multiple:
        ids += [PAD] * tail
        labels += [-100] * tail
        positions += range(tail)
        index += [len(segments)] * tail
        segments.append(tail)
        longest, room = max(longest, tail), room + 1
    if most:
        segments += [0] * (room - len(segments))
    return {
        "input_ids": torch.tensor([ids]),
        "shift_labels" if shifted else "labels": torch.tensor([labels]),
        "position_ids": torch.tensor([positions]),
        "cu_seq_lens_q": ends(segments),
        "cu_seq_lens_k": ends(segments),
        "max_length_q": longest,
        "max_length_k": longest,
        "seq_idx": i32([index]),
    }


@pytest.mark.parametrize("attention", ["document", "pack"])
@pytest.mark.parametrize("labels", ["unshifted", "shifted"])
@given(given_packs=packs())
@settings(max_examples=40, deadline=None)
def test_flat_is_what_its_definition_says(labels, attention, given_packs):
    batcher = Batcher(max_length=MAX_LENGTH, labels=labels, attention=attention)
    expected = plain_flat(given_packs, shifted=labels == "shifted", pack_attention=attention == "pack")
    check(batcher(given_packs), expected)


@given(given_packs=packs())
@settings(max_examples=40, deadline=None)
def test_static_flat_pads_each_pack_and_repeats_the_end(given_packs):
    batcher = Batcher(max_length=MAX_LENGTH, max_sequences=5, max_fillers=5, pad_token_id=PAD)
    batch = batcher(given_packs)
    check(batch, plain_flat(given_packs, row=MAX_LENGTH, most=10))
    assert batch["input_ids"].shape == (1, len(given_packs) * MAX_LENGTH)
    assert batch["cu_seq_lens_q"].shape == (len(given_packs) * 11 + 1,)
    assert batch["cu_seq_lens_q"].diff().max() <= batch["max_length_q"] == MAX_LENGTH


@pytest.mark.parametrize("attention", ["document", "pack"])
@pytest.mark.parametrize("fixed", [{}, {"max_sequences": 5, "max_fillers": 5}])
@given(given_packs=packs(), multiple=st.sampled_from([1, 2, 7, 16, 100]))
@settings(max_examples=40, deadline=None)
def test_a_flat_batch_is_padded_to_a_multiple(fixed, attention, given_packs, multiple):
    options = {"max_length": MAX_LENGTH, "pad_token_id": PAD, "attention": attention, "loss_weights": "token", **fixed}
    batch = Batcher(pad_batch_to_multiple_of=multiple, **options)(given_packs, step_packs=given_packs)
    row, most = (MAX_LENGTH, 10) if fixed else (0, 0)
    weights = batch.pop("loss_weights")
    check(
        batch,
        plain_flat(given_packs, pack_attention=attention == "pack", row=row, most=most, multiple=multiple),
    )
    assert batch["input_ids"].shape[1] % multiple == 0
    assert weights.shape == batch["labels"].shape
    assert weights[batch["labels"] == -100].count_nonzero() == 0


@pytest.mark.parametrize("static", [False, True])
@given(given_packs=packs(), multiple=st.sampled_from([2, 7, 16, 100]))
@settings(max_examples=40, deadline=None)
def test_padding_of_a_whole_megatron_batch_belongs_to_its_last_sequence(static, given_packs, multiple):
    options = {"max_length": MAX_LENGTH, "pad_token_id": PAD, "max_sequences": 10 if static else None}
    plain = Batcher("megatron", **options)(given_packs)
    batch = Batcher("megatron", pad_batch_to_multiple_of=multiple, **options)(given_packs)
    tokens = plain["tokens"].shape[1]
    tail = -tokens % multiple
    assert batch["tokens"].shape[1] == batch["total_tokens"] == tokens + tail
    ends, before = (one["cu_seqlens_q_padded"].tolist() for one in (batch, plain))
    assert ends == [end + tail * (end == tokens) for end in before]
    assert torch.equal(batch["cu_seqlens_q"], plain["cu_seqlens_q"])
    longest = max(np.diff(ends))
    assert batch["max_seqlen_q"] == (MAX_LENGTH + tail if static else longest)
    assert longest <= batch["max_seqlen_q"]
    padding = {"tokens": PAD, "labels": PAD, "loss_mask": 0.0, "padding_mask": True}
    for name, value in padding.items():
        assert torch.equal(batch[name][:, :tokens], plain[name]), name
        assert (batch[name][:, tokens:] == value).all(), name
    assert batch["position_ids"][0, tokens:].tolist() == list(range(tail))


@pytest.mark.parametrize("padding", ["own", "last"])
@given(given_packs=packs())
@settings(max_examples=40, deadline=None)
def test_rows_are_what_their_definition_says(padding, given_packs):
    rows = {name: [] for name in ("input_ids", "labels", "position_ids", "segment_ids", "seq_idx")}
    for pack in given_packs:
        ids, labels, positions, segments, index, number = [], [], [], [], [], 0
        for i, (tokens, marks, kind) in enumerate(pieces(pack)):
            number += kind != -1
            ids += tokens
            labels += marks
            positions += range(len(tokens))
            segments += [0 if kind == -1 else number] * len(tokens)
            index += [i] * len(tokens)
        short = MAX_LENGTH - len(ids)
        start = positions[-1] + 1 if padding == "last" else 0
        rows["input_ids"].append(ids + [PAD] * short)
        rows["labels"].append(labels + [-100] * short)
        rows["position_ids"].append(positions + list(range(start, start + short)))
        rows["segment_ids"].append(segments + [number if padding == "last" else 0] * short)
        rows["seq_idx"].append(index + [index[-1] + (padding == "own")] * short)
    small = ("segment_ids", "seq_idx")
    expected = {name: torch.tensor(v, dtype=torch.int32 if name in small else None) for name, v in rows.items()}
    batcher = Batcher("rows", max_length=MAX_LENGTH, padding=padding, pad_token_id=PAD)
    check(batcher(given_packs), expected)


@pytest.mark.parametrize("layout", LAYOUTS)
@given(given_packs=packs())
@settings(max_examples=5, deadline=None)
def test_seq_idx_is_in_the_batches_of_transformers_unless_left_out(layout, given_packs):
    has = {choice: "seq_idx" in Batcher(layout, MAX_LENGTH, seq_idx=choice)(given_packs) for choice in (None, False)}
    assert has == {None: layout in ("flat", "rows"), False: False}


@pytest.mark.parametrize("static", [False, True])
@given(given_packs=packs())
@settings(max_examples=40, deadline=None)
def test_megatron_has_shifted_tokens_and_padding_at_the_end_of_sequences(static, given_packs):
    ids, labels, positions, real, padded = [], [], [], [], []
    for pack in given_packs:
        row = []
        for tokens, marks, kind in pieces(pack):
            row += tokens
            labels += shift(marks)
            positions += range(len(tokens))
            if kind >= 0 or not padded:
                padded.append(0)
                real.append(0)
            padded[-1] += len(tokens)
            real[-1] += len(tokens) if kind >= 0 else 0
        if static:
            short = MAX_LENGTH - len(row)
            row += [PAD] * short
            labels += [-100] * short
            positions += range(short)
            padded[-1] += short
        labels[len(ids) :] = [
            following if label == -100 else label
            for label, following in zip(labels[len(ids) :], [*row[1:], PAD], strict=True)
        ]
        ids += row
    mask = [float(m != -100) for pack in given_packs for m in _masks(pack, static)]
    filler = [kind < 0 for pack in given_packs for tokens, kind in _tokens(pack, static) for _ in tokens]
    longest = MAX_LENGTH if static else max(padded)
    if static:
        real += [0] * (10 * len(given_packs) - len(real))
        padded += [0] * (10 * len(given_packs) - len(padded))
    batcher = Batcher("megatron", max_length=MAX_LENGTH, max_sequences=10 if static else None, pad_token_id=PAD)
    batch = batcher(given_packs)
    check(
        batch,
        {
            "tokens": torch.tensor([ids]),
            "labels": torch.tensor([labels]),
            "loss_mask": torch.tensor([mask]),
            "position_ids": torch.tensor([positions]),
            "padding_mask": torch.tensor([filler]),
            "attention_mask": None,
            "qkv_format": "thd",
            "cu_seqlens_q": ends(real),
            "cu_seqlens_kv": ends(real),
            "cu_seqlens_q_padded": ends(padded),
            "cu_seqlens_kv_padded": ends(padded),
            "max_seqlen_q": longest,
            "max_seqlen_kv": longest,
            "total_tokens": len(ids),
        },
    )
    assert (batch["labels"] >= 0).all()  # every label is a token id, also where it carries no loss
    assert set(megatron.PACKED_SEQ_PARAMS) <= batch.keys() & {field.name for field in fields(PackedSeqParams)}


def _tokens(pack, static):
    short = MAX_LENGTH - len(pack["input_ids"]) if static else 0
    return [*((tokens, kind) for tokens, _, kind in pieces(pack)), ([PAD] * short, -1)]


def _masks(pack, static):
    found = [label for _, marks, _ in pieces(pack) for label in shift(marks)]
    return found + [-100] * (MAX_LENGTH - len(found)) if static else found


@given(given_packs=packs())
@settings(max_examples=40, deadline=None)
def test_torchtune_has_the_items_of_its_packed_dataset_stacked(given_packs):
    tokens, labels, positions, lens = [], [], [], []
    for pack in given_packs:
        parts = pieces(pack)
        short = MAX_LENGTH - len(pack["input_ids"])
        tokens.append([*pack["input_ids"].tolist(), *[PAD] * short])
        labels.append([m for _, marks, _ in parts for m in marks] + [-100] * short)
        runs = [i for ids, _, _ in parts for i in range(len(ids))]
        positions.append(runs + list(range(runs[-1] + 1, runs[-1] + 1 + short)))
        lens.append(torch.tensor([*pack["seq_lengths"].tolist(), *[short] * (short > 0)]))
    batch = Batcher("torchtune", max_length=MAX_LENGTH, pad_token_id=PAD)(given_packs)
    expected = {"tokens": tokens, "labels": labels, "input_pos": positions}
    check(batch, {**{name: torch.tensor(rows) for name, rows in expected.items()}, "seq_lens": lens})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_batch_of_many_tokens_is_filled_by_threads_alike(layout):
    long = [make_pack([700, 300, 24, 1000], [0, 1, -1, 2], labels=True, seed=i) for i in range(70)]
    batcher = Batcher(layout, max_length=2048, loss_weights="sample")
    names = {"flat": "input_ids", "rows": "input_ids"}
    whole = batcher(long, step_packs=long)
    parts = [batcher([pack], step_packs=long) for pack in long]
    assert whole[names.get(layout, "tokens")].numel() >= 2**17  # `PARALLEL_FROM` in the core
    for name in {names.get(layout, "tokens"), "labels", "loss_weights"}:
        dim = 1 if layout in ("flat", "megatron") else 0
        assert torch.equal(whole[name], torch.cat([part[name] for part in parts], dim)), name


def test_packs_need_no_sequence_ids():
    pack = make_pack([3, 2], [0, 1], labels=True)
    bare = {name: value for name, value in pack.items() if name != "sequence_ids"}
    check(Batcher(max_length=5)([bare]), Batcher(max_length=5)([pack]))


def test_lists_and_other_integers_are_taken():
    pack = make_pack([3, 2], [0, 1], labels=True)
    lists = {name: value.tolist() for name, value in pack.items()}
    check(Batcher(max_length=5)([lists]), Batcher(max_length=5)([pack]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "rows_"}, "layout must be one of 'flat', 'rows', 'megatron', 'torchtune', got 'rows_'"),
        ({"labels": "both"}, "labels must be one of None, 'unshifted', 'shifted', got 'both'"),
        ({"max_length": 0}, "max_length must be between 1 and 2**31 - 1, got 0"),
        ({"max_length": True}, "max_length must be an integer, got True"),
        ({"max_sequences": 0}, "max_sequences must be between 1 and 2**31 - 1, or None, got 0"),
        (
            {"layout": "megatron", "labels": "unshifted"},
            "labels='unshifted' does not go with layout='megatron': Megatron does not shift labels itself; "
            "layouts that take it: 'flat', 'rows', 'torchtune'",
        ),
        ({"layout": "torchtune", "labels": "shifted"}, "labels='shifted' does not go with layout='torchtune'"),
        ({"layout": "megatron", "seq_idx": True}, "seq_idx does not go with layout='megatron'"),
        (
            {"layout": "rows", "max_sequences": 3},
            "max_sequences does not go with layout='rows': its shapes are fixed without",
        ),
        (
            {"layout": "rows", "pad_batch_to_multiple_of": 8},
            "pad_batch_to_multiple_of does not go with layout='rows': each row has max_length tokens: choose a mult",
        ),
        ({"pad_batch_to_multiple_of": 0}, "pad_batch_to_multiple_of must be between 1 and 2**31 - 1, got 0"),
        (
            {"layout": "megatron", "max_sequences": 2, "max_fillers": 2},
            "max_fillers does not go with layout='megatron'",
        ),
        ({"max_fillers": 2}, "max_fillers needs max_sequences: without it no shape is fixed"),
        ({"padding": "last"}, "padding='last' does not go with layout='flat'"),
        ({"layout": "megatron", "block_mask": "full"}, "block_mask does not go with layout='megatron'"),
    ],
)
def test_options_that_are_wrong_or_clash_are_named(options, message):
    with pytest.raises(packsort.OptionError, match=re.escape(message)):
        Batcher(**{"max_length": 8, **options})


@pytest.mark.parametrize("name", ["input_ids", "seq_lengths"])
def test_a_column_that_is_missing_is_named(name):
    whole = make_pack([3, 2], [0, 1], labels=False)
    part = {key: value for key, value in whole.items() if key != name}
    with pytest.raises(packsort.SourceError, match=f"pack 1 of the batch has no column `{name}`, only '"):
        Batcher(max_length=5)([whole, part])


def test_labels_of_some_packs_only_are_refused():
    some = [make_pack([3, 2], [0, 1], labels=labels) for labels in (True, False)]
    with pytest.raises(packsort.SourceError, match="pack 1 of the batch has no column `labels`, but others do"):
        Batcher(max_length=5)(some)


def test_packs_beyond_what_was_said_are_named():
    pack = make_pack([3, 2], [0, 1], labels=False)
    with pytest.raises(packsort.SourceError, match="pack 0 of the batch has 5 tokens, more than max_length 4"):
        Batcher("rows", max_length=4)([pack])
    with pytest.raises(packsort.SourceError, match="pack 0 of the batch has 2 sequences, more than max_sequences 1"):
        Batcher(max_length=8, max_sequences=1)([pack])
    filled = pack | {"sequence_ids": np.array([0, -2])}
    with pytest.raises(
        packsort.SourceError, match=r"pack 0 of the batch has 1 sep.* max_fillers 0: pass max_fillers=1"
    ):
        Batcher(max_length=8, max_sequences=1)([filled])
    Batcher("megatron", max_length=8, max_sequences=1)([filled])
    with pytest.raises(packsort.OptionError, match="a batch needs at least one pack, got none"):
        Batcher(max_length=8)([])
    with pytest.raises(packsort.DamagedError, match="it has 3 sequence_ids for 2 seq_lengths"):
        Batcher(max_length=8)([pack | {"sequence_ids": np.zeros(3, np.int64)}])


def test_packs_without_sequence_ids_have_room_for_filler_too():
    packs = [{"input_ids": np.arange(7), "seq_lengths": np.array([2, 1, 2, 1, 1])}]
    batch = Batcher("flat", 8, max_sequences=3, max_fillers=2)(packs)
    assert batch["cu_seq_lens_q"].tolist() == [0, 2, 3, 5, 6, 7, 8]
    with pytest.raises(packsort.SourceError, match="4 sequences, more than max_sequences 3"):
        Batcher("flat", 8, max_sequences=3, max_fillers=1)(packs)

"""Batches of layout `megatron`, taken by what Megatron-Core and Megatron-Bridge do with them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

import packsort
from megatron_bridge import PackedSeqParams, gpt_step_batch, gpt_step_params
from packed_rows import packed, rows
from packs import MAX_LENGTH, make_pack, packs
from packsort.torch import Batcher, PackedLoader
from packsort.torch.layouts import megatron


def params(batch):
    return PackedSeqParams(**{name: batch[name] for name in megatron.PACKED_SEQ_PARAMS})


@pytest.mark.parametrize("static", [False, True])
@given(given_packs=packs())
@settings(max_examples=25, deadline=None)
def test_hybrid_models_find_the_sequence_of_each_token(static, given_packs):
    batch = Batcher("megatron", MAX_LENGTH, max_sequences=10 if static else None)(given_packs)
    made = params(batch)
    ends = batch["cu_seqlens_q_padded"]
    expected = torch.searchsorted(ends[1:].contiguous(), torch.arange(batch["total_tokens"]), right=True)
    assert made.seq_idx.shape == batch["tokens"].shape
    assert torch.equal(made.seq_idx[0].long(), expected)
    assert int(ends[-1]) == batch["total_tokens"]
    assert type(made.max_seqlen_q) is type(made.max_seqlen_kv) is type(made.total_tokens) is int


@given(given_packs=packs())
@settings(max_examples=25, deadline=None)
def test_what_attention_takes_for_padding_is_in_the_padding_mask(given_packs):
    batch = Batcher("megatron", MAX_LENGTH, max_sequences=10)(given_packs)
    starts, real = batch["cu_seqlens_q_padded"][:-1], batch["cu_seqlens_q"].diff()
    expected = torch.ones(batch["total_tokens"], dtype=torch.bool)
    for start, length in zip(starts.tolist(), real.tolist(), strict=True):
        expected[start : start + length] = False
    assert torch.equal(batch["padding_mask"][0], expected)
    assert not (batch["padding_mask"] & (batch["loss_mask"] > 0)).any()


def test_padding_is_marked_where_attention_spans_the_pack():
    pack = make_pack([3, 1, 2, 1], [0, -2, 1, -1], labels=True)
    batch = Batcher("megatron", 9, max_sequences=4, attention="pack")([pack])
    assert batch["padding_mask"].int().tolist() == [[0, 0, 0, 1, 0, 0, 1, 1, 1]]


@pytest.mark.parametrize("hybrid", [False, True])
def test_the_step_of_megatron_bridge_takes_a_batch(hybrid):
    batch = Batcher("megatron", 8)([make_pack([3, 1, 4], [0, -1, 1], labels=True)])
    taken = gpt_step_batch(megatron.for_gpt_step(batch))
    assert taken["padding_mask"].tolist() == [[False, False, False, True, False, False, False, False]]
    made, own = gpt_step_params(taken, hybrid=hybrid), params(batch)
    assert (made.max_seqlen_q, made.max_seqlen_kv) == (own.max_seqlen_q, own.max_seqlen_kv) == (4, 4)
    assert made.cu_seqlens_q.tolist() == [0, 3, 7]
    assert made.cu_seqlens_q_padded.tolist() == [0, 4, 8]
    assert (made.seq_idx is not None) == hybrid
    assert not hybrid or torch.equal(made.seq_idx, own.seq_idx)


@pytest.mark.parametrize(
    ("max_length", "options", "message"),
    [
        (61, {"static_shapes": True, "max_sequences": 9}, "max_length must be a multiple of the packs' pad_to_mul"),
        (64, {"pad_batch_to_multiple_of": 12}, "pad_batch_to_multiple_of must be a multiple of the packs' pad_to_mul"),
        (64, {"static_shapes": True, "max_sequences": 9}, None),
        (61, {"pad_batch_to_multiple_of": 4}, None),
        (61, {"pad_batch_to_multiple_of": 24}, None),
    ],
)
@pytest.mark.parametrize("written", [False, True])
def test_padding_at_the_end_of_a_row_keeps_the_multiple(tmp_path, max_length, options, message, written):
    packing = {"pad_to_multiple_of": 8, "max_sequences": options.get("max_sequences"), "overlong": "truncate"}
    layout = {name: value for name, value in options.items() if name != "max_sequences"}

    def loader():
        if written:
            return PackedLoader(packed(tmp_path, rows(20), max_length, **packing), layout="megatron", **layout)
        return PackedLoader(rows(20), max_length, layout="megatron", **packing, **layout)

    if message:
        with pytest.raises(packsort.OptionError, match=message):
            loader()
    else:
        for batch in loader():
            assert not (batch["cu_seqlens_q_padded"].diff() % 8).any()

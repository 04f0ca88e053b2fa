"""Batches of layout `megatron`, taken by what Megatron-Core and Megatron-Bridge do with them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings

from megatron_bridge import PackedSeqParams, gpt_step_batch, gpt_step_params
from packs import MAX_LENGTH, make_pack, packs
from packsort.torch import Batcher
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

"""Block masks equal those of PyTorch's `create_block_mask`, and FlexAttention gives equal results with both."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_block_mask, create_mask, flex_attention

import packsort
from packs import MAX_LENGTH, packs
from packsort.torch import Batcher, document_mask
from packsort.torch.masks import _TENSORS

# Eager FlexAttention warns that it is slow; compiling takes longer than all tests here.
pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")


def segments(rows):
    """Return `cu_seqlens` and documents of rows, each a list of lengths."""
    flat = [length for row in rows for length in row]
    documents = [torch.arange(len(row)).repeat_interleave(torch.tensor(row)) for row in rows]
    return torch.tensor([0, *flat]).cumsum(0).int(), torch.stack(documents).int()


def created(documents, block_size, window=None, chunk=None):
    """Make the mask with PyTorch, from the whole attention matrix."""
    rows, tokens = documents.shape
    starts = torch.stack([(row[:, None] == row).int().argmax(1) for row in documents])
    pieces = (torch.arange(tokens) - starts) // (chunk or tokens)

    def mod(b, h, q_idx, kv_idx):
        same = (documents[b, q_idx] == documents[b, kv_idx]) & (pieces[b, q_idx] == pieces[b, kv_idx])
        return same & (q_idx >= kv_idx) & (q_idx - kv_idx < (window or tokens))

    return create_block_mask(mod, rows, None, tokens, tokens, device="cpu", BLOCK_SIZE=block_size)


def check(found, expected):
    for name in _TENSORS:
        one, other = getattr(found, name), getattr(expected, name)
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        assert torch.equal(one, other), name
    assert torch.equal(found.to_dense(), expected.to_dense())
    assert (found.seq_lengths, found.BLOCK_SIZE) == (expected.seq_lengths, expected.BLOCK_SIZE)


@st.composite
def rows_of_lengths(draw):
    tokens = draw(st.integers(1, 70))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        cuts = sorted(draw(st.sets(st.integers(1, tokens - 1), max_size=8))) if tokens > 1 else []
        rows.append([b - a for a, b in zip([0, *cuts], [*cuts, tokens], strict=True)])
    return rows


@given(
    rows=rows_of_lengths(),
    block_size=st.sampled_from([1, 2, 4, 8, 16]),
    window=st.none() | st.integers(1, 80),
    chunk=st.none() | st.integers(1, 80),
)
@settings(max_examples=80, deadline=None)
def test_masks_equal_those_of_create_block_mask(rows, block_size, window, chunk):
    cu_seqlens, documents = segments(rows)
    found = document_mask(cu_seqlens, documents, window=window, chunk=chunk, block_size=block_size)
    expected = created(documents, block_size, window, chunk)
    check(found, expected)
    shape = (len(rows), None, documents.shape[1], documents.shape[1], "cpu")
    assert torch.equal(create_mask(found.mask_mod, *shape), create_mask(expected.mask_mod, *shape))


@pytest.mark.parametrize(
    "lengths", [[1024], [700, 324], [1] * 10 + [500, 514], [127, 1, 128, 129, 639], [300, 600, 100]]
)
@pytest.mark.parametrize(("window", "chunk"), [(None, None), (200, None), (None, 300)])
def test_masks_of_128_equal_and_attention_is_the_same(lengths, window, chunk):
    cu_seqlens, documents = segments([lengths])
    limits = {"window": window, "chunk": chunk}
    found, expected = document_mask(cu_seqlens, documents, **limits), created(documents, 128, **limits)
    check(found, expected)
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, documents.shape[1], 8)
    with torch.no_grad():
        assert torch.equal(flex_attention(q, k, v, block_mask=found), flex_attention(q, k, v, block_mask=expected))


@pytest.mark.parametrize("attention", ["document", "pack"])
@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("flat", {}),
        ("flat", {"max_sequences": 5, "max_fillers": 5, "pad_batch_to_multiple_of": 64}),
        ("rows", {}),
        ("rows", {"padding": "last"}),
        ("torchtune", {}),
    ],
)
@given(given_packs=packs())
@settings(max_examples=10, deadline=None)
def test_masks_of_batches_follow_their_segments(layout, options, attention, given_packs):
    batch = Batcher(layout, max_length=MAX_LENGTH, attention=attention, block_mask="full", **options)(given_packs)
    mask = batch["mask" if layout == "torchtune" else "attention_mask"]
    check(mask, created(mask.mask_mod.documents, 128))
    documents = mask.mask_mod.documents
    assert documents.shape == batch["tokens" if layout == "torchtune" else "input_ids"].shape
    if layout == "flat":
        assert documents[0].bincount().tolist() == [n for n in batch["cu_seq_lens_q"].diff().tolist() if n]
    elif layout == "torchtune" and attention == "document":
        assert [row.bincount().tolist() for row in documents] == [lens.tolist() for lens in batch["seq_lens"]]
    elif options.get("padding") != "last":
        starts = batch["position_ids" if layout == "rows" else "input_pos"] == 0
        if layout == "rows":
            assert torch.equal(documents, (starts.cumsum(1) - 1).int())


def test_flex_attention_is_imported_when_a_mask_is_asked_for():
    code = "import packsort.torch, sys; m = 'torch.nn.attention.flex_attention'; a = m in sys.modules; "
    code += "packsort.torch.document_mask; print(a, m in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == "False True\n"


def test_masks_are_pickled_and_moved_with_their_documents():
    cu_seqlens, documents = segments([[200, 100]])
    mask = document_mask(cu_seqlens, documents)
    again = pickle.loads(pickle.dumps(mask))
    check(again, mask)
    assert torch.equal(again.mask_mod.documents, documents)
    moved = mask.to("meta", non_blocking=True)
    assert moved.mask_mod.documents.device.type == moved.kv_indices.device.type == "meta"
    assert mask.kv_indices.device.type == "cpu"


@pytest.mark.parametrize("name", ["window", "chunk"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_windows_and_chunks_that_are_none_are_refused(name, value):
    with pytest.raises(packsort.OptionError, match=f"{name} must be "):
        document_mask(*segments([[4]]), **{name: value})

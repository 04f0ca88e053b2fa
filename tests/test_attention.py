"""`packsort_varlen` in models of transformers: equal to sequences run one by one, and refusals of what it cannot do."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from transformers import Trainer, TrainingArguments

import packsort
from packed_rows import MAX_LENGTH, VOCABULARY, rows
from packsort.torch import Batcher, PackedCollator, PackedDataset, attention, check_isolation
from packsort.torch._slow_attention import warn_of_slow
from packsort.torch._varlen import _flash, attend
from tiny_models import assert_unseen, gradients, llama

NO_CUDA = "needs a CUDA device"
NAME = attention.register()
LENGTHS = [9, 1, 14, 3]


def batch_of(*packs, **options):
    rng = np.random.default_rng(0)
    made = [
        {"input_ids": rng.integers(1, VOCABULARY, sum(lengths)), "seq_lengths": np.array(lengths)} for lengths in packs
    ]
    return Batcher(max_length=32, **options)(made)


def small(kind, **options):
    """Build a model of a class of transformers with two layers."""
    config = kind.config_class(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=0,
        **{"num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64} | options,
    )
    torch.manual_seed(0)
    return kind._from_config(config, attn_implementation=NAME).eval()


def run(model, batch, **options):
    return model(**{"use_cache": False} | batch | options)


@pytest.mark.parametrize("options", [{}, {"max_sequences": 6}], ids=["flat", "static shapes"])
def test_losses_and_gradients_are_those_of_sdpa(options):
    batch = batch_of(LENGTHS, [20, 8], **options)
    found = []
    for kind in (NAME, "sdpa"):
        model = llama(VOCABULARY, kind)
        loss = model(**batch).loss
        loss.backward()
        found.append((loss.detach(), gradients(model)))
    (loss, grads), (expected_loss, expected) = found
    assert (loss - expected_loss).abs() / expected_loss < 1e-6
    assert (grads - expected).norm() / expected.norm() < 1e-5
    if not options:
        assert_unseen(llama(VOCABULARY, NAME), batch)
    found = check_isolation(llama(VOCABULARY, NAME), batch)
    assert found
    assert found.alone == 2


def test_values_may_be_narrower_than_keys():
    starts = torch.tensor([0, 5, 8], dtype=torch.int32)
    query, key, value = torch.randn(8, 4, 6), torch.randn(8, 2, 6), torch.randn(8, 2, 3)
    found = attend(query, key, value, starts, 5, 0.5)
    assert found.shape == (8, 4, 3)
    own = (tensor[5:8].transpose(0, 1) for tensor in (query, key, value))
    expected = scaled_dot_product_attention(*own, is_causal=True, scale=0.5, enable_gqa=True)
    assert torch.allclose(found[5:8].transpose(0, 1), expected, atol=1e-6)


def test_the_kernel_of_the_installed_torch_takes_the_arguments():
    with FakeTensorMode():
        query, key, value = (torch.randn(8, heads, 16, dtype=torch.bfloat16) for heads in (4, 2, 2))
        assert _flash(query, key, value, torch.tensor([0, 5, 8], dtype=torch.int32), 5, None).shape == (8, 4, 16)


def test_windows_as_long_as_the_longest_sequence_do_not_matter():
    batch = batch_of(LENGTHS, [14, 14])
    assert batch["input_ids"].shape[1] > 14
    model = small(transformers.MistralForCausalLM, sliding_window=14)
    model.set_attn_implementation("sdpa")
    expected = run(model, batch).logits
    model.set_attn_implementation(NAME)
    assert torch.allclose(run(model, batch).logits, expected, atol=1e-5)


def test_a_mask_of_ones_is_no_mask():
    model, batch = llama(VOCABULARY, NAME), batch_of(LENGTHS)
    mask = torch.ones_like(batch["input_ids"])
    assert torch.equal(model(**batch, attention_mask=mask).logits, model(**batch).logits)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_trainer_trains_with_it_in_mixed_precision_and_with_checkpointing(tmp_path):
    dataset = PackedDataset(rows(), MAX_LENGTH)
    collate = PackedCollator(max_length=MAX_LENGTH)
    losses = []
    for kind in (NAME, "sdpa"):
        arguments = TrainingArguments(
            str(tmp_path),
            use_cpu=True,
            bf16=True,
            gradient_checkpointing=True,
            per_device_train_batch_size=2,
            max_steps=2,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        trainer = Trainer(llama(VOCABULARY, kind), arguments, train_dataset=dataset, data_collator=collate)
        losses.append(trainer.train().training_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)


def refused(message, model, batch, **options):
    start = f"attn_implementation='packsort_varlen' does not go with {message}"
    with pytest.raises(packsort.OptionError, match=re.escape(start)):
        run(model, batch, **options)


def without(batch, *names):
    return {name: value for name, value in batch.items() if name not in names}


def test_batches_that_are_not_flat_are_refused():
    model, batch = llama(VOCABULARY, NAME), batch_of(LENGTHS)
    refused("batches without cu_seq_lens_q: pass batches of layout='flat'", model, without(batch, "cu_seq_lens_q"))
    refused("batches without cu_seq_lens_q", model, batch_of(LENGTHS, [9], layout="rows"))
    two = {name: batch[name].repeat(2, 1) for name in ("input_ids", "position_ids")}
    refused("batches of several rows (here 2): pass batches of layout='flat'", model, batch | two)
    mask = torch.ones_like(batch["input_ids"])
    mask[0, -1] = 0
    refused("padding in attention_mask", model, batch, attention_mask=mask)
    tokens = mask.shape[1]
    refused("a Tensor as attention_mask: pass none", model, batch, attention_mask=torch.ones(1, 1, tokens, tokens))
    refused("a ", model, batch_of(LENGTHS, block_mask="full"))
    with pytest.raises(
        packsort.OptionError, match=f"cu_seq_lens_q must go from 0 to {tokens}, the tokens of the batch"
    ):
        run(model, batch | {"cu_seq_lens_q": batch["cu_seq_lens_q"][:-1]})


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated:FutureWarning")
def test_tokens_of_an_earlier_call_are_refused():
    model, batch = llama(VOCABULARY, NAME), batch_of(LENGTHS)
    cache = run(model, batch, use_cache=True).past_key_values
    refused("keys and values of an earlier call", model, batch, use_cache=True, past_key_values=cache)
    with pytest.raises(packsort.OptionError, match=r"to generate, or where the model .* choose 'sdpa'"):
        model.generate(batch["input_ids"], max_new_tokens=2)


def test_dropout_is_refused_in_training_only():
    model, batch = llama(VOCABULARY, NAME, attention_dropout=0.1), batch_of(LENGTHS)
    refused("dropout (here 0.1): set attention_dropout of the model's configuration to 0", model, batch)
    run(model.eval(), batch)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("MistralForCausalLM", {"sliding_window": 13}, "a window of 13 tokens in sequences of up to 14"),
        (
            "Qwen2ForCausalLM",
            {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 1},
            "a window of 4",
        ),
        ("Gemma3ForCausalLM", {"sliding_window": 4}, "a window of 4 tokens"),
        ("Llama4ForCausalLM", {"attention_chunk_size": 8, "intermediate_size_mlp": 32}, "a window of 8 tokens"),
        ("Gemma2ForCausalLM", {}, "a soft cap on scores"),
        ("GptOssForCausalLM", {"num_local_experts": 2}, "attention sinks"),
        ("BertModel", {}, "attention to later tokens"),
        ("BloomForCausalLM", {"n_head": 4}, "a model that applies masks itself"),
    ],
)
def test_models_that_need_more_are_refused(name, options, message):
    refused(message, small(getattr(transformers, name), **options), without(batch_of(LENGTHS), "labels"))


def test_weights_of_attention_are_refused():
    refused(
        "output_attentions=True: choose 'eager'", llama(VOCABULARY, NAME), batch_of(LENGTHS), output_attentions=True
    )


@pytest.mark.filterwarnings("error")
def test_long_flat_batches_through_sdpa_are_said_to_be_slow_on_an_accelerator():
    long, short = (Batcher(max_length=n)([{"input_ids": np.ones(n), "seq_lengths": [n - 4, 4]}]) for n in (4096, 64))
    with torch.device("meta"):
        sdpa, varlen = llama(VOCABULARY), llama(VOCABULARY, NAME)
    with pytest.warns(UserWarning, match="'sdpa' computes with a mask of 4,096 x 4,096 tokens for each flat batch"):
        warn_of_slow(sdpa, long)
    for model, batch in ((sdpa, short), (varlen, long), (llama(VOCABULARY), long)):
        warn_of_slow(model, batch)


# On a GPU


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
@pytest.mark.parametrize("value_dim", [64, 32])
def test_the_kernel_equals_sdpa_of_each_sequence(value_dim):
    starts = torch.tensor([0, 100, 356, 357, 512, 512], dtype=torch.int32)
    tensors = [
        torch.randn(512, heads, dim, dtype=torch.bfloat16, requires_grad=True)
        for heads, dim in ((8, 64), (2, 64), (2, value_dim))
    ]
    on_gpu = [tensor.detach().cuda().requires_grad_() for tensor in tensors]
    found, expected = attend(*on_gpu, starts.cuda(), 256, 0.2), attend(*tensors, starts, 256, 0.2)
    found.float().square().sum().backward()
    expected.float().square().sum().backward()
    pairs = [(found, expected), *((one.grad, other.grad) for one, other in zip(on_gpu, tensors, strict=True))]
    for one, other in pairs:
        difference = (one.detach().cpu().float() - other.detach().float()).norm()
        assert difference / other.detach().float().norm() < 2e-2


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
@pytest.mark.parametrize("mixed", [False, True])
def test_sequences_do_not_see_each_other_on_a_gpu(mixed):
    batch = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in batch_of(LENGTHS, [20, 8]).items()}
    model = llama(VOCABULARY, NAME).cuda()
    with pytest.raises(packsort.OptionError, match=re.escape("needs bfloat16 or float16 on a GPU, got torch.float32")):
        model(**batch)
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed):
        assert_unseen(model if mixed else model.bfloat16(), batch)

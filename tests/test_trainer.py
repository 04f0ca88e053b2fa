"""transformers' `Trainer` with `PackedDataset` and `PackedCollator`, and its attention implementations."""

from __future__ import annotations

import re

import pytest
import torch
from transformers import Lfm2Config, Lfm2ForCausalLM, Trainer, TrainingArguments

import packsort
from packed_rows import MAX_LENGTH, VOCABULARY, packed
from packsort.torch import Batcher, PackedCollator, PackedDataset
from tiny_models import assert_shifted_once, assert_unseen, gradients, llama

NO_CUDA = "needs a CUDA device"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return PackedDataset(packed(tmp_path_factory.mktemp("trainer")))


def trainer_for(tmp_path, dataset, collate, **options):
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        num_train_epochs=1,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        remove_unused_columns=False,
        **options,
    )
    return Trainer(llama(VOCABULARY), arguments, train_dataset=dataset, data_collator=collate)


@pytest.mark.parametrize("layout", ["flat", "rows"])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_trainer_trains_on_packs_that_do_not_see_each_other(tmp_path, dataset, layout, workers):
    collate = PackedCollator(layout, max_length=dataset.max_length)
    trainer = trainer_for(tmp_path, dataset, collate, dataloader_num_workers=workers)
    given = []
    trainer.model.register_forward_pre_hook(lambda _, __, kwargs: given.append(dict(kwargs)), with_kwargs=True)
    assert trainer.train().global_step == len(given) == -(-len(dataset) // 2)
    trainer.model._forward_pre_hooks.clear()
    for batch in given:
        assert_shifted_once(batch)
    if layout == "flat":
        assert sum(len(batch["cu_seq_lens_q"]) - 1 for batch in given) == 60
        assert_unseen(trainer.model, given[0])
    else:
        assert sum(int(batch["segment_ids"].max(1).values.sum()) for batch in given) == 60
        for i in range(2):  # one row at a time, as a flat batch
            assert_unseen(trainer.model, {name: given[0][name][i : i + 1] for name in ("input_ids", "position_ids")})


def test_accumulated_gradients_are_those_of_one_large_batch(tmp_path, dataset):
    """`Trainer` divides by the labels of all accumulated batches, so packs with few weigh little."""
    found = []
    for size, accumulation in ((1, 4), (4, 1)):
        options = {"gradient_accumulation_steps": accumulation, "max_steps": 1, "max_grad_norm": 0.0, "seed": 3}
        trainer = trainer_for(tmp_path, dataset, PackedCollator(max_length=dataset.max_length), **options)
        trainer.args.per_device_train_batch_size = trainer._train_batch_size = size
        grads = []
        trainer.create_optimizer_and_scheduler(1)
        trainer.optimizer.register_step_pre_hook(lambda *_: grads.append(gradients(trainer.model)))  # noqa: B023
        trainer.train()
        found.append(grads[0])
    assert ((found[0] - found[1]).norm() / found[1].norm()).item() < 1e-5


def test_columns_that_trainer_takes_away_are_missed_with_a_hint(tmp_path, dataset):
    trainer = trainer_for(tmp_path, dataset, PackedCollator(max_length=dataset.max_length))
    trainer.args.remove_unused_columns = True
    message = "has no column `seq_lengths`, only 'input_ids', 'labels': transformers' `Trainer` removes columns unless"
    with pytest.raises(packsort.SourceError, match=re.escape(message)):
        trainer.train()


# Attention


@pytest.fixture(scope="module")
def two(dataset):
    return [dataset[0], dataset[1]]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_sequences_see_themselves_only(two, attention):
    batch = Batcher(max_length=MAX_LENGTH)(two)
    assert_unseen(llama(VOCABULARY, attention), batch)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_over_packs_is_that_of_packs_run_one_by_one(two, attention):
    model = llama(VOCABULARY, attention)
    batcher = Batcher(max_length=MAX_LENGTH, attention="pack")
    with torch.no_grad():
        both = model(**batcher(two)).logits
        alone = [model(input_ids=torch.tensor(pack["input_ids"][None]).long()).logits for pack in two]
        apart = model(**Batcher(max_length=MAX_LENGTH)(two)).logits
    torch.testing.assert_close(both, torch.cat(alone, 1), rtol=1e-4, atol=1e-4)
    assert (apart - both).abs().max() > 1e-2


def test_static_and_plain_flat_batches_have_the_same_loss_and_gradients(two):
    model = llama(VOCABULARY)
    found = []
    for chosen in ({}, {"max_sequences": 40}):
        loss = model(**Batcher(max_length=MAX_LENGTH, **chosen)(two)).loss
        loss.backward()
        found.append((loss.item(), gradients(model)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert ((found[0][1] - found[1][1]).norm() / found[0][1].norm()).item() < 1e-5


def test_a_hybrid_model_keeps_sequences_apart_or_refuses_the_batch(two):
    """Without kernels, transformers refuses `seq_idx`; in the past it ignored it and let states run on."""
    shape = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}
    torch.manual_seed(0)
    model = Lfm2ForCausalLM(Lfm2Config(**shape, **heads, use_cache=False, initializer_range=0.3)).eval()
    batch = Batcher(max_length=MAX_LENGTH)(two)
    start, end = batch["cu_seq_lens_q"][1:3].tolist()
    with torch.no_grad():
        alone = model(batch["input_ids"][:, start:end]).logits
        without = model(**{name: value for name, value in batch.items() if name != "seq_idx"}).logits[:, start:end]
        try:
            packed = model(**batch).logits[:, start:end]
        except ValueError as error:
            assert "packed sequences" in str(error)  # noqa: PT017
        else:
            torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(without, alone, atol=1e-4)


# Eager FlexAttention warns that it is slow; PyTorch has no backward of it on the CPU, so losses are compared.
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@pytest.mark.parametrize("layout", ["flat", "rows"])
@pytest.mark.parametrize("attention", ["document", "pack"])
def test_flex_attention_with_our_block_mask_gives_what_sdpa_gives(two, layout, attention, monkeypatch):
    from torch.nn.attention.flex_attention import flex_attention
    from transformers.integrations import flex_attention as integration

    # uncompiled: compiling takes longer than all tests here
    monkeypatch.setattr(
        integration, "compile_friendly_flex_attention", lambda *args, training=False, **kw: flex_attention(*args, **kw)
    )
    options = {"max_length": MAX_LENGTH, "attention": attention}
    batch = Batcher(layout, block_mask="full", **options)(two)
    with torch.no_grad():
        flex = llama(VOCABULARY, "flex_attention")(**batch)
        sdpa = llama(VOCABULARY)(**Batcher(layout, **options)(two))
        wrong = llama(VOCABULARY)(**Batcher(layout, max_length=MAX_LENGTH, attention="document")(two))
    torch.testing.assert_close(flex.logits, sdpa.logits, rtol=1e-4, atol=1e-4)
    assert flex.loss.item() == pytest.approx(sdpa.loss.item(), rel=1e-5)
    if attention == "pack":
        assert abs(flex.loss.item() - wrong.loss.item()) > 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
@pytest.mark.parametrize("attention", ["flex_attention", "flash_attention_2"])
def test_gradients_on_the_gpu_equal_those_of_sdpa(two, attention):
    if attention == "flash_attention_2":
        pytest.importorskip("flash_attn")
    kind = torch.bfloat16
    batch = Batcher(max_length=MAX_LENGTH, block_mask="full" if attention == "flex_attention" else False)(two)
    moved = {name: v.to("cuda") if hasattr(v, "to") else v for name, v in batch.items()}
    found = []
    for name in (attention, "sdpa"):
        model = llama(VOCABULARY, name, hidden_size=128).to("cuda", kind)
        passed = moved if name == attention else {k: v for k, v in moved.items() if k != "attention_mask"}
        model(**passed).loss.backward()
        found.append(gradients(model).float())
    assert ((found[0] - found[1]).norm() / found[1].norm()).item() < 5e-2


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
def test_varlen_attention_of_torch_on_the_gpu_equals_sdpa_of_each_sequence(two):
    from torch.nn.attention.varlen import varlen_attn
    from torch.nn.functional import scaled_dot_product_attention

    batch = Batcher(max_length=MAX_LENGTH, max_sequences=40)(two)
    tokens = batch["input_ids"].shape[1]
    q, k, v = torch.randn(3, tokens, 4, 32, device="cuda", dtype=torch.bfloat16)
    starts, longest = batch["cu_seq_lens_q"].cuda(), batch["max_length_q"]
    try:
        found = varlen_attn(q, k, v, starts, starts, longest, longest, is_causal=True)
    except TypeError:  # later versions have a window in its place
        found = varlen_attn(q, k, v, starts, starts, longest, longest, window_size=(-1, 0))
    for start, end in zip(starts.tolist(), starts.tolist()[1:], strict=False):
        own = [x[start:end].transpose(0, 1)[None] for x in (q, k, v)]
        if end > start:
            expected = scaled_dot_product_attention(*own, is_causal=True)[0].transpose(0, 1)
            torch.testing.assert_close(found[start:end], expected, rtol=2e-2, atol=2e-2)

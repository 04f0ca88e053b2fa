"""`check_isolation` finds models in which sequences of a batch see each other, and leaves everything as it was."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertLMHeadModel,
    DataCollatorWithFlattening,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForSequenceClassification,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    RobertaConfig,
    RobertaForCausalLM,
)

import packsort
from packed_rows import VOCABULARY, rows
from packsort.torch import Batcher, PackedCollator, PackedDataset, PackedLoader, PackedStream, check_isolation
from packsort.torch._isolation.segments import number_segments
from tiny_models import llama

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
WIDE = SMALL | {"intermediate_size": 64, "num_key_value_heads": 2}


def table(seed=0):
    numbers = np.random.default_rng(seed)
    return pa.table({"input_ids": [numbers.integers(3, VOCABULARY, n).tolist() for n in (13, 7, 21, 5, 9, 1)]})


def loader(**options):
    return PackedLoader(table(), 64, device=None, **options)


def batch(**options):
    return next(iter(loader(**options)))


def mamba():
    torch.manual_seed(0)
    return MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8))


# What is found


@pytest.mark.parametrize("layout", ["flat", "rows"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_that_reads_positions_keeps_sequences_apart(layout, attention):
    found = check_isolation(llama(VOCABULARY, attention), loader(layout=layout))
    assert found
    assert (found.sequences, found.cause, found.leak, found.alone, found.noise) == (6, None, None, 2, 0.0)
    assert str(found) == (
        f"ok: 6 sequences of a batch do not see each other in LlamaForCausalLM ({attention}), and alone they give the "
        "same logits"
    )


def test_a_key_value_cache_is_named_with_the_way_out():
    model = llama(VOCABULARY, use_cache=True)
    found = check_isolation(model, loader())
    assert not found
    assert (found.cause, found.remedy, found.leak.module) == ("cache", "no_cache", "model.layers.0.self_attn")
    assert (found.leak.source, found.leak.target) == (0, 1)
    assert "`model.layers.0.self_attn` (LlamaAttention) attends across sequences because the model makes" in str(found)
    assert str(found).endswith(": set `model.config.use_cache = False`")
    model.config.use_cache = False
    assert check_isolation(model, loader())


def test_a_mask_of_ones_is_named_with_the_way_out():
    given = batch()
    found = check_isolation(llama(VOCABULARY), given | {"attention_mask": torch.ones_like(given["input_ids"])})
    assert (found.cause, found.remedy) == ("mask", "no_attention_mask")


def test_positions_that_run_on_are_a_leak():
    given = batch(seq_idx=False)
    tokens = given["input_ids"].shape[1]
    found = check_isolation(llama(VOCABULARY), given | {"position_ids": torch.arange(tokens)[None]})
    assert found.cause == "attention"


def test_state_that_runs_on_is_named():
    found = check_isolation(mamba(), loader())
    assert (found.cause, found.leak.module_class) == ("state", "MambaMixer")
    assert "carries state from one sequence into the next" in str(found)
    assert found.remedy == "one_sequence_a_row"


def test_a_convolution_without_its_kernel_is_refused_by_the_model_or_leaks():
    model = Lfm2ForCausalLM(Lfm2Config(**WIDE, layer_types=["conv", "full_attention"], use_cache=False))
    refused = check_isolation(model, batch(seq_idx=True))
    assert refused.cause == "refused"
    assert "refuses the batch: `causal_conv1d_fn` can't keep packed sequences apart without" in str(refused)
    leaking = check_isolation(model, batch(seq_idx=False))
    assert (leaking.cause, leaking.leak.module) == ("state", "model.layers.0.conv")
    assert "with `seq_idx` the model says: `causal_conv1d_fn` can't keep" in str(leaking)


def test_a_model_that_ignores_positions_is_named():
    model = OPTForCausalLM(OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32, use_cache=False))
    found = check_isolation(model, loader())
    assert (found.cause, found.leak.module) == ("attention", "model.decoder.layers.0.self_attn")


def test_attention_in_both_directions_is_found_and_is_not_helped_by_padding():
    found = check_isolation(BertLMHeadModel(BertConfig(**SMALL, intermediate_size=64)), loader())
    assert (found.cause, found.remedy) == ("attention", None)
    assert found.leak.target < found.leak.source


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_other_rounding_of_experts_is_no_leak(kind):
    torch.manual_seed(0)
    model = MixtralForCausalLM(MixtralConfig(**WIDE, num_local_experts=4, use_cache=False)).to(kind)
    assert check_isolation(model, loader())
    model.config.use_cache = True
    assert check_isolation(model, loader()).cause == "cache"


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_short_types_hide_no_leak(kind):
    assert check_isolation(llama(VOCABULARY).to(kind), loader())
    assert check_isolation(llama(VOCABULARY, use_cache=True).to(kind), loader()).cause == "cache"


def test_dropout_is_no_leak():
    model = llama(VOCABULARY, "eager", attention_dropout=0.5)
    assert check_isolation(model, loader())
    model.config.use_cache = True
    assert check_isolation(model, loader()).cause == "cache"


class Shifted(torch.nn.Module):
    """Positions count from the start of the row, and tokens see only themselves."""

    def __init__(self):
        super().__init__()
        self.tokens = torch.nn.Embedding(VOCABULARY, 8)
        self.places = torch.nn.Embedding(256, 8)

    def forward(self, input_ids):
        return self.tokens(input_ids) + self.places(torch.arange(input_ids.shape[1]))


def test_positions_of_their_own_are_found_alone():
    found = check_isolation(Shifted(), loader())
    assert (found.cause, found.leak) == ("positions", None)
    assert found.misplaced > 0.01
    assert "sequences have other positions in a batch than alone in Shifted (logits differ by" in str(found)
    assert {"position_ids", "cu_seq_lens_q"} <= set(found.not_taken)


def test_positions_that_a_model_shifts_alone_are_found():
    model = RobertaForCausalLM(RobertaConfig(**SMALL, intermediate_size=64, is_decoder=True, use_cache=False))
    given = batch(seq_idx=False)
    segments = number_segments(given)[0]
    mask = (segments[:, None] == segments) & (segments[:, None] == segments).tril()
    found = check_isolation(model, given | {"attention_mask": mask[None, None]})
    assert found.cause == "positions"


class Noisy(torch.nn.Module):
    """A model whose equal runs differ, as kernels with atomic sums do; it can leak beside."""

    def __init__(self, leak):
        super().__init__()
        self.leak, self.tokens, self.atoms = leak, torch.nn.Embedding(VOCABULARY, 8), torch.Generator().manual_seed(0)

    def forward(self, input_ids):
        found = self.tokens(input_ids)
        return found + 1e-5 * torch.randn(found.shape, generator=self.atoms) + self.leak * found.cumsum(1)


def test_noise_of_equal_runs_is_no_leak_and_hides_none():
    torch.manual_seed(0)
    quiet = check_isolation(Noisy(0.0), loader())
    assert quiet
    assert quiet.noise > 0
    assert check_isolation(Noisy(0.05), loader()).leak is not None


# What stays as it is


class Stateful(torch.nn.Module):
    """A model that writes to its buffer, its attributes and every generator, and draws from all of them."""

    def __init__(self):
        super().__init__()
        self.tokens = torch.nn.Embedding(VOCABULARY, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.drop = torch.nn.Dropout(0.5).eval()
        self.longest = 1

    def forward(self, input_ids, **kwargs):
        self.longest = max(self.longest, input_ids.shape[1])
        self.norm(torch.rand(4, 8) + random.random() + float(np.random.random()))
        return (self.tokens(input_ids),)


def test_model_and_random_numbers_are_as_before():
    model = Stateful().train()
    model.drop.eval()
    model.tokens(torch.tensor([1])).sum().backward()
    torch.manual_seed(3)
    before = (
        {name: value.clone() for name, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        model.tokens.weight.grad.clone(),
        (torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()),
        model.longest,
    )
    assert check_isolation(model, loader())
    assert all(torch.equal(value, before[0][name]) for name, value in model.state_dict().items())
    assert [module.training for module in model.modules()] == before[1]
    assert torch.equal(model.tokens.weight.grad, before[2])
    assert torch.equal(torch.get_rng_state(), before[3][0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[3][1:]
    assert model.longest == before[4]
    assert not any(module._forward_hooks for module in model.modules())


def test_config_is_as_before():
    model = llama(VOCABULARY, use_cache=True)
    before = model.config.to_dict()
    assert not check_isolation(model, loader())
    assert model.config.to_dict() == before


def places(one):
    return [batch["input_ids"].tolist() for batch in one]


@pytest.mark.parametrize("received", [0, 2])
def test_a_loader_stays_where_it_is(received):
    one, other = (PackedLoader(rows(), 64, device=None) for _ in range(2))
    for given in (one, other):
        taken = iter(given)
        for _ in range(received):
            next(taken)
    check_isolation(llama(VOCABULARY), one)
    assert one.state_dict() == other.state_dict()
    one.load_state_dict(one.state_dict())
    other.load_state_dict(other.state_dict())
    assert places(one) == places(other)


def test_other_loaders_stay_where_they_are():
    dataset = PackedDataset(rows(), 64)
    model, collate = llama(VOCABULARY), PackedCollator("flat", 64)

    def make():
        return DataLoader(dataset, shuffle=True, collate_fn=collate, generator=torch.Generator().manual_seed(0))

    one, other = make(), make()
    assert check_isolation(model, one)
    assert places(one) == places(other)
    stream, again = (PackedStream(table().to_pylist() * 3, 64, device=None) for _ in range(2))
    assert check_isolation(model, stream)
    assert places(stream) == places(again)


def test_iterators_are_refused_because_they_would_lose_a_batch():
    way_out = r"pass one batch, as in check_isolation\(model, batch\)"
    with pytest.raises(packsort.OptionError, match=way_out):
        check_isolation(llama(VOCABULARY), iter(loader()))


# Batches


@pytest.mark.parametrize("layout", ["flat", "rows", "torchtune"])
def test_segments_of_every_layout_are_those_of_the_packs(layout):
    packed = packsort.pack(table(), 32)
    packs = [{name: np.array(row[name]) for name in ("input_ids", "seq_lengths")} for row in packed.to_pylist()]
    found = number_segments(Batcher(layout, 32)(packs))
    lengths = [length for pack in packs for length in pack["seq_lengths"]]
    if layout == "flat":
        assert found.tolist() == [np.repeat(range(len(lengths)), lengths).tolist()]
    if layout == "rows":
        assert torch.bincount(found[found >= 0]).tolist() == lengths
        assert (found == -1).sum() == 32 * len(packs) - sum(lengths)
    if layout == "torchtune":  # its padding continues the last sequence of a row
        assert found.shape == (len(packs), 32)
        assert found.max() == len(lengths) - 1
        for row, pack in zip(found, packs, strict=True):
            assert torch.unique_consecutive(row, return_counts=True)[1].tolist()[:-1] == list(pack["seq_lengths"][:-1])


def test_batches_of_transformers_are_taken():
    collate = DataCollatorWithFlattening()
    given = collate([{"input_ids": row} for row in table()["input_ids"].to_pylist()])
    assert check_isolation(llama(VOCABULARY), given)
    assert number_segments(given).max() == 5


def test_one_sequence_leaves_nothing_to_check():
    one = PackedLoader(pa.table({"input_ids": [[1, 2, 3]]}), 8, device=None)
    with pytest.raises(packsort.OptionError, match="have one sequence each, so there is nothing to keep apart: pass"):
        check_isolation(llama(VOCABULARY), one)
    with pytest.raises(packsort.OptionError, match="batch has one sequence, so there is nothing to keep apart"):
        check_isolation(llama(VOCABULARY), next(iter(one)))


def test_batches_without_boundaries_are_refused():
    with pytest.raises(packsort.OptionError, match="which tell its sequences apart, got input_ids"):
        check_isolation(llama(VOCABULARY), {"input_ids": torch.ones(1, 8, dtype=torch.int64)})
    with pytest.raises(packsort.OptionError, match="batch must have `input_ids`"):
        check_isolation(llama(VOCABULARY), {"labels": torch.ones(1, 8, dtype=torch.int64)})


def test_block_masks_for_another_attention_are_refused_with_the_way_out():
    model = llama(VOCABULARY)
    for mask in ("full", model.config):
        with pytest.raises(
            packsort.OptionError, match="only FlexAttention takes, and LlamaForCausalLM attends by sdpa"
        ):
            check_isolation(model, batch(block_mask=mask))


@pytest.mark.parametrize("layout", ["megatron", "torchtune"])
def test_layouts_of_other_trainers_need_their_call(layout):
    model = llama(VOCABULARY)
    with pytest.raises(packsort.OptionError, match="LlamaForCausalLM takes no `tokens`: pass a batch of layout='flat'"):
        check_isolation(model, batch(layout=layout))

    def forward(model, batch):
        places = batch["position_ids" if layout == "megatron" else "input_pos"]
        return model(input_ids=batch["tokens"], position_ids=places).logits

    found = check_isolation(model, batch(layout=layout), forward=forward)
    assert found
    assert found.alone == 0
    model.config.use_cache = True
    assert not check_isolation(model, batch(layout=layout), forward=forward)


# Models


def test_wrapped_models_are_checked_as_what_they_are():
    model = llama(VOCABULARY)
    model.config.use_cache = True
    found = check_isolation(torch.compile(model), loader())
    assert (found.model, found.cause) == ("LlamaForCausalLM", "cache")


def test_logits_that_are_not_for_each_token_are_refused():
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(LlamaConfig(**WIDE, pad_token_id=0))
    with pytest.raises(packsort.OptionError, match=r"must return logits of shape .* pass `forward`, a function"):
        check_isolation(model, loader())


def test_models_without_a_head_are_checked_by_their_hidden_states():
    assert check_isolation(llama(VOCABULARY).model, loader())
    heads = torch.nn.ModuleList([llama(VOCABULARY)])
    assert check_isolation(heads, loader(), forward=lambda model, batch: model[0](**batch, return_dict=False)[0])


def test_logits_that_are_not_numbers_are_refused():
    model = llama(VOCABULARY)
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    with pytest.raises(packsort.OptionError, match="must return logits that are numbers, got NaN"):
        check_isolation(model, loader())


def test_a_check_takes_seven_runs():
    model, runs = llama(VOCABULARY), []
    handle = model.register_forward_hook(lambda *_: runs.append(1))
    assert check_isolation(model, loader())
    handle.remove()
    assert len(runs) == 7


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_models_on_a_gpu_are_checked_there(kind):
    model = llama(VOCABULARY).to("cuda", kind)
    before = torch.cuda.get_rng_state()
    assert check_isolation(model, loader())
    assert torch.equal(torch.cuda.get_rng_state(), before)
    model.config.use_cache = True
    assert check_isolation(model, loader()).cause == "cache"

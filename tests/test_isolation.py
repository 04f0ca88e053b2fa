"""`check_isolation` finds models in which sequences of a batch see each other."""

from __future__ import annotations

import pyarrow as pa
import pytest
from transformers import MambaConfig, MambaForCausalLM

import packsort
from packed_rows import VOCABULARY, rows
from packsort.torch import PackedLoader, check_isolation
from tiny_models import llama


@pytest.mark.parametrize("layout", ["flat", "rows"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_that_reads_positions_keeps_sequences_apart(layout, attention):
    found = check_isolation(llama(VOCABULARY, attention), PackedLoader(rows(), 64, layout=layout))
    assert found
    assert str(found).startswith("ok: ")


def test_a_key_value_cache_is_found_and_advised_against():
    found = check_isolation(llama(VOCABULARY, use_cache=True), PackedLoader(rows(), 64))
    assert not found
    assert "set `model.config.use_cache = False`" in str(found)


def test_state_that_runs_on_is_found():
    model = MambaForCausalLM(MambaConfig(vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=8))
    found = check_isolation(model, PackedLoader(rows(), 64))
    assert not found
    assert found.leaks[0].source < found.leaks[0].target


def test_a_loader_stays_where_it_is():
    loader, model = PackedLoader(rows(), 64), llama(VOCABULARY)
    next(iter(loader))
    before = loader.state_dict()
    check_isolation(model, loader)
    assert loader.state_dict() == before
    assert model.training


def test_one_sequence_leaves_nothing_to_check():
    table = pa.table({"input_ids": [[1, 2, 3]]})
    with pytest.raises(packsort.OptionError, match="one sequence each, and there is nothing to keep apart"):
        check_isolation(llama(VOCABULARY), PackedLoader(table, 8))

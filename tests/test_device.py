"""Every tensor of a batch, however deep it lies, is moved, and recorded on the stream that reads it."""

from __future__ import annotations

import io
import pickle
import time
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from packs import make_pack
from packsort._options.choices import LAYOUTS
from packsort.torch import Batcher, PackedLoader
from packsort.torch._device import DeviceMover, record
from packsort.torch._tensor_walk import map_tensors

NO_CUDA = "needs a CUDA device"
PACKS = [make_pack([7, 9, 2, 4], [0, 1, -1, 2], labels=True, seed=i) for i in range(3)]


class Finder(pickle.Pickler):
    """Finds tensors by another way than the package: pickling meets everything that a batch holds."""

    def __init__(self, value: Any) -> None:
        super().__init__(io.BytesIO())
        self.found: dict[int, torch.Tensor] = {}
        self.dump(value)

    def persistent_id(self, value: Any) -> int | None:
        if not isinstance(value, torch.Tensor):
            return None
        self.found[id(value)] = value
        return id(value)


def whole_batches():
    for layout in LAYOUTS:
        for option in (
            {},
            {"loss_weights": "sample"},
            {"block_mask": "full"},
            {"max_sequences": 5, "pad_batch_to_multiple_of": 64},
        ):
            if layout == "megatron" and "block_mask" in option:
                continue
            if layout in ("rows", "torchtune") and "max_sequences" in option:
                continue
            if layout == "flat" and "max_sequences" in option:
                option = option | {"max_fillers": 1}
            yield pytest.param(layout, option, id="-".join([layout, *option]))


@pytest.mark.parametrize(("layout", "options"), list(whole_batches()))
def test_every_tensor_of_every_layout_is_moved_and_recorded(layout, options, monkeypatch):
    batch = Batcher(layout, max_length=32, **options)(PACKS, step_packs=PACKS)
    expected = Finder(batch).found
    assert len(expected) >= (9 if "block_mask" in options else 3)
    recorded: list[int] = []
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: recorded.append(id(tensor)))
    record(batch, SimpleNamespace())
    assert sorted(recorded) == sorted(expected)  # each once, also where two names share it

    moved, arrival = DeviceMover(torch.device("meta")).start(batch)
    assert arrival is None
    assert moved.keys() == batch.keys()
    there = Finder(moved).found.values()
    assert len(there) == len(expected)
    assert {tensor.device.type for tensor in there} == {"meta"}
    assert all(tensor.device.type == "cpu" for tensor in expected.values())
    if layout == "flat":
        assert moved["cu_seq_lens_q"] is moved["cu_seq_lens_k"]


@dataclass(frozen=True)
class Held:
    inner: Any
    name: str = "held"


class Slotted:
    __slots__ = ("empty", "inner")

    def __init__(self, inner):
        self.inner = inner


Pair = namedtuple("Pair", ["one", "other"])


def test_tensors_are_reached_in_every_kind_of_container_and_object():
    made: list[torch.Tensor] = []

    def tensor():
        made.append(torch.tensor([len(made)]))
        return made[-1]

    shared = tensor()
    value = {
        "dict": OrderedDict(a=tensor(), b={"c": tensor()}),
        "list": [tensor(), (tensor(), "text", 3), shared],
        "named": Pair(tensor(), Held(tensor())),
        "object": SimpleNamespace(inner=[Slotted(tensor())], call=len, kind=torch.int64, array=np.arange(2)),
        "shared": shared,
        "nothing": Held(None),
    }
    seen: list[int] = []

    def add(one):
        seen.append(one.item())
        return one + 100

    again = map_tensors(value, add)
    assert sorted(seen) == list(range(len(made)))
    assert again["dict"]["b"]["c"].item() >= 100
    assert (type(again["dict"]), type(again["named"])) == (OrderedDict, Pair)
    assert again["named"].other.inner.item() >= 100
    assert again["object"].inner[0].inner.item() >= 100
    assert again["shared"] is again["list"][2]
    assert again["nothing"] is value["nothing"]
    assert [one.item() for one in made] == list(range(len(made)))  # the given value is as it was
    assert value["named"].other.inner is made[6]


def test_a_value_that_holds_itself_ends():
    knot: dict[str, Any] = {"tensor": torch.zeros(1)}
    knot["self"] = [knot]
    seen: list[torch.Tensor] = []
    map_tensors(knot, lambda one: seen.append(one) or one)
    assert seen == [knot["tensor"]]


def table(rows: int, low: int, high: int) -> pa.Table:
    random = np.random.default_rng(0)
    lengths = random.integers(low, high, rows)
    return pa.table({"input_ids": [random.integers(0, 2**31 - 1, n, dtype=np.int32) for n in lengths]})


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
@pytest.mark.parametrize("prefetch", [0, 2])
@pytest.mark.parametrize("layout", ["flat", "rows", "torchtune"])
def test_masks_are_whole_when_the_step_runs_ahead_of_the_gpu(layout, prefetch):
    """Each batch is let go before the step's stream reads it, so memory that is not recorded is written again."""
    options = {"max_length": 4096, "batch_size": 2, "seed": 3, "block_mask": "full", "layout": layout}
    source = table(2000, 16, 700)
    found = []
    for number, batch in enumerate(PackedLoader(source, device="cuda", prefetch=prefetch, **options)):
        torch.cuda._sleep(20_000_000)
        found.append([tensor.clone() for tensor in Finder(batch).found.values()])
        del batch
        if number == 0:
            time.sleep(0.01)  # a step so long that batches are made ahead on a thread
    torch.cuda.synchronize()
    expected = [Finder(batch).found.values() for batch in PackedLoader(source, prefetch=0, **options)]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(a.cpu(), b) for a, b in zip(one, other, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CUDA)
def test_flex_attention_steps_far_ahead_give_what_kept_masks_give():
    from torch.nn.attention.flex_attention import flex_attention

    attend = torch.compile(flex_attention)
    options = {"max_length": 4096, "seed": 3, "block_mask": "full", "device": "cuda"}
    source = table(400, 16, 700)

    def run(batches, ahead):
        generator, found = torch.Generator("cuda").manual_seed(0), []
        for batch in batches:
            shape = (3, 1, 2, batch["input_ids"].shape[1], 64)
            q, k, v = torch.randn(shape, device="cuda", dtype=torch.bfloat16, generator=generator).requires_grad_()
            if ahead:
                torch.cuda._sleep(20_000_000)
            out = attend(q, k, v, block_mask=batch["attention_mask"])
            gradients = torch.autograd.grad(out.float().square().sum(), (q, k, v))
            found.append(torch.stack([one.float().square().sum() for one in (out, *gradients)]))
            del batch
        return torch.stack(found)

    kept = list(PackedLoader(source, prefetch=0, **options))
    torch.cuda.synchronize()
    torch.testing.assert_close(run(PackedLoader(source, **options), True), run(kept, False), rtol=1e-3, atol=0)

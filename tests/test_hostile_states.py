"""States of loaders and streams that were damaged or made up are refused, or resume: never another exception."""

from __future__ import annotations

import copy
import json
import os
import pickle
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

import packsort
from packsort.errors import OptionError, PacksortError
from packsort.torch import PackedDataset, PackedLoader, PackedStream

REPEATS = int(os.environ.get("PACKSORT_REPEATS", "1"))  # how often as many cases as in the short run are tried
ROWS = [
    {"input_ids": [1 + n % 50] * (1 + n % 7), "labels": [n] * (1 + n % 7), "source": "ab"[n % 2]} for n in range(40)
]
VALUES: list[Any] = [None, True, False, -1, 1, 2, 2**31, 2**63, 2**64, 10**5000, 0.0, 1.5, float("nan"), float("inf")]
VALUES += ["", "1", "x", "\x1b[31m", "\ud800", b"1", [], [1], [[]], {}, {"a": 1}, (1, 2), torch.tensor(1), object()]
VALUES += [
    torch.zeros(0),
    torch.zeros(3),
    torch.ones(3, dtype=torch.int64),
    torch.tensor([-1, 2**62]),
    torch.zeros(2, 2),
]
VALUES += [torch.zeros(3, dtype=torch.bfloat16), torch.zeros(3, requires_grad=True), torch.zeros(3).to_sparse()]


class Counted(torch.utils.data.IterableDataset[Any]):
    """A source that saves its place."""

    def __init__(self) -> None:
        self.at = 0

    def __iter__(self) -> Iterator[Any]:
        while self.at < len(ROWS):
            self.at += 1
            yield ROWS[self.at - 1]
        self.at = 0

    def state_dict(self) -> dict[str, int]:
        return {"at": self.at}

    def load_state_dict(self, state: dict[str, int]) -> None:
        if type(state["at"]) is not int or not 0 <= state["at"] <= len(ROWS):
            raise ValueError(state["at"])
        self.at = state["at"]


def tokens() -> Any:
    import pyarrow as pa

    return pa.table({name: [row[name] for row in ROWS] for name in ("input_ids", "labels")})


LOADERS: dict[str, Callable[[], PackedLoader]] = {
    "plain": lambda: PackedLoader(tokens(), 16, prefetch=0),
    "balanced": lambda: PackedLoader(tokens(), 16, prefetch=0, balance=True, batch_size=2, accumulation=2),
}
STREAMS: dict[str, Callable[[], PackedStream]] = {
    "plain": lambda: PackedStream(ROWS, 16, buffer_size=8, prefetch=0),
    "kept": lambda: PackedStream(ROWS, 16, buffer_size=8, prefetch=2, keep="source"),
    "own state": lambda: PackedStream(Counted(), 16, buffer_size=8, prefetch=0),
}


def state_of(made: Any, batches: int = 2) -> dict[str, Any]:
    batch = iter(made)
    for _ in range(batches):
        next(batch)
    state: dict[str, Any] = made.state_dict()
    return state


def alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the place of each value, and of each list and mapping."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, one in inner:
        yield from leaves(one, (*path, key))


def changed(state: Any, path: tuple[Any, ...], change: Callable[[Any, Any], Any]) -> Any:
    """Returns a copy in which `change` was called with the holder of a value, and its key."""
    copied = copy.deepcopy(state)
    holder = copied
    for key in path[:-1]:
        holder = holder[key]
    change(holder, path[-1])
    return copied


def mutated(state: Any, draw: random.Random) -> Any:
    """Changes a value anywhere in a state, or a part of a tensor, or takes it away, or adds one."""
    path = draw.choice(list(leaves(state)))
    if not path:
        return draw.choice(VALUES)

    def change(holder: Any, key: Any) -> None:
        value = holder[key]
        kind = draw.randrange(5)
        if isinstance(holder, tuple):
            return
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[draw.choice(["x", "", 5, None, "lengths", "epoch", "\x1b"])] = draw.choice(VALUES)
        elif kind == 2 and isinstance(value, torch.Tensor) and value.numel():
            holder[key] = value = value.clone()
            most = torch.iinfo(value.dtype).max if not value.is_floating_point() else 2.0**100
            value[draw.randrange(len(value))] = draw.choice([0, 1, -1, most, most // 2])
        elif kind == 3 and isinstance(value, (torch.Tensor, list)):
            holder[key] = (
                value[1:] if draw.randrange(2) else [*value, *value] if isinstance(value, list) else value.repeat(2)
            )
        else:
            holder[key] = draw.choice(VALUES)

    return changed(state, path, change)


def tried(make: Callable[[], Any], state: Any, batches: int) -> bool:
    """Returns whether a state is taken; its batches come, or an error of packsort does."""
    made = make()
    before = made.state_dict()
    try:
        made.load_state_dict(state)
    except OptionError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert "state" in said
        assert type(made) is not PackedLoader or made.state_dict() == before
        return False
    try:
        for _, _ in zip(range(batches), made, strict=False):
            pass
        made.state_dict()
    except PacksortError:
        return False
    return True


@pytest.mark.parametrize("kind", LOADERS)
def test_every_value_of_a_loaders_state_is_checked(kind: str) -> None:
    loader = LOADERS[kind]()
    state = state_of(loader)
    json_state = json.loads(json.dumps(state))
    assert tried(LOADERS[kind], json_state, 100)
    for path in leaves(state):
        for value in VALUES:
            if not path:
                other = value
            else:
                now: Any = state
                for key in path:
                    now = now[key]
                other = changed(state, path, lambda holder, key, value=value: holder.__setitem__(key, value))  # type: ignore[misc]
                place = {"epoch": 2**64 - 1, "packs": 2}.get(str(path[-1]), -1)  # another place is one
                if path[:1] == ("balance",) and path[-1] in (3, 4):
                    place = 2  # other ranks and batches that fill the step
                if alike(value, now) or (type(value) is int and 0 <= value <= place):
                    continue
            with pytest.raises(OptionError):
                loader.load_state_dict(other)
    for key in state:
        with pytest.raises(OptionError, match=f"it has no '{key}'"):
            loader.load_state_dict({name: value for name, value in state.items() if name != key})
    with pytest.raises(OptionError, match=r"it has 'x', which is not known"):
        loader.load_state_dict(state | {"x": 1})


def test_states_of_another_kind_are_refused() -> None:
    loader, stream = LOADERS["plain"](), STREAMS["plain"]()
    for one, other in ((loader, stream.state_dict()), (stream, loader.state_dict())):
        with pytest.raises(OptionError, match="state must be one that `state_dict` returned: it has"):
            one.load_state_dict(other)
    with pytest.raises(OptionError, match="balance must be None or linear"):
        loader.load_state_dict(loader.state_dict() | {"balance": [1.0, 2.0]})
    balanced = LOADERS["balanced"]()
    linear, quadratic, attention, _, _ = balanced.state_dict()["balance"]
    for ranks in ([10**12, 1], [3, 1], [1, 3], [0, 1], [True, 1], [1.0, 1]):
        with pytest.raises(OptionError, match="balance"):
            balanced.load_state_dict(balanced.state_dict() | {"balance": [linear, quadratic, attention, *ranks]})


def test_json_states_with_changed_letters_are_refused_or_resume() -> None:
    draw = random.Random(1)
    taken = 0
    for kind in LOADERS:
        text = json.dumps(state_of(LOADERS[kind]()))
        for _ in range(60 * REPEATS):
            at = draw.randrange(len(text))
            other = text[:at] + draw.choice(list('0129.-e"[]{},: x')) + text[at + draw.randrange(2) :]
            try:
                state = json.loads(other)
            except ValueError:
                continue
            taken += tried(LOADERS[kind], state, 2)
    assert taken


@pytest.mark.parametrize("kind", STREAMS)
def test_mutated_states_of_streams_are_refused_or_resume(kind: str) -> None:
    draw = random.Random(2)
    states = [state_of(STREAMS[kind](), batches) for batches in (0, 2, 9)]
    assert all(tried(STREAMS[kind], state, 100) for state in states)
    taken = sum(tried(STREAMS[kind], mutated(draw.choice(states), draw), 100) for _ in range(100 * REPEATS))
    assert taken < 100 * REPEATS


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("taken",), 10**18, "taken must be the"),
        (("taken",), 1.0, "taken must be an integer, got 1.0"),
        (("ended",), 0, "ended must be True or False"),
        (("epoch",), -1, "epoch must be between"),
        (("version",), True, "version must be an integer, got True"),
        (("counts", "packs"), "1", "counts.packs must be an integer"),
        (("waiting", "numbers", 0), 10**6, "a sequence that is not among"),
        (("waiting", "lengths"), torch.tensor([2**62]), r"numbers and 1 lengths"),
        (("waiting", "input_ids"), torch.zeros(3, dtype=torch.int32), "input_ids has 3 values, its sequences"),
        (("kept", "kinds", "source"), "S1000000000", "kind of kept column 'source' must be one of"),
        (("kept", "dictionaries", "source"), [], "a code that its dictionary has not"),
        (("kept", "numbers"), [], "kept has no value of sequence"),
        (("columns", "read"), ["labels"], "columns.read must begin with 'input_ids'"),
    ],
)
def test_numbers_of_a_stream_are_held_against_each_other(path: Any, value: Any, words: str) -> None:
    state = state_of(STREAMS["kept"]())
    other = changed(state, path, lambda holder, key: holder.__setitem__(key, value))
    with pytest.raises(OptionError, match=words):
        STREAMS["kept"]().load_state_dict(other)


def test_a_source_that_does_not_take_its_state_is_named() -> None:
    stream = STREAMS["own state"]()
    state = state_of(stream) | {"source": {"place": 3}}
    again = STREAMS["own state"]()
    again.load_state_dict(state)
    with pytest.raises(
        packsort.SourceError, match=r"does not take the state that it is resumed with \(KeyError: 'at'\)"
    ):
        list(again)


def test_pickles_with_other_values_are_refused_or_work() -> None:
    draw = random.Random(3)
    made: list[Any] = [LOADERS["plain"](), LOADERS["balanced"](), STREAMS["kept"](), PackedDataset(tokens(), 16)]
    next(iter(made[2]))
    for one in made:
        kind, state = type(one), one.__getstate__()
        assert pickle.loads(pickle.dumps(one)) is not None
        for _ in range(60 * REPEATS):
            other = dict(state) if isinstance(state, dict) else [list(state[0]), state[1]]
            holder: Any = other if isinstance(other, dict) or draw.randrange(2) else other[0]
            key = draw.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            if isinstance(holder, dict) and not draw.randrange(3):
                del holder[key]
            else:
                holder[key] = draw.choice(VALUES)
            again = kind.__new__(kind)
            try:
                again.__setstate__(other)
                if isinstance(again, PackedLoader):
                    again.state_dict()
            except PacksortError:
                continue


def test_the_epoch_after_the_largest_is_the_first() -> None:
    loader = LOADERS["plain"]()
    loader.set_epoch(2**64 - 1)
    assert len(list(loader)) == len(loader)
    assert loader.epoch == 0
    assert len(list(loader)) == len(loader)

"""A stream of conversations or text gives what its tokens give, and continues exactly where a state was taken."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import packsort
import tiny_tokenizer
from loading import digest
from packsort.torch import PackedStream
from packsort.torch._stream import feed
from test_streaming import saved

ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"count {n}"},
            {"role": "assistant", "content": "a boat " * (1 + n % 9)},
        ],
        "language": "en",
    }
    for n in range(60)
]
PAIRS = [{"prompt": f"count {n}", "completion": f" boats {n}" * (1 + n % 5)} for n in range(40)]
TEXTS = [{"text": f"the harbour {n} " * (n % 4 + 1)} for n in range(40)]


def text_stream(tokenizer, rows=ROWS, **options):
    return PackedStream(rows, 96, tokenizer=tokenizer, **{"buffer_size": 7} | options)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks end within the rows of these tests."""
    monkeypatch.setattr(feed, "ROWS_AT_ONCE", 5)


@pytest.mark.parametrize("rows", [ROWS, PAIRS, TEXTS], ids=["conversations", "pairs", "text"])
@pytest.mark.parametrize("buffer_size", [1, 7, 100])
def test_batches_are_those_of_the_tokens(tokenizer, rows, buffer_size):
    tokens = packsort.tokenize(pa.Table.from_pylist(rows), tokenizer).read().select(["input_ids", "labels"]).to_pylist()
    expected = [digest(batch) for batch in PackedStream(tokens, 96, buffer_size=buffer_size, batch_size=2)]
    found = text_stream(tokenizer, rows, buffer_size=buffer_size, batch_size=2)
    assert [digest(batch) for batch in found] == expected
    assert found.counts["sequences"] == len(rows)


class Resumable:
    """A source that saves its place, as `datasets.IterableDataset` does."""

    def __init__(self, rows):
        self.rows, self.at = rows, 0

    def __iter__(self):
        while self.at < len(self.rows):
            self.at += 1
            yield self.rows[self.at - 1]
        self.at = 0

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]


KINDS = {
    "list": lambda rows: rows,
    "own state": Resumable,
    "datasets": lambda rows: datasets.Dataset.from_list(rows).to_iterable_dataset(),
}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    stop=st.integers(0, 20),
    buffer_size=st.integers(1, 20),
    batch_size=st.integers(1, 3),
    prefetch=st.sampled_from([0, 2]),
    overlong=st.sampled_from(["drop", "truncate"]),
    max_length=st.sampled_from([40, 96]),
    kind=st.sampled_from(list(KINDS)),
)
def test_a_stream_continues_where_a_state_was_taken(
    tokenizer, stop, buffer_size, batch_size, prefetch, overlong, max_length, kind
):
    def make():
        options = {"buffer_size": buffer_size, "batch_size": batch_size, "overlong": overlong, "prefetch": prefetch}
        return PackedStream(KINDS[kind](ROWS), max_length, tokenizer=tokenizer, **options)

    whole = [digest(batch) for batch in make()]
    first = make()
    batches = iter(first)
    received = [digest(batch) for _, batch in zip(range(stop), batches, strict=False)]
    again = make()
    again.load_state_dict(saved(first.state_dict()))
    rest = [digest(batch) for batch in again]
    assert received + rest == whole
    del batches
    complete = make()
    list(complete)
    assert again.counts == complete.counts


def test_a_failed_row_is_read_again(tokenizer):
    rows = [*ROWS[:23], {**ROWS[23], "messages": []}, *ROWS[24:]]
    for kind in KINDS:
        broken = text_stream(tokenizer, KINDS[kind](rows), prefetch=0)
        received = []
        with pytest.raises(packsort.SourceError, match=r"^row 23 of the stream: "):
            received.extend(digest(batch) for batch in broken)
        mended = text_stream(tokenizer, KINDS[kind](ROWS), prefetch=0)
        mended.load_state_dict(saved(broken.state_dict()))
        whole = [digest(batch) for batch in text_stream(tokenizer)]
        assert received + [digest(batch) for batch in mended] == whole, kind


def test_rows_are_as_python_has_them(tokenizer):
    """No Arrow stands between: contents may be text in one message and parts in another."""
    parts = [{"type": "text", "text": "count 1"}]
    template = tiny_tokenizer.TEMPLATE.replace(
        "message['content'] + '<|im_end|>\\n'",
        "(message['content'] if message['content'] is string else message['content'][0]['text']) + '<|im_end|>\\n'",
    )
    assert template != tiny_tokenizer.TEMPLATE
    tokenizer.chat_template, before = template, tokenizer.chat_template
    try:
        mixed = [
            {"messages": [{"role": "user", "content": parts if n % 2 else "count 1"}, *ROWS[n]["messages"][1:]]}
            for n in range(10)
        ]
        plain = [{"messages": [{"role": "user", "content": "count 1"}, *ROWS[n]["messages"][1:]]} for n in range(10)]
        one, other = ([digest(batch) for batch in text_stream(tokenizer, rows)] for rows in (mixed, plain))
        assert one == other
    finally:
        tokenizer.chat_template = before


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["numpy", "torch"])
def test_rows_of_a_formatted_stream_are_read_alike(tokenizer, kind):
    rows = [{"messages": [{**one, "weight": n % 2} for one in row["messages"]], "n": n} for n, row in enumerate(ROWS)]
    formatted = datasets.Dataset.from_list(rows).to_iterable_dataset().with_format(kind)
    one, other = ([digest(batch) for batch in text_stream(tokenizer, given)] for given in (rows, formatted))
    assert one == other


def test_a_stream_may_begin_with_an_empty_conversation(tokenizer):
    for nothing in ({"messages": []}, {"messages": [], "id": 3}):
        one = [digest(batch) for batch in text_stream(tokenizer, [nothing, *ROWS[:9]], empty="drop", buffer_size=1)]
        assert one
        with pytest.raises(packsort.SourceError, match=r"row 0 .* pass empty=.drop"):
            list(text_stream(tokenizer, [nothing, *ROWS[:9]], buffer_size=1))


def test_what_is_wrong_is_named_with_its_row(tokenizer):
    cases = [
        ([*ROWS[:7], {"messages": None}], "row 7 of the stream: column `messages` is null"),
        ([*ROWS[:7], {"language": "en"}], "row 7 of the stream: there is no column `messages`"),
        ([*ROWS[:7], {**ROWS[7], "system": "be good"}], "row 7 of the stream: column `system` appears"),
        ([*ROWS[:7], [1, 2]], "row 7 of the stream: a dict with `messages`, .* is needed, got a list"),
        ([{"input": 3}], "no usable column"),
    ]
    for rows, message in cases:
        with pytest.raises(packsort.SourceError, match=message):
            list(text_stream(tokenizer, rows))
    with pytest.raises(packsort.LengthError, match="pass overlong="):
        list(PackedStream(ROWS, 30, tokenizer=tokenizer))
    with pytest.raises(packsort.SourceError, match=r"sequence 0 of the stream: no column .* pass `tokenizer`"):
        list(PackedStream(ROWS, 96))
    for options in ({"loss": "all"}, {"columns": {"messages": "chat"}}, {"template_date": "2024-01-01"}):
        with pytest.raises(packsort.OptionError, match="does not go with tokenizer=None"):
            PackedStream(ROWS, 96, **options)


def test_tools_may_come_late(tokenizer):
    rows = [*ROWS[:9], {**ROWS[9], "tools": [{"type": "function", "function": {"name": "weather"}}]}]
    with pytest.warns(UserWarning, match="tool"):
        list(text_stream(tokenizer, rows))


def test_options_of_text_count(tokenizer):
    chats = [{"chat": row["messages"]} for row in ROWS]
    renamed = text_stream(tokenizer, chats, columns={"messages": "chat"})
    assert [digest(batch) for batch in renamed] == [digest(batch) for batch in text_stream(tokenizer)]
    everything = next(iter(text_stream(tokenizer, loss="all")))
    some = next(iter(text_stream(tokenizer)))
    assert (everything["labels"] >= 0).sum() > (some["labels"] >= 0).sum() > 0


def test_notes_are_warnings_once(tmp_path):
    without_end = tiny_tokenizer.built(tmp_path, eos=False)
    with pytest.warns(UserWarning, match="no end-of-sequence token") as caught:
        list(text_stream(without_end, TEXTS, prefetch=0))
    assert len(caught) == 1


def test_a_state_of_another_tokenizer_is_refused(tokenizer, tmp_path):
    taken = text_stream(tokenizer)
    next(iter(taken))
    state = saved(taken.state_dict())
    with pytest.raises(packsort.OptionError, match="state is of a stream with a tokenizer, this one is without"):
        PackedStream([[1]], 96, buffer_size=7).load_state_dict(state)
    other = tiny_tokenizer.built(tmp_path, template=tiny_tokenizer.TEMPLATE.replace("villain", "rogue"))
    for change in ({"tokenizer": other}, {"loss": "all"}):
        again = PackedStream(ROWS, 96, **{"tokenizer": tokenizer, "buffer_size": 7} | change)
        again.load_state_dict(state)
        with pytest.raises(packsort.OptionError, match="state is of a stream with another tokenizer"):
            list(again)
    tokens = PackedStream([[1]] * 9, 96, buffer_size=7)
    next(iter(tokens))
    with pytest.raises(packsort.OptionError, match="state is of a stream without a tokenizer, this one is with"):
        text_stream(tokenizer).load_state_dict(saved(tokens.state_dict()))


def test_a_wrong_tokenizer_is_refused_at_once(tmp_path):
    with pytest.raises(packsort.TokenizerError):
        PackedStream(ROWS, 96, tokenizer=tmp_path / "none")


def test_a_row_that_waits_keeps_no_others_in_memory(tokenizer):
    taken = text_stream(tokenizer)
    next(iter(taken))
    assert all(values.base is None for one in taken._packer._waiting.values() for values in one.values())
    assert all(isinstance(values, np.ndarray) for one in taken._packer._waiting.values() for values in one.values())


def test_rows_without_loss_are_counted_and_said_once(tokenizer):
    asked = {"messages": [{"role": "user", "content": "five"}]}
    rows = [ROWS[0], asked, asked, ROWS[1]]
    stream = text_stream(tokenizer, rows)
    with pytest.warns(UserWarning, match="row 1 of the stream has no token that carries loss") as caught:
        list(stream)
    assert sum("carries loss" in str(one.message) for one in caught) == 1
    assert stream.counts["without_loss"] == 2


def test_rows_that_lose_their_loss_by_truncation_are_counted(tokenizer):
    pair = {"prompt": "two three four" * 20, "completion": " five"}
    stream = PackedStream([pair, pair], 8, tokenizer=tokenizer, overlong="truncate")
    with pytest.warns(UserWarning, match="row 0 of the stream has no token that carries loss"):
        list(stream)
    assert (stream.counts["truncated"], stream.counts["without_loss"]) == (2, 2)

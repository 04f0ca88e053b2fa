"""What is not trained is counted: turns without an end, sequences and packs without loss, words left out."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import packsort
import tiny_tokenizer
from chat_templates import stock_templates, tokenizer_of
from packsort.tokenization.notes import Note
from packsort.tokenization.tokenize import tokenize
from tiny_tokenizer import built

CHAT = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "five"}]
EARLY = tiny_tokenizer.TEMPLATE.replace(
    " + '<|im_end|>' }}{% endgeneration %}", " }}{% endgeneration %}{{- '<|im_end|>' }}"
)

SIDES = ("left", "right")


def kinds(tokens) -> set[str]:
    tokens.read()
    return {note.kind for note in tokens.notes}


def test_end_of_turn_outside_the_marks_is_said(tmp_path):
    tokenizer = built(tmp_path / "tokenizer", template=EARLY)
    table = pa.table({"messages": [CHAT] * 3 + [CHAT[:1]]})
    tokens = tokenize(table, tokenizer)
    tokens.read()
    assert Note("end_of_turn_without_loss", {"number": 3}) in tokens.notes
    with pytest.warns(
        UserWarning, match="in 3 conversations no token that ends the assistant's last turn carries loss"
    ):
        manifest = packsort.write_shards(table, tmp_path / "packed", 64, tokenizer=tokenizer)
    assert tokens.notes[0] in manifest.tokenizer.notes
    assert manifest.counts.without_loss == 1


@pytest.mark.parametrize("template", [tiny_tokenizer.TEMPLATE, tiny_tokenizer.UNMARKED_TEMPLATE])
def test_trained_end_of_turn_is_not_said(tmp_path, template):
    tokenizer = built(tmp_path, template=template)
    assert "end_of_turn_without_loss" not in kinds(tokenize(pa.table({"messages": [CHAT]}), tokenizer))


def test_end_of_turn_in_letters_is_said(tmp_path):
    tokenizer = built(tmp_path)
    tokenizer.split_special_tokens = True
    assert "end_of_turn_without_loss" in kinds(tokenize(pa.table({"messages": [CHAT]}), tokenizer))


def test_words_that_the_template_leaves_out_are_said(tmp_path):
    cut = tiny_tokenizer.TEMPLATE.replace(
        "message['content'] + '<|im_end|>' }}{% e", "message['content'].split('</think>')[-1] + '<|im_end|>' }}{% e"
    )
    tokenizer = built(tmp_path, template=cut)
    thinking = [CHAT[0], {"role": "assistant", "content": "<think>two</think>five"}]
    tokens = tokenize(pa.table({"messages": [CHAT, thinking]}), tokenizer)
    tokens.read()
    assert Note("words_not_written", {"number": 1}) in tokens.notes


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_thoughts_that_the_template_leaves_out_are_said(tmp_path, key):
    thinking = [CHAT[0], {**CHAT[1], key: "two and three"}]
    assert "words_not_written" in kinds(tokenize(pa.table({"messages": [thinking]}), built(tmp_path)))


def test_messages_that_no_template_writes_are_said_by_role():
    template = stock_templates()["qwen2_5"]
    chats = [
        [{"role": "developer", "content": "Be brief."}, *CHAT],
        [{"role": "human", "content": "wind"}, {"role": "gpt", "content": [{"type": "text", "text": "rain"}]}],
        [*CHAT, {"role": "tool", "content": "sea"}, {"role": "tool", "content": "{}"}, CHAT[1]],
    ]
    tokens = tokenize(pa.table({"messages": [json.dumps(chat) for chat in chats]}), tokenizer_of(template))
    tokens.read()
    values = {"number": 3, "roles": "`developer`, `human`, `gpt`"}
    assert [note for note in tokens.notes if note.kind == "messages_not_written"] == [
        Note("messages_not_written", values)
    ]


labels = st.lists(st.sampled_from([-100, -100, 5]), min_size=1, max_size=12)


@pytest.mark.parametrize(
    "options",
    [
        {"overlong": "drop"},
        {"overlong": "split"},
        *({"overlong": "truncate", "truncation_side": side} for side in SIDES),
    ],
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(labels, min_size=1, max_size=20))
def test_packs_and_sequences_without_loss_are_counted(tmp_path, options, rows):
    table = pa.table({"input_ids": [[7] * len(row) for row in rows], "labels": rows})
    manifest = packsort.write_shards(table, tmp_path / "packed", 8, overwrite=True, seed=1, **options)
    trained: dict[int, int] = {}
    without = 0
    for pack in packsort.open_shards(tmp_path / "packed"):
        ends = np.cumsum(pack["seq_lengths"])[:-1]
        counts = [int((one != -100).sum()) for one in np.split(pack["labels"], ends)]
        without += sum(counts) == 0
        for index, count in zip(pack["sequence_ids"].tolist(), counts, strict=True):
            if index >= 0:
                trained[index] = trained.get(index, 0) + count
    assert manifest.counts.packs_without_loss == without
    assert manifest.counts.without_loss == sum(count == 0 for count in trained.values())


def test_the_summary_says_what_is_not_trained(tmp_path, run):
    import pyarrow.parquet as pq

    table = pa.table({"input_ids": [[7] * 9, [7] * 3], "labels": [[-100] * 8 + [7], [7] * 3]})
    pq.write_table(table, tmp_path / "rows.parquet")
    done = run(
        "pack", tmp_path / "rows.parquet", "-o", tmp_path / "packed", "--max-length", 8, "--overlong", "truncate"
    )
    assert "1 sequences have no token that carries loss, and 1 packs hold only such" in " ".join(done.stdout.split())

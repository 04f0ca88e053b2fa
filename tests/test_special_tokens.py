"""One token at the start and one at the end of plain text, whatever a tokenizer adds and a text already holds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from trl.data_utils import common_prefix_length

from packsort import tokenize
from packsort.errors import TokenizerError

SPECIAL = ["<pad>", "<s>", "</s>", "[CLS]", "[SEP]"]
BOS, EOS, CLS, SEP = range(1, 5)


def byte_tokenizer(single: str = "", **options: Any) -> Any:
    """A token for each byte; `single` is what its post-processor makes of a text."""
    from transformers import PreTrainedTokenizerFast

    names = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE({name: i for i, name in enumerate(names)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(SPECIAL)
    if single:
        used = [(name, i) for i, name in enumerate(SPECIAL) if name in single]
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=used)
    roles = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **roles | options)


def ends(tokenizer: Any, text: str) -> tuple[list[int], list[int], list[str]]:
    """Special ids at the start and at the end of a packed text, and the kinds of notes."""
    tokens = tokenize(pa.table({"text": [text]}), tokenizer)
    (ids,) = tokens.read()["input_ids"].to_pylist()
    special = [i if i < len(SPECIAL) else None for i in ids]
    start = special.index(None) if None in special else len(special)
    end = special[::-1].index(None) if None in special else 0
    return ids[:start], ids[len(ids) - end :], [note.kind for note in tokens.notes]


WAYS = {
    "nothing": ("", [], [EOS]),
    "begins": ("<s> $A", [BOS], [EOS]),
    "begins and ends": ("<s> $A </s>", [BOS], [EOS]),
    "ends": ("$A </s>", [], [EOS]),
    "as BERT": ("[CLS] $A [SEP]", [CLS], [EOS, SEP]),
    "language after the end": ("$A </s> [SEP]", [], [EOS, SEP]),
}


@pytest.mark.parametrize(("single", "head", "tail"), WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("split", [False, True])
def test_text_begins_and_ends_once(single, head, tail, split):
    tokenizer = byte_tokenizer(single, split_special_tokens=split)
    assert ends(tokenizer, "two words") == (head, tail, [])


@pytest.mark.parametrize(
    ("text", "start", "end", "kinds"),
    [
        ("<s>two", [BOS], [EOS], ["bos_in_text"]),
        ("<s> two</s>", [BOS], [EOS], ["bos_in_text", "eos_in_text"]),
        ("two</s>", [BOS], [EOS], ["eos_in_text"]),
        ("<s><s>two", [BOS, BOS], [EOS], ["bos_in_text", "bos_repeated"]),
        ("<s>", [BOS, EOS], [], ["bos_in_text"]),
        ("", [BOS, EOS], [], []),
        ("</s> two", [BOS, EOS], [EOS], []),
    ],
)
@pytest.mark.parametrize("single", ["<s> $A", "<s> $A </s>"])
def test_text_that_a_template_rendered_gets_no_second_token(single, text, start, end, kinds):
    assert ends(byte_tokenizer(single), text) == (start, end, kinds)


@pytest.mark.parametrize("space", ["\n", " \n\n", "　"])
def test_space_after_the_end_is_kept_and_no_second_end_is_appended(space):
    tokens = tokenize(pa.table({"text": ["two</s>" + space]}), byte_tokenizer("<s> $A </s>"))
    (ids,) = tokens.read()["input_ids"].to_pylist()
    assert ids.count(EOS) == 1
    assert byte_tokenizer().decode(ids) == "<s>two</s>" + space
    assert [note.kind for note in tokens.notes] == ["eos_in_text"]


def test_tokens_that_are_read_as_letters_are_said_and_added():
    tokenizer = byte_tokenizer("<s> $A", split_special_tokens=True)
    tokens = tokenize(pa.table({"text": ["<s>two</s>", "<s>three"]}), tokenizer)
    first, _ = tokens.read()["input_ids"].to_pylist()
    assert (first[0], first[-1], first.count(BOS), first.count(EOS)) == (BOS, EOS, 1, 1)
    assert [str(note) for note in tokens.notes] == [
        "2 texts begin with `<s>`, which the tokenizer reads as letters, not as a token",
        "1 texts end with `</s>`, which the tokenizer reads as letters, not as a token; the token is appended",
    ]


def test_tokens_of_a_template_that_are_read_as_letters_are_said():
    tokenizer = byte_tokenizer(split_special_tokens=True)
    tokenizer.chat_template = "{% for m in messages %}{{ m.content + '</s>' }}{% endfor %}"
    tokens = tokenize(pa.table({"messages": [[{"role": "user", "content": "a"}]]}), tokenizer, loss="all")
    (ids,) = tokens.read()["input_ids"].to_pylist()
    assert ids == tokenizer.apply_chat_template([{"role": "user", "content": "a"}])["input_ids"]
    assert any(str(note).startswith("the tokenizer has split_special_tokens set") for note in tokens.notes)


def test_notes_name_the_token_and_count():
    tokens = tokenize(pa.table({"text": ["[CLS]a", "[CLS]b", "c"]}), byte_tokenizer("[CLS] $A [SEP]", eos_token=None))
    first, *_ = tokens.read()["input_ids"].to_pylist()
    assert (first[0], first.count(CLS), first[-1]) == (CLS, 1, SEP)
    assert [str(note) for note in tokens.notes] == [
        "the tokenizer has no end-of-sequence token, so none is appended",
        "2 texts begin with `[CLS]` themselves; the tokenizer's own is not added to them",
    ]


def test_tokenizer_that_knows_few_words_is_probed_with_its_own():
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "hello": 2, "world": 3}))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>")
    assert tokenize(pa.table({"text": ["hello world"]}), tokenizer).read()["input_ids"].to_pylist() == [[0, 2, 3, 1]]


def test_tokens_inside_of_a_text_are_refused():
    from packsort.tokenization.special_tokens import SpecialTokens

    def spaced(text, special):
        return [token for letter in text for token in ([ord(letter), 0] if special else [ord(letter)])]

    with pytest.raises(TokenizerError, match="inside a text"):
        SpecialTokens.of(byte_tokenizer(), spaced)


@pytest.mark.parametrize("single", ["", "<s> $A", "<s> $A </s>", "$A </s>", "[CLS] $A [SEP]"])
def test_pairs_end_once_and_train_on_the_completion_and_its_end(single):
    tokenizer = byte_tokenizer(single)
    rows = [("a", "b"), ("a", ""), ("a</s>", ""), ("", "b"), ("<s>a", "b</s>"), ("a", "b</s>\n"), ("<s>", "b")]
    table = pa.table({"prompt": [prompt for prompt, _ in rows], "completion": [completion for _, completion in rows]})
    read = tokenize(table, tokenizer).read()
    for (prompt, completion), ids, labels in zip(
        rows, read["input_ids"].to_pylist(), read["labels"].to_pylist(), strict=True
    ):
        trained = [token for token in labels if token >= 0]
        assert ids.count(EOS) == 1 + prompt.count("</s>")
        assert ids.count(BOS) == max("<s>" in single, prompt.count("<s>"))
        assert tokenizer.decode(trained) == completion.strip().removesuffix("</s>") + "</s>" + (
            "\n" if "\n" in completion else ""
        ) + ("[SEP]" if "[SEP]" in single else "")


plain_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>[]"), max_size=12)
tokenizers_of_trl = st.sampled_from(["", "<s> $A", "[CLS] $A [SEP]"]).map(byte_tokenizer)


@settings(deadline=None)
@given(plain_text, plain_text, tokenizers_of_trl)
def test_plain_text_and_pairs_are_those_of_trl(prompt, completion, tokenizer):
    whole = tokenizer(text=prompt + completion + tokenizer.eos_token)["input_ids"]
    (ids,) = tokenize(pa.table({"text": [prompt + completion]}), tokenizer).read()["input_ids"].to_pylist()
    assert ids == whole
    table = pa.table({"prompt": [prompt], "completion": [completion]})
    (row,) = tokenize(table, tokenizer).read().to_pylist()
    start = common_prefix_length(tokenizer(text=prompt)["input_ids"], whole)
    assert row["input_ids"] == whole
    assert row["labels"] == [-100] * start + whole[start:]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["<s>", "</s>", "two", " ", "\n", "é", "[CLS]"]), max_size=5).map("".join),
    st.sampled_from(["", "<s> $A", "<s> $A </s>", "$A </s>", "[CLS] $A [SEP]", "<s> [CLS] $A"]),
    st.booleans(),
)
def test_no_token_is_lost_and_none_comes_twice(text, single, split):
    tokenizer = byte_tokenizer(single, split_special_tokens=split)
    bare = tokenizer(text, add_special_tokens=False)["input_ids"]
    (ids,) = tokenize(pa.table({"text": [text]}), tokenizer).read()["input_ids"].to_pylist()
    added = Counter(ids) - Counter(bare)
    assert not Counter(bare) - Counter(ids)
    assert all(token < len(SPECIAL) and count == 1 for token, count in added.items())
    assert added[EOS] == (not (text.rstrip().endswith("</s>") and not split))
    assert any(ids[start : start + len(bare)] == bare for start in range(len(ids) - len(bare) + 1))

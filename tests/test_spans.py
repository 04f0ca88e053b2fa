"""Which tokens belong to parts of a text: as the installed transformers decides, on any text and tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from packsort.schema import NO_LOSS
from packsort.tokenization.byte_offsets import ByteOffsets
from packsort.tokenization.encode import Encoder
from packsort.tokenization.loss import LossRule
from packsort.tokenization.render import Rendered
from packsort.tokenization.spans import overlapping

SENTENCES = [
    "the harbour  master counts\n\nthe boats at dawn, né à Zürich",
    "  two words \U0001f600 \u4e2d\u6587 e\u0301",
]


def byte_level(normalizer=None, processor=None, prefix_space=False) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(SENTENCES, trainer)
    if normalizer is not None:
        made.normalizer = normalizer
    if processor is not None:
        made.post_processor = processor
    return made


def words() -> Tokenizer:
    made = Tokenizer(models.WordLevel({"[UNK]": 0, "two": 1, "words": 2}, "[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def trimming(prefix_space: bool) -> processors.PostProcessor:
    ends = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return processors.Sequence([processors.ByteLevel(trim_offsets=True, add_prefix_space=prefix_space), ends])


BYTE_LEVEL = {
    "plain": byte_level(),
    "kept": byte_level(processor=processors.ByteLevel(trim_offsets=False)),
    "trimmed": byte_level(processor=trimming(False)),
    "first_space_kept": byte_level(processor=trimming(True)),
    "nfc": byte_level(normalizer=normalizers.NFC(), processor=processors.ByteLevel(trim_offsets=False)),
}
OTHERS = {
    "prefix_space": byte_level(prefix_space=True),
    "lower": byte_level(normalizer=normalizers.Lowercase()),
    "words": words(),
}

pieces = st.sampled_from(
    [" ", "  ", "\n", "\n\n", "\t", "two", "words", "\u4e2d", "\U0001f600", "e\u0301", "\u00e9", "<|im_end|>"]
)
texts = st.lists(st.one_of(pieces, st.text(max_size=4)), max_size=12).map("".join)


def masks_of(tokenizer: PreTrainedTokenizerFast, parts: list[str]) -> tuple[list[int], list[int]] | None:
    """Ids and mask of transformers for a text whose every second part is marked, or None where it fails."""
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
    )
    chat = [{"role": "assistant" if number % 2 else "user", "content": part} for number, part in enumerate(parts)]
    try:
        made = tokenizer.apply_chat_template(chat, tokenize=True, return_dict=True, return_assistant_tokens_mask=True)
    except OverflowError:  # An empty span where the text begins, before version 5.24.
        return None
    return list(made["input_ids"]), list(made["assistant_masks"])


def rendered(rows: list[list[str]]) -> Rendered:
    turns = []
    for parts in rows:
        ends = np.cumsum([len(part) for part in parts]).tolist()
        turns.append(
            [(end - len(part), end) for number, (part, end) in enumerate(zip(parts, ends, strict=True)) if number % 2]
        )
    return Rendered(["".join(parts) for parts in rows], turns)


@pytest.mark.parametrize("name", [*BYTE_LEVEL, *OTHERS])
@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(texts, min_size=1, max_size=6), min_size=1, max_size=5))
def test_marked_parts_are_masked_as_transformers_masks_them(name, rows):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=(BYTE_LEVEL | OTHERS)[name])
    encoder = Encoder(tokenizer, plain=False)
    rows = [parts for parts in rows if "".join(parts)]
    encoded = encoder(rendered(rows), LossRule.GENERATION)
    ends = np.cumsum(encoded.lengths)[:-1]
    found = zip(np.split(encoded.input_ids, ends), np.split(encoded.labels, ends), strict=True)
    for (ids, labels), parts in zip(found if rows else (), rows, strict=True):
        made = masks_of(tokenizer, parts)
        if made is None:
            continue
        wanted, mask = made
        assert ids.tolist() == wanted
        assert (labels != NO_LOSS).astype(int).tolist() == mask
        assert labels[labels != NO_LOSS].tolist() == ids[labels != NO_LOSS].tolist()


def test_offsets_of_byte_level_tokenizers_need_no_second_look():
    """Else the property above tests only the slow way."""
    assert all(ByteOffsets.of(one) is not None for one in BYTE_LEVEL.values())
    assert all(ByteOffsets.of(one) is None for one in OTHERS.values())


def test_spans_inside_spans_are_walked_as_transformers_walks_them():
    starts, ends = np.arange(6), np.arange(1, 7)
    # The inner span is listed first. Once passed, the outer one counts from its own start.
    assert overlapping(starts, ends, [(2, 3), (1, 5)]).tolist() == [False, False, True, True, True, False]
    assert not overlapping(starts, ends, []).any()

"""A real Hugging Face tokenizer, small enough to build in each test run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

_SENTENCES = [
    "The harbour master counts the boats at dawn and writes their names down.",
    "What is the capital of the island? It has none, but the ferry stops at Port Hale.",
    "Please add two and three. Two and three are five.",
    "naïve café: 12,345 ≠ 0 — ok!",
]

TEMPLATE = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}"
    "{{- '<|im_start|>assistant\\n' }}{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{{- '\\n' }}"
    "{%- else %}"
    "{%- if message['role'] == 'villain' %}{{ raise_exception('roles must be good') }}{% endif %}"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
UNMARKED_TEMPLATE = TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", "")


def build(
    folder: Path, *, template: str | None = TEMPLATE, truncation: bool = False, bos: bool = False, eos: bool = True
) -> Path:
    """Save a byte-level BPE tokenizer with ChatML tokens.

    Args:
        folder: Folder to save it in.
        template: Chat template, or None for none.
        truncation: Whether tokenizer.json sets truncation to 4 tokens and padding to 16.
        bos: Whether the tokenizer puts `<s>` before plain text.
        eos: Whether `<|im_end|>` is the end-of-sequence token.

    Returns:
        `folder`.
    """
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_SENTENCES, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    if truncation:
        tokenizer.enable_truncation(max_length=4)
        tokenizer.enable_padding(length=16, pad_id=0, pad_token="<pad>")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="<|im_end|>" if eos else None
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def built(folder: Path, **options: Any) -> Any:
    """The same tokenizer, loaded as packsort loads it."""
    from packsort.tokenization.tokenizer import load_tokenizer

    return load_tokenizer(build(folder, **options))

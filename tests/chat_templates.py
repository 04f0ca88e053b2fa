"""Chat templates to test with: the stock templates that TRL ships, and templates of each family's form.

Templates of `tests/templates` are written for these tests, in the form of their family.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

OWN = Path(__file__).parent / "templates"
_SPECIAL = re.compile(
    r"<\|[\w/]+\|>|<\uff5c[^<>\uff5c]+\uff5c>|</?[a-z]+_[a-z_]+>|<turn\|>|<\|turn>|\[/?[A-Z]+(?:_[A-Z]+)*\]"
)


def stock_folder() -> Path:
    """The folder of chat templates in the installed TRL."""
    (folder,) = find_spec("trl").submodule_search_locations
    return Path(folder) / "chat_templates"


def stock_templates() -> dict[str, str]:
    """TRL's stock templates by name, without the training templates."""
    files = sorted(stock_folder().glob("*.jinja"))
    return {file.stem: file.read_text() for file in files if not file.stem.endswith("_training")}


def training_templates() -> dict[str, str]:
    """TRL's training templates, by the name of the stock template that each belongs to."""
    files = sorted(stock_folder().glob("*_training.jinja"))
    return {file.stem.removesuffix("_training"): file.read_text() for file in files}


def own_templates() -> dict[str, str]:
    """The templates of `tests/templates`, by name."""
    return {file.stem: file.read_text() for file in sorted(OWN.glob("*.jinja"))}


@cache
def _backend(special: tuple[str, ...]) -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300 + len(special),
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["the boats at dawn assistant user\n\nand the harbour master\n"], trainer)
    return made


def tokenizer_of(template: str) -> Any:
    """A byte-level tokenizer whose special tokens are those that the template writes."""
    from transformers import PreTrainedTokenizerFast

    special = ("<pad>", "<s>", "</s>", *dict.fromkeys(_SPECIAL.findall(template)))
    made = PreTrainedTokenizerFast(
        tokenizer_object=_backend(special), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    made.chat_template = template
    return made

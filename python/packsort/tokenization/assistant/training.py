"""TRL's training template, where a stock template is recognised.

TRL ships stock chat templates and, for many of them, one that marks generation and renders earlier turns as they were
generated. TRL need not be installed.
"""

from __future__ import annotations

import warnings
from typing import Any


def training_template(tokenizer: Any) -> str | None:
    """Return the chat template that TRL trains with in place of the tokenizer's own.

    Args:
        tokenizer: A `transformers.PreTrainedTokenizerBase` with a chat template that marks no generation.

    Returns:
        The template; or None if TRL is not installed, or does not know the tokenizer's.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # TRL renders conversations to decide, and a template is foreign code. It raises ValueError for one that it does
        # not know.
        try:
            from trl.chat_template_utils import get_training_chat_template

            found = get_training_chat_template(tokenizer)
        except Exception:
            return None
    return found if isinstance(found, str) else None

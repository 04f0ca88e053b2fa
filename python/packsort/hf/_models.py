"""Models of a folder or of the Hugging Face Hub, with short errors for what cannot be loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from packsort._hub import hub_is_reachable
from packsort._install import pip_install
from packsort.errors import OptionError
from packsort.hf._small_models import build_small_model
from packsort.torch.attention import register


def load_model(name_or_dir: str, *, weights: bool = False, attention: str | None = None) -> torch.nn.Module:
    """Load a causal language model without a key-value cache, small and with random weights unless asked for its own.

    Args:
        name_or_dir: A folder with `config.json`, or a name on the Hugging Face Hub.
        weights: Whether to load the model itself.
        attention: Implementation of attention; None takes the model's default.

    Returns:
        The model in training mode, on the CPU.

    Raises:
        OptionError: transformers is not installed, or the model cannot be loaded or built.
    """
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise OptionError(f"models need transformers ({error}): {pip_install('packsort[hf]')}") from error
    path = Path(name_or_dir).expanduser()
    local = path.is_absolute() or name_or_dir.startswith((".", "~")) or name_or_dir.endswith(("/", os.sep))
    if path.is_dir() and not (path / "config.json").is_file():
        raise OptionError(f"model folder `{name_or_dir}` has no `config.json`: pass the folder of a transformers model")
    if not path.is_dir() and (local or len(path.parts) != 2 or path.parent.is_dir()):
        raise OptionError(f"no model folder `{name_or_dir}`: pass a folder, or a name on the Hub such as `owner/name`")
    where: dict[str, Any] = {"local_files_only": not path.is_dir() and not hub_is_reachable()}
    name = str(path) if path.is_dir() else name_or_dir
    if attention == "packsort_varlen":
        register()
    try:
        config = AutoConfig.from_pretrained(name, **where)
        for part in (config, config.get_text_config(decoder=True)):
            part.use_cache = False
        if not weights:
            return build_small_model(config, attention)
        chosen = {} if attention is None else {"attn_implementation": attention}
        model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
            name, config=config, dtype="auto", **chosen, **where
        )
    # Damaged and foreign files raise exceptions of many classes here.
    except Exception as error:
        what = "loaded" if weights else "built small"
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise OptionError(f"model `{name_or_dir}` cannot be {what}: {reason}") from error
    return model.train()

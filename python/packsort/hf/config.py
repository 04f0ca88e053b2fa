"""`sft_config`: the options with which TRL's `SFTTrainer` trains on packs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from packsort._install import pip_install
from packsort.errors import OptionError

_LEAST_TRL = "1.10"

# What makes the batches of packs right. TRL's own defaults cut packs at 1,024 tokens and drop their boundaries.
_SETTINGS: Final[Mapping[str, tuple[Any, str]]] = {
    "padding_free": (True, "only then do positions start anew in each sequence of a pack"),
    "packing": (False, "the rows are packs already, and TRL would make each pack one sequence"),
    "max_length": (None, "TRL would cut packs there; `max_length` belongs to packing"),
}
_SKIP: Final = "skip_prepare_dataset"

# What TRL takes part in while it prepares a dataset. It prepares no packs, so these options would be without effect.
_PREPARATION: Final[Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "eval_packing": ((None, False), "pack the evaluation data with packsort too"),
    "shuffle_dataset": ((False,), "the trainer shuffles packs in each epoch; `seed` of packing shuffles them before"),
    "completion_only_loss": ((None, False), "labels are made with the tokens: pack with `loss='completion'`"),
    "assistant_only_loss": ((False,), "labels are made with the tokens: pack with `loss='assistant'`"),
    "packing_strategy": ((), "pass `strategy` where packs are made"),
    "truncation_mode": ((), "pass `overlong='truncate'` and `truncation_side` where packs are made"),
}


def sft_config(output_dir: str | None = None, **arguments: Any) -> Any:
    """Make the `SFTConfig` with which TRL's `SFTTrainer` trains on packs as they are.

    It is `SFTConfig(output_dir, padding_free=True, packing=False, max_length=None, dataset_kwargs={
    "skip_prepare_dataset": True}, **arguments)`. With TRL's defaults packs lose their boundaries, and tokens after the
    1,024th; with `packing=True` each pack becomes one sequence. On a machine without an accelerator `bf16` is False, as
    transformers refuses TRL's default there.

    Args:
        output_dir: Directory of checkpoints, as for `SFTConfig`.
        **arguments: Further arguments of `SFTConfig`, such as `per_device_train_batch_size`: packs of a batch.

    Returns:
        A `trl.SFTConfig`.

    Raises:
        ImportError: TRL is not installed, or is older than 1.10.
        OptionError: An argument contradicts training on packs, or would be without effect on them.

    Example:
        >>> from packsort.hf import sft_config
        >>> config = sft_config("run", per_device_train_batch_size=2)
        >>> config.padding_free, config.packing, config.max_length, config.per_device_train_batch_size
        (True, False, None, 2)
        >>> sft_config("run", packing=True)
        Traceback (most recent call last):
        packsort.errors.OptionError: packing must be False for packs, got True: the rows are packs already, and TRL
        would make each pack one sequence
    """
    for name, (needed, reason) in _SETTINGS.items():
        if name in arguments and arguments[name] != needed:
            raise OptionError(f"{name} must be {needed!r} for packs, got {arguments[name]!r}: {reason}")
    for name, (harmless, way_out) in _PREPARATION.items():
        if name in arguments and arguments[name] not in harmless:
            raise OptionError(f"{name}={arguments[name]!r} is without effect on packs: {way_out}")
    if cuts_sequences(arguments.get("parallelism_config")):
        raise OptionError(
            "parallelism_config with context parallelism does not go with packs: it drops the attention mask, and "
            "sequences would see each other; leave it out"
        )
    prepare = arguments.pop("dataset_kwargs", None) or {}
    if not isinstance(prepare, Mapping) or prepare.get(_SKIP, True) is not True:
        raise OptionError(f"dataset_kwargs must have {_SKIP!r}: True for packs, got {prepare!r}: leave it out")
    config = _config_class()
    settings = {name: needed for name, (needed, _) in _SETTINGS.items()} | _checkpointing(config, arguments)
    settings |= _precision(arguments)
    return config(output_dir, **arguments | settings, dataset_kwargs={**prepare, _SKIP: True})


def cuts_sequences(parallelism: Any) -> bool:
    """Say whether ranks share sequences in accelerate's context parallelism, which knows no boundaries."""
    return bool(getattr(parallelism, "cp_enabled", False))


def _checkpointing(config: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Give TRL's default of checkpointing its new name where transformers has one: the old one makes it warn."""
    defaults = {one.name: one.default for one in fields(config)}
    old, new = "gradient_checkpointing", "activation_checkpointing"
    if new not in defaults or old in arguments or new in arguments:
        return {}
    return {new: defaults[old]}


def _precision(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out TRL's default of bfloat16 on a CPU, where transformers refuses it."""
    import torch

    if torch.accelerator.is_available() or not {"bf16", "fp16", "use_cpu"}.isdisjoint(arguments):
        return {}
    return {"bf16": False}


def _config_class() -> Any:
    """Return TRL's class.

    Raises:
        ImportError: TRL is not installed, or too old.
    """
    try:
        import trl
    except ImportError as error:
        raise ImportError(f"packsort.hf.sft_config needs TRL: {pip_install(f'trl>={_LEAST_TRL}')}") from error
    release = tuple(int(part) for part in trl.__version__.split(".")[:2])
    if release < tuple(int(part) for part in _LEAST_TRL.split(".")):
        raise ImportError(
            f"packsort.hf.sft_config needs TRL {_LEAST_TRL} or later, got {trl.__version__}: "
            f"{pip_install(f'trl>={_LEAST_TRL}')}"
        )
    return trl.SFTConfig

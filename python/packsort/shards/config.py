"""Options of `write_shards`, checked before any data is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from packsort import _checks
from packsort._options.choices import PIECEWISE_STRATEGIES, ShardFormat
from packsort._options.input import INPUT_NAMES, InputConfig, take_input_options
from packsort._options.keywords import ShardOptions, names
from packsort._options.memory import find_memory_limit
from packsort._options.plan import PlanConfig, plan_config
from packsort.errors import OptionError
from packsort.gathering.fillers import Fillers, check_fillers, find_fillers
from packsort.planning.plan import Plan, load_plan
from packsort.shards.manifest import ManifestOptions
from packsort.sources.sequence_columns import check_names
from packsort.tokenization.load import window_limit

_NOT_OF_PLAN = (*INPUT_NAMES, "pad_token_id", "keep")


@dataclass(frozen=True, kw_only=True)
class ShardConfig:
    """Options of packed shards, complete and checked as far as that needs no tokenizer.

    Attributes:
        plan: Options of the plan.
        input: Options of what goes in.
        split_turns: Whether conversations longer than `max_length` are cut between turns.
        separator: Token between two sequences: its id, its text, or None.
        pad_token_id: Token id of padding; None is the tokenizer's, or 0.
        keep: Columns with one value for each sequence that packs keep.
        format: File format of the shards.
        shard_size: Bytes of a shard before compression, approximately.
        memory_limit: Bytes of memory that the call may take. It changes no shard.
        index_only: Whether shards refer to the files of the source instead of holding tokens.
        given: Plan whose packs are written, or None to make one with the options of `plan`.
    """

    plan: PlanConfig
    input: InputConfig
    split_turns: bool
    separator: int | str | None
    pad_token_id: int | None
    keep: tuple[str, ...]
    format: ShardFormat
    shard_size: int
    memory_limit: int = field(compare=False)
    index_only: bool = False
    given: Plan | None = field(default=None, repr=False)

    @property
    def named_columns(self) -> int:
        """Number of columns of the source that options of the plan name."""
        return sum(isinstance(values, str) for values in (self.plan.groups, self.plan.splittable, self.plan.alone))

    def fillers(self, tokenizer: Any) -> Fillers:
        """Return the fillers, with the text of a separator looked up in the tokenizer.

        Raises:
            OptionError: A token is not in the tokenizer, or a text is given and there is no tokenizer.
        """
        return find_fillers(self.separator, self.pad_token_id, tokenizer)

    def fillers_without(self, pad_token_id: int | None, vocabulary: int) -> Fillers | None:
        """Return the fillers where the tokenizer is not loaded, or None if text must be looked up in it.

        Args:
            pad_token_id: The tokenizer's token id of padding, or None.
            vocabulary: Number of tokens of the tokenizer.
        """
        if isinstance(self.separator, str):
            return None
        own = self.pad_token_id
        return check_fillers(self.separator, pad_token_id if own is None else own, vocabulary)

    def window(self, tokenizer: Any) -> int | None:
        """Return the most tokens of a part of a conversation; None where conversations stay whole.

        Raises:
            OptionError: Conversations are to be cut, and there is no tokenizer.
        """
        if not self.split_turns:
            return None
        return window_limit(self.plan.max_length, self.plan.pad_to_multiple_of, tokenizer)

    def recorded(self, fillers: Fillers | None) -> ManifestOptions:
        """Return the options as the manifest records them.

        Args:
            fillers: Tokens of separators and padding, or None where packs hold neither.
        """
        plan = self.plan
        return ManifestOptions(
            strategy=plan.strategy if self.given is None else "given",
            overlong="split_turns" if self.split_turns else plan.overlong,
            truncation_side=plan.truncation_side,
            max_sequences=plan.max_sequences,
            pad_to_multiple_of=plan.pad_to_multiple_of,
            num_packs_multiple_of=plan.num_packs_multiple_of,
            seed=plan.seed,
            epoch=plan.epoch,
            window=plan.window,
            gap=plan.gap,
            max_iterations=plan.max_iterations,
            max_seconds=plan.max_seconds,
            groups=_column_name(plan.groups),
            splittable=_column_name(plan.splittable),
            alone=_column_name(plan.alone),
            separator=None if fillers is None else fillers.separator,
            pad_token_id=None if fillers is None else fillers.padding,
            keep=self.keep,
            format=self.format,
            shard_size=self.shard_size,
            split=self.input.split,
            columns=self.input.columns,
            empty=self.input.empty,
            loss=self.input.loss,
            template_date=self.input.template_date,
        )


def shard_config(
    caller: str,
    max_length: Any,
    options: Mapping[str, Any],
    *,
    format: Any = "arrow",
    shard_size: Any = "256MB",
    memory_limit: Any = None,
    index_only: Any = False,
    plan: Any = None,
    **more: Any,
) -> ShardConfig:
    """Check the options of packed shards and complete them.

    Args:
        caller: The callable as the user wrote it, for messages.
        max_length: Most tokens of a pack.
        options: The keyword arguments of `ShardOptions` that were given.
        format: File format of the shards.
        shard_size: Bytes of a shard: an integer, or a text such as "256MB".
        memory_limit: Bytes of memory that the call may take, in the same way; None is half of what there is.
        index_only: Whether shards refer to the files of the source.
        plan: Plan whose packs are written, the file that it was saved to, or None to make one.
        **more: Further attributes of `PlanConfig`, such as `seed`.

    Raises:
        TypeError: A keyword argument is unknown.
        OptionError: A value is not allowed, or two options contradict each other.
    """
    _checks.keywords(caller, options, names(ShardOptions))
    plan_options = dict(options)
    given = take_input_options(plan_options)
    separator, pad_token_id = plan_options.pop("separator", None), plan_options.pop("pad_token_id", None)
    if not isinstance(separator, str):
        separator = check_fillers(separator, None).separator
    if pad_token_id is not None:
        pad_token_id = check_fillers(None, pad_token_id).padding
    keep = _checks.column_names("keep", plan_options.pop("keep", None))
    check_names(keep)
    plan_options["empty"] = given.empty
    plan_options["separator"] = separator is not None
    split_turns = str(plan_options.get("overlong")) == "split_turns"
    if split_turns:
        del plan_options["overlong"]
    packs = None if plan is None else _given_plan(plan, max_length, options, more)
    if packs is not None:
        max_length, more = packs.max_length, {"seed": packs.seed, "epoch": packs.epoch}
    config = plan_config(caller, max_length, plan_options, **more)
    if split_turns and config.strategy not in PIECEWISE_STRATEGIES:
        choices = _checks.listed(PIECEWISE_STRATEGIES)
        raise _checks.clash(
            "overlong='split_turns'", f"strategy={config.strategy!r}", f"strategy must be one of {choices}"
        )
    if _checks.boolean("index_only", index_only):
        if packs is not None:
            raise _checks.clash("index_only=True", "plan", "an index plans its rows itself: leave one of the two out")
        if format != "arrow":
            raise _checks.clash("index_only=True", f"format={format!r}", "an index is Arrow: leave format out")
        if split_turns:
            raise _checks.clash(
                "index_only=True", "overlong='split_turns'", "an index refers to tokens as they are, whole or cut"
            )
    return ShardConfig(
        plan=config,
        input=given,
        split_turns=split_turns,
        separator=separator,
        pad_token_id=pad_token_id,
        keep=keep,
        format=_checks.one_of("format", format, get_args(ShardFormat)),
        shard_size=_checks.byte_size("shard_size", shard_size),
        memory_limit=find_memory_limit(memory_limit),
        index_only=bool(index_only),
        given=packs,
    )


def _given_plan(plan: Any, max_length: Any, options: Mapping[str, Any], more: Mapping[str, Any]) -> Plan:
    """Return the plan whose packs are written, and refuse options that it has decided already."""
    if not isinstance(plan, (Plan, str, os.PathLike)):
        raise OptionError(f"plan must be a Plan, the path of a saved one, or None, got {plan!r}")
    known = plan if isinstance(plan, Plan) else load_plan(plan)
    if known.strategy != "given":
        raise OptionError(
            f"plan must be one that `Plan.from_packs` made, got one of strategy={known.strategy!r}: "
            "pass the options that it was made with"
        )
    for name, value in options.items():
        if value is not None and name not in _NOT_OF_PLAN:
            raise _checks.clash(name, "plan", "the plan has decided it already")
    for name, default in (("seed", "auto"), ("epoch", 0)):
        if more.get(name, default) != default:
            raise _checks.clash(name, "plan", "pass it to `Plan.from_packs`")
    if max_length is not None and max_length != known.max_length:
        raise OptionError(f"max_length must be {known.max_length}, as the plan has it, or None, got {max_length}")
    return known


def _column_name(values: Any) -> str | None:
    """Return the name of a column; values that were passed have none."""
    return values if values is None or isinstance(values, str) else "<values>"

"""Opening of any source as packs."""

from __future__ import annotations

import glob
import os
from typing import Any, get_args

from packsort import _checks
from packsort._options.choices import KEPT_IN_ORDER, Verify
from packsort._stores import place
from packsort._warn import warn
from packsort.errors import OptionError, SourceNotFoundError
from packsort.planning.plan import Plan, load_plan
from packsort.shards.manifest import NAME
from packsort.shards.reader import Shards, open_shards
from packsort.sources.files.find import find_files
from packsort.sources.objects import refuse_stream
from packsort.sources.source import open_source
from packsort.torch._packs.directory import DirectoryPacks
from packsort.torch._packs.packing_options import PackingOptions
from packsort.torch._packs.planned import PlannedPacks
from packsort.torch._packs.protocol import Packs

PlanSource = Plan | str | os.PathLike[str]
"""A plan, or the file that `Plan.save` wrote."""


def open_packs(
    source: Any, options: PackingOptions, plan: PlanSource | None = None, verify: Verify | None = None
) -> Packs:
    """Open any source as packs.

    Args:
        source: A packed directory, or token columns.
        options: Options of packing on the fly; `config.seed` also orders the packs of a directory.
        plan: Plan of the token columns, or None to make one.
        verify: Time at which the checksums of a packed directory are compared, or None for that of the open `Shards`,
            or for `"first"`.

    Raises:
        OptionError: `max_length` is missing or is not that of the directory or plan; options of a plan are given where
            the packs are planned already; the plan is not of these sequences; `verify` is given where there is no
            packed directory to open.
        SourceError: The source is a stream.
    """
    refuse_stream(source)
    if plan is not None and not isinstance(plan, (Plan, str, os.PathLike)):
        raise OptionError(f"plan must be a Plan, the path of a saved one, or None, got {plan!r}")
    if verify is not None:
        _checks.one_of("verify", verify, get_args(Verify))
    if isinstance(source, Shards) or _is_packed(source, options):
        return _open_directory(source, options, plan, verify)
    if verify is not None:
        raise OptionError(f"verify={verify!r} is for packed directories, got {_kind(source)}: leave it out")
    if plan is not None:
        known = plan if isinstance(plan, Plan) else load_plan(plan)
        if options.of_plan:
            raise OptionError(f"{options.of_plan[0]} does not go with plan: the plan has decided it already")
        _check_max_length(options.max_length, known.max_length, "the plan")
        return _planned(source, options, known)
    if options.max_length is None:
        raise OptionError(
            f"max_length must be given to pack {_kind(source)} on the fly; only a packed directory knows its own"
        )
    return _planned(source, options)


def _planned(source: Any, options: PackingOptions, plan: Plan | None = None) -> PlannedPacks:
    packs = PlannedPacks(open_source(source, options.input), options, plan)
    warn(packs.tokens.uses.in_words())
    return packs


def _open_directory(
    source: Any, options: PackingOptions, plan: PlanSource | None, verify: Verify | None
) -> DirectoryPacks:
    if isinstance(source, Shards):
        shards = source
        own = [*(["verify"] if verify else []), *({"memory_map", "storage_options"} & set(options.given))]
        if own:
            raise OptionError(f"{own[0]} does not go with `{shards.path}`, which is open: pass it to open_shards")
    else:
        given_input = options.input
        shards = open_shards(
            source,
            verify=verify or "first",
            memory_map=given_input.memory_map,
            storage_options=given_input.storage_options,
        )
    packed = shards.manifest.options
    # Packs in input order keep it, unless they were shuffled when they were written, or are to be shuffled now.
    keeps_order = options.auto_seed and packed.strategy in KEPT_IN_ORDER and packed.seed is None
    packs = DirectoryPacks(
        shards, None if keeps_order else options.config.seed, options.keep if "keep" in options.given else None
    )
    given = [name for name in options.given if name not in ("keep", "memory_map", "storage_options")]
    if given:
        raise OptionError(f"{given[0]} does not go with {packs.name}, which is packed already: pass it when packing")
    for name in packs.kept:
        if name not in shards.manifest.options.keep:
            has = ", ".join(f"`{one}`" for one in shards.manifest.options.keep) or "none"
            raise OptionError(
                f"keep={name!r} names no column that {packs.name} keeps; it keeps {has}: pass it when packing"
            )
    if plan is not None:
        raise OptionError(f"plan does not go with {packs.name}, which is packed already")
    _check_max_length(options.max_length, packs.max_length, packs.name)
    return packs


def _check_max_length(given: int | None, known: int, name: str) -> None:
    if given is not None and given != known:
        raise OptionError(f"max_length must be {known}, as {name} has it, or None, got {given}")


def _is_packed(source: Any, options: PackingOptions) -> bool:
    """Return whether a source is a packed directory, finished or not, or a path that can be nothing else."""
    if not isinstance(source, (str, os.PathLike)):
        return False
    folder = place(source, options.input.storage_options)
    if not folder.is_dir():
        return options.max_length is None and not folder.exists() and not glob.has_magic(str(folder))
    if (folder / NAME).exists():
        return True
    try:
        find_files(source, "all", options.input.storage_options)
    except SourceNotFoundError:
        return True  # opening it reports what is missing
    return False


def _kind(source: Any) -> str:
    return f"source `{os.fspath(source)}`" if isinstance(source, (str, os.PathLike)) else f"a {type(source).__name__}"

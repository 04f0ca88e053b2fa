"""`packsort pack --engine ray`: pack on the nodes of a Ray cluster."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from packsort._install import pip_install
from packsort._progress import Stage
from packsort.errors import OptionError

if TYPE_CHECKING:
    from packsort.shards.config import ShardConfig
    from packsort.shards.manifest import Manifest

_NOT_WITH_RAY = {
    "tokenizer": "Ray packs tokens: write them with `packsort tokenize` first",
    "tokens": "tokens are kept where text is tokenized, and Ray packs tokens",
    "index_only": "an index takes seconds on one machine, and needs no Ray",
    "dry_run": "`packsort plan` plans without writing",
}


def pack_with_ray(args: argparse.Namespace, config: ShardConfig, stage: Stage) -> Manifest:
    """Pack files with Ray: on the cluster that `RAY_ADDRESS` names or that runs on this machine, or on this machine.

    Args:
        args: Arguments of the command.
        config: Options of the shards.
        stage: Progress reporter.

    Raises:
        OptionError: An option does not go with Ray, or Ray is not installed.
        SourceError, LengthError, OutputError: As for `packsort.ray.pack`.
    """
    for name, why in _NOT_WITH_RAY.items():
        if getattr(args, name):
            raise OptionError(f"{name} does not go with engine='ray': {why}")
    try:
        import ray

        from packsort.ray.pack import pack_of_config
    except ImportError as error:
        raise OptionError(f"engine='ray' needs Ray: {pip_install('packsort[ray]')}") from error
    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level="error", configure_logging=True)
    try:
        limit = None if args.memory_limit is None else config.memory_limit
        return pack_of_config(args.source, args.out, config, memory_limit=limit, overwrite=args.overwrite, stage=stage)
    finally:
        if started:
            ray.shutdown()

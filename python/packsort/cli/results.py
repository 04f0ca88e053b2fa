"""Results as JSON, in one form for all commands; docs/schema-1.json is its schema."""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from packsort.cli.output import say_json
from packsort.cli.stopwatch import Stopwatch

if TYPE_CHECKING:
    from packsort.shards.manifest import Manifest

SCHEMA_VERSION = 1


def say_result(
    args: argparse.Namespace, facts: Mapping[str, Any], watch: Stopwatch | None = None, *, status: int = 0
) -> None:
    """Print the result of a command as JSON on stdout.

    Args:
        args: Arguments of the command.
        facts: What the command found.
        watch: Seconds of its stages.
        status: Its exit status.
    """
    stages = {} if watch is None else {name: round(seconds, 3) for name, seconds in watch.seconds.items()}
    say_json(_finite({**_common(args, status), "stages": stages, **facts}))


def say_failure(
    args: argparse.Namespace, kind: str, message: str, *, hints: list[str], status: int, facts: Mapping[str, Any]
) -> None:
    """Print an error as JSON on stdout.

    Args:
        args: Arguments of the command, as far as they are known.
        kind: Name of the error.
        message: Its message.
        hints: Options that may help.
        status: Exit status.
        facts: More of the error, by name.
    """
    error = {"type": kind, "message": message, "hints": hints, **facts}
    say_json(_finite({**_common(args, status), "stages": {}, "error": error}))


def manifest_facts(manifest: Manifest) -> dict[str, Any]:
    """Return what a manifest records, its counts under the names that every command uses."""
    facts = asdict(manifest)
    del facts["packsort_version"]
    counts, fingerprint = facts.pop("counts"), facts.pop("plan")
    return {**counts, "efficiency": manifest.efficiency, "fingerprint": fingerprint, **facts}


def _common(args: argparse.Namespace, status: int) -> dict[str, Any]:
    import packsort

    started = getattr(args, "started", None)
    return {
        "schema_version": SCHEMA_VERSION,
        "packsort_version": packsort.__version__,
        "command": getattr(args, "command", None),
        "ok": status == 0,
        "exit_status": status,
        "warnings": getattr(args, "warnings", []),
        "seconds": 0.0 if started is None else round(time.perf_counter() - started, 3),
    }


def _finite(value: Any) -> Any:
    """Return a value without numbers that JSON does not have: they become null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    return [_finite(one) for one in value] if isinstance(value, (list, tuple)) else value

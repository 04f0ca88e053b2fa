"""A Ray cluster of several nodes on this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import ray
from ray._private import services
from ray.cluster_utils import Cluster

_STORE_BYTES = 100 * 2**20
_SECONDS_TO_START = 90
_TRIES = 3


@contextmanager
def cluster(nodes: int, *, processors: int = 1, **system: Any) -> Iterator[Cluster]:
    """Start a head without a processor, and nodes with some; connect to it. `system` goes into Ray's own config."""
    started = _started(nodes, processors, system)
    try:
        ray.init(address=started.address, log_to_driver=False, logging_level="error")
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


def _started(nodes: int, processors: int, system: dict[str, Any]) -> Cluster:
    """Start a cluster. On a busy machine a node may take longer than Ray waits, or give up, so it is tried again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node", _patient(services.get_node))
        for left in reversed(range(_TRIES)):
            found = Cluster()
            try:
                more = {"_system_config": system} if system else {}
                found.add_node(num_cpus=0, object_store_memory=_STORE_BYTES, include_dashboard=False, **more)
                for _ in range(nodes):
                    found.add_node(num_cpus=processors, object_store_memory=_STORE_BYTES)
                return found
            except Exception:  # the class that Ray raises
                found.shutdown()
                if not left:
                    raise
    raise AssertionError


def _patient(get_node: Any) -> Any:
    """Wait longer for a node than Ray's 30 seconds."""

    def wait(*args: Any, **more: Any) -> Any:
        end = time.monotonic() + _SECONDS_TO_START
        while True:
            try:
                return get_node(*args, **more)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    return wait

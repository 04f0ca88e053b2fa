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
_SECONDS_TO_START = 300


@contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    """Start a head without a processor, and nodes with one each; connect to it."""
    head = {"num_cpus": 0, "object_store_memory": _STORE_BYTES, "include_dashboard": False}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node", _patient(services.get_node))
        started = Cluster(initialize_head=True, head_node_args=head)
        try:
            for _ in range(nodes):
                started.add_node(wait=False, num_cpus=1, object_store_memory=_STORE_BYTES)
            started.wait_for_nodes(_SECONDS_TO_START)
            ray.init(address=started.address, log_to_driver=False, logging_level="error")
            yield started
        finally:
            ray.shutdown()
            started.shutdown()


def _patient(get_node: Any) -> Any:
    """Wait longer for a node to start than Ray's 30 seconds, which a busy machine exceeds."""

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

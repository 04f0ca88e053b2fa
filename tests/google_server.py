"""A local server that speaks as Google Cloud Storage does, behind a proxy that logs requests and injects faults."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import fsspec.config
import gcsfs.retry
import pytest
from gcp_storage_emulator.server import create_server
from gcsfs.extended_gcsfs import BucketType, ExtendedGcsFileSystem

from faulty_server import FaultyServer
from packsort._stores import retries


async def _bucket_type(*_: object) -> BucketType:
    """Answer in place of an interface that the server lacks; the client goes on as it does with most buckets."""
    return BucketType.NON_HIERARCHICAL


@contextmanager
def started(*, bucket: str) -> Iterator[FaultyServer]:
    """Run a server that holds an empty bucket, and let clients of Google find it."""
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)
    emulator = create_server("127.0.0.1", 0, in_memory=True, default_bucket=bucket)
    emulator.start()
    server = FaultyServer(emulator._api._httpd.server_address)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        patch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
        patch.setattr(ExtendedGcsFileSystem, "_get_bucket_type", _bucket_type)
        patch.setattr(retries, "FIRST_PAUSE", 0.001)
        # The client's own retries cannot be turned off: they come without pauses.
        patch.setattr(gcsfs.retry, "asyncio", SimpleNamespace(sleep=lambda _: asyncio.sleep(0)))
        ExtendedGcsFileSystem.clear_instance_cache()  # of a server before this one
        try:
            yield server
        finally:
            ExtendedGcsFileSystem.clear_instance_cache()
            server.stop()
            emulator.stop()

"""A local S3 server behind a proxy that logs requests and injects faults."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from faulty_server import Fault, FaultyServer, Request, of
from packsort._stores import Store, retries

__all__ = ["Fault", "FaultyServer", "Request", "of", "only_own_retries", "started"]


@contextmanager
def started(*, bucket: str) -> Iterator[FaultyServer]:
    """Run a server that holds an empty bucket, and let S3 clients find it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    server = FaultyServer(moto.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": server.url,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # of a server before this one
        _forget_buckets()
        Store().filesystem(f"s3://{bucket}")[0].mkdir(bucket)
        try:
            yield server
        finally:
            server.stop()
            moto.stop()


def _forget_buckets() -> None:
    """Empty moto's store, which all servers of a process share."""
    from moto.moto_api._internal import moto_api_backend

    moto_api_backend.reset()


def only_own_retries(patch: pytest.MonkeyPatch) -> None:
    """Turn off the retries of s3fs, and shorten the pauses of packsort's own."""
    patch.setattr(retries, "FIRST_PAUSE", 0.001)
    patch.setattr(s3fs.S3FileSystem, "retries", 1)

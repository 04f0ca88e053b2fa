"""A proxy in front of the local server of a store: it logs requests and injects faults."""

from __future__ import annotations

import http.client
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass(frozen=True)
class Request:
    """A request that the server got.

    Attributes:
        method: Such as "GET".
        path: Bucket and key, with the query.
        range: Bytes that it asks for, such as "bytes=0-9", or "".
        sent: Bytes of the answer's body.
    """

    method: str
    path: str
    range: str
    sent: int = 0


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the requests that it applies to.

    Attributes:
        applies: Tells whether it does.
        kind: "status", "reset", "truncated" (fewer bytes than announced), "short" (fewer bytes, announced as such),
            "lie" (a HEAD that announces another size), "slow", or "call", which calls `value`.
        value: The status, number of bytes, seconds, or function.
        times: How often it goes wrong.
    """

    applies: Callable[[Request], bool]
    kind: str
    value: Any = 0
    times: int = 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients drop answers that they no longer need
            super().handle_error(request, client_address)


class FaultyServer:
    """Server at `url`, with the requests that it got and the faults that are still to come.

    Args:
        backend: Host and port of the server that answers.
    """

    def __init__(self, backend: tuple[str, int]) -> None:
        self.backend = backend
        self.log: list[Request] = []
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"faulty": self}))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def read(self, *, of: str = "") -> int:
        """Return the bytes that were sent of objects whose names contain a text."""
        return sum(one.sent for one in self.log if one.method == "GET" and of in one.path)

    @contextmanager
    def faulty(self, *faults: Fault) -> Iterator[None]:
        """Inject faults, and begin a new log."""
        with self.lock:
            self.log.clear()
            self.faults[:] = faults
        try:
            yield
        finally:
            self.faults.clear()

    def next_fault(self, request: Request) -> Fault | None:
        with self.lock:
            for place, fault in enumerate(self.faults):
                if fault.applies(request):
                    left = fault.times - 1
                    self.faults[place : place + 1] = (
                        [Fault(fault.applies, fault.kind, fault.value, left)] if left else []
                    )
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for its body
    faulty: FaultyServer

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:  # the client is gone
            self.close_connection = True
            return
        span = self.headers.get("Range") or self.headers.get("x-ms-range", "")
        asked = Request(self.command, self.path.lstrip("/"), span)
        fault = self.faulty.next_fault(asked)
        kind = "" if fault is None else fault.kind
        value = 0 if fault is None else fault.value
        if kind == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._note(asked, 0)
            self.close_connection = True
            self.connection.close()
            return
        if kind == "slow":
            time.sleep(value)
        if kind == "call":
            value()
        if kind == "status":
            self._note(asked, 0)
            code = {403: "AccessDenied", 412: "PreconditionFailed", 500: "InternalError", 503: "SlowDown"}[value]
            text = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
            self.send_response(value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(text)
            return
        backend = http.client.HTTPConnection(*self.faulty.backend)
        try:
            backend.request(self.command, self.path, body, dict(self.headers.items()))
            answer = backend.getresponse()
            content = answer.read()
        finally:
            backend.close()
        self.send_response_only(answer.status)
        announced = content
        if kind == "short":
            content = announced = content[: len(content) - value]
        elif kind == "truncated":
            content = content[: len(content) - value]
        for name, header in answer.getheaders():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, header)
        length = len(announced) if self.command != "HEAD" else int(answer.getheader("Content-Length") or 0)
        self.send_header("Content-Length", str(length + value if kind == "lie" else length))
        self.end_headers()
        self._note(asked, len(content))
        if self.command != "HEAD":
            self.wfile.write(content)
        if kind == "truncated":
            self.close_connection = True

    def _note(self, asked: Request, sent: int) -> None:
        with self.faulty.lock:
            self.faulty.log.append(Request(asked.method, asked.path, asked.range, sent))

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - names of http.server


def of(method: str, name: str = "") -> Callable[[Request], bool]:
    """Return a test for requests of a method whose path contains a text."""
    return lambda request: request.method == method and name in request.path


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Fail the test if the block takes longer."""

    def end(*_: object) -> None:
        pytest.fail(f"no end after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)

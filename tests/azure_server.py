"""A local server that speaks as much of Azure Blob Storage as `adlfs` needs, behind a proxy that injects faults."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import adlfs.spec
import pytest
from azure.storage.blob.aio import BlobServiceClient

from faulty_server import FaultyServer
from packsort._stores import retries

ACCOUNT = "account"
KEY = "a2V5"  # of nothing: the server checks no signature
SINGLE_PUT_BYTES = 24 << 10
_PAGE = 5  # names in an answer to a listing


@dataclass(frozen=True)
class Blob:
    content: bytes
    tag: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    modified: str = field(default_factory=lambda: formatdate(usegmt=True))


class AzureServer(FaultyServer):
    """Server with its blobs.

    Attributes:
        containers: Blobs by container and name.
        blocks: Blocks that no list of blocks has made a blob of yet, by container, name and id.
        copy_seconds: How long a copy takes after its answer. A blob is empty until it is whole.
    """

    def __init__(self) -> None:
        self.containers: dict[str, dict[str, Blob]] = {}
        self.blocks: dict[tuple[str, str], dict[str, bytes]] = {}
        self.copy_seconds = 0.0
        self._tags = itertools.count()
        self._blobs = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"azure": self}))
        self._blobs.daemon_threads = True
        threading.Thread(target=self._blobs.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        super().__init__(("127.0.0.1", self._blobs.server_address[1]))

    def stop(self) -> None:
        super().stop()
        self._blobs.shutdown()
        self._blobs.server_close()

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={self.url}/{ACCOUNT};"
        )

    def put(self, container: str, name: str, content: bytes, metadata: Mapping[str, str] | None = None) -> Blob:
        blob = Blob(content, f'"0x{next(self._tags):08X}"', metadata or {})
        self.containers[container][name] = blob
        return blob


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for its body
    azure: AzureServer

    def log_message(self, *args: Any) -> None:
        pass

    def _send(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, size: int = -1) -> None:
        self.send_response(status)
        facts = {"x-ms-version": "2024-11-04", "x-ms-request-id": "0", "Content-Length": str(max(size, len(body)))}
        for name, value in (facts | dict(headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
        self._send(status, body, {"x-ms-error-code": code, "Content-Type": "application/xml"})

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        _, _, container, *rest = [*parts.path.split("/"), ""]
        name = unquote("/".join(rest[:-1]))
        blobs = self.azure.containers.get(container)
        if query.get("restype") == "container" and self.command == "PUT":
            self.azure.containers.setdefault(container, {})
            return self._send(201) if blobs is None else self._refuse(409, "ContainerAlreadyExists")
        if blobs is None:
            return self._refuse(404, "ContainerNotFound")
        if query.get("comp") == "list":
            return self._list(container, query)
        if query.get("restype") == "container":
            return self._send(200, headers={"ETag": '"0x1"', "Last-Modified": formatdate(usegmt=True)})
        if self.command == "PUT":
            return self._put(container, name, query, body)
        blob = blobs.get(name)
        if blob is None:
            return self._refuse(404, "BlobNotFound")
        if self.headers.get("If-Match", blob.tag) not in (blob.tag, "*"):
            return self._refuse(412, "ConditionNotMet")
        if self.command == "DELETE":
            del blobs[name]
            return self._send(202)
        return self._get(blob)

    def _list(self, container: str, query: Mapping[str, str]) -> None:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        found: dict[str, str] = {}
        for name, blob in sorted(self.azure.containers[container].items()):
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if not name.startswith(prefix):
                continue
            if cut:
                folder = prefix + head + cut
                found[folder] = f"<BlobPrefix><Name>{escape(folder)}</Name></BlobPrefix>"
                continue
            metadata = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in blob.metadata.items())
            tag = blob.tag.strip('"')  # unlike in headers
            found[name] = (
                f"<Blob><Name>{escape(name)}</Name><Properties><Last-Modified>{blob.modified}</Last-Modified>"
                f"<Etag>{tag}</Etag><Content-Length>{len(blob.content)}</Content-Length>"
                f"<BlobType>BlockBlob</BlobType></Properties><Metadata>{metadata}</Metadata></Blob>"
            )
        left = [name for name in found if name >= query.get("marker", "")]
        page = left[: min(_PAGE, int(query.get("maxresults", _PAGE)))]
        marker = escape(left[len(page)]) if len(left) > len(page) else ""
        shown = "".join(found[name] for name in page)
        text = (
            f"<?xml version='1.0' encoding='utf-8'?><EnumerationResults ContainerName='{container}'>"
            f"<Blobs>{shown}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>"
        )
        self._send(200, text.encode(), {"Content-Type": "application/xml"})

    def _put(self, container: str, name: str, query: Mapping[str, str], body: bytes) -> None:
        azure, blocks = self.azure, self.azure.blocks.setdefault((container, name), {})
        if query.get("comp") == "block":
            blocks[query["blockid"]] = body
            return self._send(201)
        if self.headers.get("If-None-Match") == "*" and name in azure.containers[container]:
            return self._refuse(409, "BlobAlreadyExists")
        metadata = {
            key[10:].lower(): text for key, text in self.headers.items() if key.lower().startswith("x-ms-meta-")
        }
        source = self.headers.get("x-ms-copy-source")
        if query.get("comp") == "blocklist":
            ids = [one.text or "" for one in ElementTree.fromstring(body)]
            if not set(ids) <= set(blocks):
                return self._refuse(400, "InvalidBlockList")
            body = b"".join(blocks[one] for one in ids)
        elif source is not None:
            _, _, source_container, *rest = urlsplit(source).path.split("/")
            blob = azure.containers.get(source_container, {}).get(unquote("/".join(rest)))
            if blob is None:
                return self._refuse(404, "CannotVerifyCopySource")
            body, metadata = blob.content, dict(blob.metadata)
        del azure.blocks[container, name]
        late = source is not None and azure.copy_seconds > 0
        blob = azure.put(container, name, b"" if late else body, metadata)
        if late:
            timer = threading.Timer(azure.copy_seconds, azure.put, (container, name, body, metadata))
            timer.daemon = True
            timer.start()
        facts = {"ETag": blob.tag, "Last-Modified": blob.modified}
        if source is not None:
            facts |= {"x-ms-copy-id": "1", "x-ms-copy-status": "pending" if late else "success"}
        return self._send(201 if source is None else 202, headers=facts)

    def _get(self, blob: Blob) -> None:
        size = len(blob.content)
        facts = {"ETag": blob.tag, "Last-Modified": blob.modified, "x-ms-blob-type": "BlockBlob"}
        facts |= {f"x-ms-meta-{key}": text for key, text in blob.metadata.items()}
        span = self.headers.get("x-ms-range") or self.headers.get("Range")
        if span is None or self.command == "HEAD":
            return self._send(200, b"" if self.command == "HEAD" else blob.content, facts, size)
        start, _, last = span.removeprefix("bytes=").partition("-")
        if int(start) >= size:
            return self._refuse(416, "InvalidRange")
        part = blob.content[int(start) : int(last or size) + 1]
        facts["Content-Range"] = f"bytes {start}-{int(start) + len(part) - 1}/{size}"
        return self._send(206, part, facts)

    do_GET = do_PUT = do_HEAD = do_DELETE = _answer  # noqa: N815 - names of http.server


class _Client(BlobServiceClient):
    """Client that does not repeat requests, and writes in small blocks."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, retry_total=0, max_single_put_size=SINGLE_PUT_BYTES, max_block_size=20_000, **more)


@contextmanager
def started(*, container: str) -> Iterator[AzureServer]:
    """Run a server that holds an empty container, and let clients of Azure find it."""
    server = AzureServer()
    server.containers[container] = {}
    filesystem = adlfs.spec.AzureBlobFileSystem
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", server.connection_string)
        patch.setattr(adlfs.spec, "AIOBlobServiceClient", _Client)
        patch.setattr(retries, "FIRST_PAUSE", 0.001)
        filesystem.clear_instance_cache()  # of a server before this one
        try:
            yield server
        finally:
            filesystem.clear_instance_cache()
            server.stop()

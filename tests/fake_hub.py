"""The parts of the Hugging Face Hub that reading and writing files of a data set take, on this machine."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

_REPOSITORY = "/api/datasets/owner/name"
_FILES = "/datasets/owner/name/resolve/main/"


@contextmanager
def hub(files: dict[str, bytes]) -> Iterator[tuple[str, list[str]]]:
    """Serve files as those of the data set `owner/name`.

    Args:
        files: Content of each file, by its path. Commits change it.

    Yields:
        The address, and the ranges that were asked for.
    """
    ranges: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"files": files, "ranges": ranges}))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", ranges
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    ranges: list[str]

    def log_message(self, *args: Any) -> None:
        pass

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, facts: Any) -> None:
        self._send(200, json.dumps(facts).encode(), {"Content-Type": "application/json"})

    def _entry(self, name: str) -> dict[str, Any]:
        content = self.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}

    def _entries(self, under: str, *, recursive: bool) -> list[dict[str, Any]]:
        start = f"{under}/" if under else ""
        found: dict[str, dict[str, Any]] = {}
        for name in self.files:
            if not name.startswith(start):
                continue
            parts = name[len(start) :].split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                folder = start + "/".join(parts[:depth])
                found[folder] = {"type": "directory", "path": folder, "size": 0, "oid": "0"}
            if recursive or len(parts) == 1:
                found[name] = self._entry(name)
        return list(found.values())

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        path = unquote(path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path in (_REPOSITORY, f"{_REPOSITORY}/revision/main"):
            self._json({"id": "owner/name", "sha": "0" * 40, "private": False, "tags": [], "downloads": 0, "likes": 0})
        elif path.startswith(f"{_REPOSITORY}/tree/main"):
            under = path.removeprefix(f"{_REPOSITORY}/tree/main").strip("/")
            entries = self._entries(under, recursive=parse_qs(query).get("recursive", ["false"])[0].lower() == "true")
            if entries:
                self._json(entries)
            else:
                self._missing("EntryNotFound")
        elif path == f"{_REPOSITORY}/paths-info/main":
            asked = parse_qs(body.decode()).get("paths") or json.loads(body)["paths"]
            folders = [
                {"type": "directory", "path": one, "oid": "0"} for one in asked if self._entries(one, recursive=True)
            ]
            self._json([self._entry(one) for one in asked if one in self.files] or folders)
        elif path == f"{_REPOSITORY}/preupload/main":
            named = [one["path"] for one in json.loads(body)["files"]]
            self._json({"files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in named]})
        elif path == f"{_REPOSITORY}/commit/main":
            try:
                self._commit([json.loads(line) for line in body.splitlines()])
            except PermissionError as error:  # of `files`
                self._send(403, json.dumps({"error": str(error)}).encode(), {"Content-Type": "application/json"})
        elif path.startswith(_FILES) and path.removeprefix(_FILES) in self.files:
            content = self.files[path.removeprefix(_FILES)]
            if asked := self.headers.get("Range"):
                self.ranges.append(asked)
                first, last = (int(part) for part in asked.removeprefix("bytes=").split("-"))
                headers = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
                self._send(206, content[first : last + 1], headers)
            else:
                self._send(200, content, {})
        else:
            self._missing("RepoNotFound")

    def _commit(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            value = step["value"]
            if step["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif step["key"] == "deletedFile":
                del self.files[value["path"]]
            else:
                assert step["key"] == "header", step["key"]
        url = f"http://{self.headers['Host']}/datasets/owner/name/commit/{'0' * 40}"
        self._json({"success": True, "commitUrl": url, "commitOid": "0" * 40, "hookOutput": ""})

    def _missing(self, code: str) -> None:
        self._send(404, b'{"error": "missing"}', {"X-Error-Code": code, "Content-Type": "application/json"})

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815 - names of http.server

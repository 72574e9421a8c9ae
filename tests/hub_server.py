"""A hub on this machine: as much of the Hugging Face hub's API as downloads and uploads need."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


class Hub:
    """The files of one dataset at one commit, what was asked for, and what shall go wrong.

    Attributes:
        break_once: a file whose first transfer stops after half of its bytes.
        corrupt: files whose bytes differ from what their digest announces.
        asked: (method, path in the repository or of the API, Range header or None) of each request.
    """

    def __init__(self, repo: str, revision: str, files: dict[str, bytes]) -> None:
        self.repo, self.revision, self.files = repo, revision, files
        self.break_once: str | None = None
        self.corrupt: set[str] = set()
        self.asked: list[tuple[str, str, str | None]] = []
        self.endpoint = ""

    def etag(self, name: str) -> str:
        """SHA-256 of a parquet file (kept as a large file), Git's blob SHA-1 of any other."""
        content = self.files[name]
        if name.endswith(".parquet"):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def tree(self) -> list[dict[str, object]]:
        entries = []
        for name, content in self.files.items():
            entry: dict[str, object] = {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
            if name.endswith(".parquet"):
                entry["lfs"] = {"oid": self.etag(name), "size": len(content), "pointerSize": 130}
            else:
                entry["oid"] = self.etag(name)
            entries.append(entry)
        return entries

    def transfers(self) -> list[tuple[str, str | None]]:
        """(file, Range header) of every transfer asked for."""
        return [(name, span) for method, name, span in self.asked if method == "GET" and name in self.files]


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Serve ``hub`` on a free port; ``hub.endpoint`` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def log_message(self, *_: object) -> None:
            pass

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            api, resolve = f"/api/datasets/{hub.repo}", f"/datasets/{hub.repo}/resolve/{hub.revision}/"
            name = path.removeprefix(resolve) if path.startswith(resolve) else path
            hub.asked.append((self.command, name, self.headers.get("Range")))
            if path == f"{api}/tree/{hub.revision}":
                self.send(200, json.dumps(hub.tree()).encode(), {"Content-Type": "application/json"})
            elif path == f"{api}/revision/{hub.revision}":
                self.send(200, json.dumps({"id": hub.repo, "sha": hub.revision}).encode(), {})
            elif path.startswith(resolve) and name in hub.files:
                self.send_file(name)
            else:
                missing = "RevisionNotFound" if path.startswith(api) else "EntryNotFound"
                self.send(404, b"{}", {"X-Error-Code": missing})

        def send_file(self, name: str) -> None:
            content = hub.files[name]
            if name in hub.corrupt:
                content = content[:-1] + bytes([content[-1] ^ 1])
            headers = {"ETag": f'"{hub.etag(name)}"', "X-Repo-Commit": hub.revision, "Accept-Ranges": "bytes"}
            span = self.headers.get("Range")
            status, start = 200, 0
            if span:
                start = int(span.removeprefix("bytes=").split("-")[0])
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            stop = None
            if self.command == "GET" and hub.break_once == name:
                hub.break_once, stop = None, len(content) // 2
            self.send(status, content[start:], headers, stop)

        def send(self, status: int, body: bytes, headers: dict[str, str], stop: int | None = None) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body[:stop])
            if stop is not None:
                self.close_connection = True

    with _listening(Handler) as hub.endpoint:
        yield hub


@dataclass
class ModelHub:
    """The model repositories of a hub that takes uploads, and what shall go wrong.

    Attributes:
        token: the only one that may write.
        repositories: by name; ``private``, and the ``files`` of its one commit.
        blobs: large files by SHA-256, sent but not committed yet.
        refuse: path beginnings that are answered with a status.
        asked: (method, path) of each request.
    """

    token: str
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    refuse: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    endpoint: str = ""

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Status and JSON for a request of a writer."""
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.startswith("/lfs/"):
            digest = hashlib.sha256(body).hexdigest()
            self.blobs[digest] = body
            return (200 if path == f"/lfs/{digest}" else 400), {}
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.endpoint}/lfs/{wanted['oid']}"}}}
                for wanted in json.loads(body)["objects"]
            ]
            return 200, {"transfer": "basic", "objects": objects}
        return self._in_repository(*path.removeprefix("/api/models/").split("/"), body=body)

    def _create(self, asked: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        name = f"{asked['organization']}/{asked['name']}"
        there = name in self.repositories
        self.repositories.setdefault(name, {"private": asked.get("visibility") == "private", "files": {}})
        return (409 if there else 200), {"url": f"{self.endpoint}/{name}"}

    def _in_repository(self, owner: str, name: str, *rest: str, body: bytes) -> tuple[int, dict[str, Any]]:
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None:
            return 404, {"error": "Repository not found"}
        if not rest:
            return 200, {"id": f"{owner}/{name}", "private": repository["private"], "siblings": []}
        if rest[0] == "preupload":
            asked = [file["path"] for file in json.loads(body)["files"]]
            mode = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in asked}
            files = [{"path": path, "uploadMode": mode[path], "shouldIgnore": False} for path in asked]
            return 200, {"files": files}
        assert rest == ("commit", "main"), rest
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository["files"][value["path"]] = self.blobs[value["oid"]]
        oid = "d" * 40
        return 200, {"commitOid": oid, "commitUrl": f"{self.endpoint}/{owner}/{name}/commit/{oid}"}


@contextmanager
def serve_models(hub: ModelHub) -> Iterator[ModelHub]:
    """Serve ``hub`` on a free port; ``hub.endpoint`` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            path = unquote(urlsplit(self.path).path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            hub.asked.append((self.command, path))
            refused = [status for start, status in hub.refuse.items() if path.startswith(start)]
            # Large files go to addresses that are secrets themselves.
            may_write = path.startswith("/lfs/") or self.headers.get("Authorization") == f"Bearer {hub.token}"
            if refused or not may_write:
                status, found = (refused or [401])[0], {"error": "refused"}
            else:
                status, found = hub.answer(path, body)
            content = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = handle_any

        def log_message(self, *_: object) -> None:
            pass

    with _listening(Handler) as hub.endpoint:
        yield hub


@contextmanager
def _listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Answer requests at a free port, whose address is given, as long as the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()

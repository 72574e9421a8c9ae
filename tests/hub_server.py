"""A hub on this machine: as much of the Hugging Face hub's API as downloads and uploads need."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

Answer = tuple[int, dict[str, str], bytes]  # status, headers, body


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
            entry = {"type": "file", "path": name, "size": len(content), "oid": self.etag(name)}
            if name.endswith(".parquet"):
                large = {"oid": self.etag(name), "size": len(content), "pointerSize": 130}
                entry |= {"oid": "0" * 40, "lfs": large}
            entries.append(entry)
        return entries

    def transfers(self) -> list[tuple[str, str | None]]:
        """(file, Range header) of every transfer asked for."""
        return [(name, span) for method, name, span in self.asked if method == "GET" and name in self.files]

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        api, resolve = f"/api/datasets/{self.repo}", f"/datasets/{self.repo}/resolve/{self.revision}/"
        name = path.removeprefix(resolve)
        self.asked.append((method, name, headers.get("Range")))
        if path == f"{api}/tree/{self.revision}":
            return as_json(200, self.tree())
        if path == f"{api}/revision/{self.revision}":
            return as_json(200, {"id": self.repo, "sha": self.revision})
        if path.startswith(resolve) and name in self.files:
            return self._file(method, name, headers.get("Range"))
        return 404, {"X-Error-Code": "RevisionNotFound" if path.startswith(api) else "EntryNotFound"}, b"{}"

    def _file(self, method: str, name: str, span: str | None) -> Answer:
        content = self.files[name]
        if name in self.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{self.etag(name)}"', "X-Repo-Commit": self.revision, "Accept-Ranges": "bytes"}
        start = int(span.removeprefix("bytes=").split("-")[0]) if span else 0
        if span:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        headers["Content-Length"] = str(len(content) - start)
        if method == "GET" and self.break_once == name:
            self.break_once, content = None, content[: len(content) // 2]
        return 206 if span else 200, headers, content[start:]


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

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.asked.append((method, path))
        refused = [status for start, status in self.refuse.items() if path.startswith(start)]
        # Large files go to addresses that are secrets themselves.
        may_write = path.startswith("/lfs/") or headers.get("Authorization") == f"Bearer {self.token}"
        if refused or not may_write:
            return as_json((refused or [401])[0], {"error": "refused"})
        if path == "/api/validate-yaml":
            return as_json(200, {"errors": [], "warnings": []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path.startswith("/lfs/"):
            digest = hashlib.sha256(body).hexdigest()
            self.blobs[digest] = body
            return as_json(200 if path == f"/lfs/{digest}" else 400, {})
        if path.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {**wanted, "actions": {"upload": {"href": f"{self.endpoint}/lfs/{wanted['oid']}"}}}
                for wanted in json.loads(body)["objects"]
            ]
            return as_json(200, {"transfer": "basic", "objects": objects})
        return self._in_repository(*path.removeprefix("/api/models/").split("/"), body=body)

    def _create(self, asked: dict[str, Any]) -> Answer:
        name = f"{asked['organization']}/{asked['name']}"
        there = name in self.repositories
        self.repositories.setdefault(name, {"private": asked.get("visibility") == "private", "files": {}})
        return as_json(409 if there else 200, {"url": f"{self.endpoint}/{name}"})

    def _in_repository(self, owner: str, name: str, *rest: str, body: bytes) -> Answer:
        repository = self.repositories.get(f"{owner}/{name}")
        if repository is None:
            return as_json(404, {"error": "Repository not found"})
        if not rest:
            return as_json(200, {"id": f"{owner}/{name}", "private": repository["private"], "siblings": []})
        if rest[0] == "preupload":
            asked = [file["path"] for file in json.loads(body)["files"]]
            mode = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in asked}
            files = [{"path": path, "uploadMode": mode[path], "shouldIgnore": False} for path in asked]
            return as_json(200, {"files": files})
        assert rest == ("commit", "main"), rest
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                repository["files"][value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                repository["files"][value["path"]] = self.blobs[value["oid"]]
        oid = "d" * 40
        return as_json(200, {"commitOid": oid, "commitUrl": f"{self.endpoint}/{owner}/{name}/commit/{oid}"})


def as_json(status: int, value: object) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


Served = TypeVar("Served", Hub, ModelHub)


@contextmanager
def serve(hub: Served) -> Iterator[Served]:
    """Serve ``hub`` on a free port as long as the block runs; ``hub.endpoint`` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            status, headers, content = hub.answer(self.command, path, self.headers, body)
            self.send_response(status)
            announced = headers.setdefault("Content-Length", str(len(content)))
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)
                self.close_connection = len(content) < int(announced)

        do_HEAD = do_GET = do_POST = do_PUT = handle_any

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()

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


@dataclass
class Hub:
    """The files of one dataset at one commit, what was asked for, and what shall go wrong."""

    repo: str
    revision: str
    files: dict[str, bytes]
    corrupt: set[str] = field(
        default_factory=set
    )  # files whose bytes differ from what their digest announces
    asked: list[tuple[str, str]] = field(
        default_factory=list
    )  # method, and path in the repository or of the API
    endpoint: str = ""

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

    def transfers(self) -> list[str]:
        """The file of every transfer asked for."""
        return [name for method, name in self.asked if method == "GET" and name in self.files]

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        api, resolve = f"/api/datasets/{self.repo}", f"/datasets/{self.repo}/resolve/{self.revision}/"
        name = path.removeprefix(resolve)
        self.asked.append((method, name))
        if path == f"{api}/tree/{self.revision}":
            return as_json(200, self.tree())
        if path == f"{api}/revision/{self.revision}":
            return as_json(200, {"id": self.repo, "sha": self.revision})
        if path.startswith(resolve) and name in self.files:
            content = self.files[name]
            if name in self.corrupt:
                content = content[:-1] + bytes([content[-1] ^ 1])
            return 200, {"ETag": f'"{self.etag(name)}"', "X-Repo-Commit": self.revision}, content
        return 404, {"X-Error-Code": "RevisionNotFound" if path.startswith(api) else "EntryNotFound"}, b"{}"


@dataclass
class ModelHub:
    """The model repositories of a hub that takes uploads, and what shall go wrong."""

    token: str  # the only one that may write
    repositories: dict[str, dict[str, Any]] = field(default_factory=dict)  # private, files of the one commit
    blobs: dict[str, bytes] = field(
        default_factory=dict
    )  # large files by SHA-256, sent but not committed yet
    refuse: dict[str, int] = field(default_factory=dict)  # path beginnings that are answered with a status
    asked: list[tuple[str, str]] = field(default_factory=list)  # method, path
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
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}"
            status = 409 if name in self.repositories else 200
            new = {"private": told.get("visibility") == "private", "files": {}}
            self.repositories.setdefault(name, new)
            return as_json(status, {"url": f"{self.endpoint}/{name}"})
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
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

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

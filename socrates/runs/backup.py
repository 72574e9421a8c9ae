"""Copies of finished checkpoints on a store that outlives the machine.

The store is any fsspec URL (``s3://bucket/folder``, ``/mnt/backup``), laid out as::

    <url>/<stage>/<fingerprint>/checkpoint-<step>/<files of the checkpoint>, manifest.json

A checkpoint's manifest is uploaded last and deleted first, so that a copy with a manifest is whole.
Each file is verified when it has arrived: its size by the store's own word, and its content by the
store's ETag where that is the MD5 of what was sent (S3 without KMS encryption, in one part or several),
else by reading it back and hashing it. A restored checkpoint is hashed against its manifest in any case.

Credentials come from the usual AWS chain (environment, ``~/.aws``, instance role) and nowhere else.
"""

from __future__ import annotations

import configparser
import hashlib
import logging
import math
import os
import re
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec

from socrates.core.errors import TrainingError
from socrates.core.files import sha256
from socrates.runs import checkpoints
from socrates.runs.checkpoints import MANIFEST, Manifest

PART = 32 * 2**20  # bytes of one part of an upload; an ETag of several parts depends on it
FIRST_WAIT = 1.0  # seconds before the first retry; doubled each time
LONGEST_WAIT = 300.0  # seconds
SECRET_NAMES = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|CREDENTIAL|(ACCESS|API|ACCOUNT)_KEY", re.IGNORECASE)
SHORTEST_SECRET = 6  # characters; a shorter value would blank out ordinary words

log = logging.getLogger(__name__)


def redact(text: object) -> str:
    """``text`` on one line without secrets: user parts of URLs, signatures, and every secret value that
    this process can see in its environment or in the AWS credentials file."""
    line = " ".join(str(text).split())
    for secret in sorted(_secrets(), key=len, reverse=True):
        line = line.replace(secret, "***")
    line = re.sub(r"(?<=://)[^/@\s]+@", "***@", line)
    return re.sub(r"((?:X-Amz-)?(?:Signature|Credential|Security-Token)[=:]\s*)[^&\s,'\"]+", r"\1***", line)


def _secrets() -> set[str]:
    values = {value for key, value in os.environ.items() if SECRET_NAMES.search(key)}
    path = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    parser = configparser.RawConfigParser()
    try:
        parser.read(path)
        values |= {value for name in parser.sections() for value in dict(parser[name]).values()}
    except (OSError, configparser.Error, UnicodeDecodeError):
        pass  # a file that cannot be read gave no credentials either
    return {value for value in values if len(value) >= SHORTEST_SECRET}


class Store:
    """The folder of one run on a backup store: put, verify, list, fetch and delete whole checkpoints.

    Methods raise whatever the store raises; :func:`redact` the text before showing it.
    """

    def __init__(self, filesystem: Any, root: str) -> None:
        self.filesystem = filesystem
        self.root = root.rstrip("/")
        protocol = filesystem.protocol
        self._s3 = "s3" in ((protocol,) if isinstance(protocol, str) else protocol)

    def complete(self) -> list[int]:
        """Steps of the copies that have a manifest, ascending."""
        return [step for step, whole in self._folders() if whole]

    def put(self, folder: Path, manifest: Manifest) -> None:
        """Upload a complete checkpoint, verifying each file, its manifest last.

        Files that a former attempt got across are recognised by size and content and not sent again.

        Raises:
            OSError: a file did not arrive as it was sent.
        """
        remote = self._path(manifest.step)
        digests = {path: file.sha256 for path, file in sorted(manifest.files.items())}
        there = self._listing(remote)
        missing = {
            path: digest
            for path, digest in digests.items()
            if not self._arrived(folder / path, f"{remote}/{path}", there.get(path), digest)
        }
        if missing and MANIFEST in there:
            self.filesystem.rm_file(f"{remote}/{MANIFEST}")
        self._send(folder, remote, missing)
        digest = sha256(folder / MANIFEST)
        if missing or not self._arrived(
            folder / MANIFEST, f"{remote}/{MANIFEST}", there.get(MANIFEST), digest
        ):
            self._send(folder, remote, {MANIFEST: digest})

    def read_manifest(self, step: int) -> Manifest:
        """The manifest of a copy. Raises OSError, or ValueError where it is damaged."""
        return Manifest.model_validate_json(self.filesystem.cat_file(f"{self._path(step)}/{MANIFEST}"))

    def fetch(self, step: int, destination: Path) -> Path:
        """Download a copy into its place under ``destination``, check every hash, then write its manifest.

        Raises:
            TrainingError: what came is not what the manifest says.
        """
        manifest = self.read_manifest(step)
        folder = destination / checkpoints.name(step)
        if folder.exists():
            checkpoints.discard(folder)
        for relative in sorted(manifest.files):
            local = folder / relative
            local.parent.mkdir(parents=True, exist_ok=True)
            self.filesystem.get_file(f"{self._path(step)}/{relative}", str(local))
        if reason := checkpoints.difference(folder, manifest):
            checkpoints.discard(folder)
            raise TrainingError(f"the backup of step {step} is damaged: {reason}")
        checkpoints.complete(folder, manifest)
        return folder

    def rotate(self, newest: int, keep: int) -> None:
        """Delete whole copies up to step ``newest`` but for the last ``keep``, and unfinished ones before it.

        Copies after ``newest`` are left alone: another machine may have gone further.
        """
        folders = [(step, whole) for step, whole in self._folders() if step <= newest]
        kept = set([step for step, whole in folders if whole][-keep:]) | {newest}
        for step, whole in folders:
            if step not in kept:
                if whole:
                    self.filesystem.rm_file(f"{self._path(step)}/{MANIFEST}")
                self.filesystem.rm(self._path(step), recursive=True)

    def probe(self) -> None:
        """Write, read and delete a small object. Raises what the store raises, OSError on a wrong reading."""
        path, data = f"{self.root}/.probe-{os.getpid()}", os.urandom(64)
        self._make_parent(path)
        self.filesystem.pipe_file(path, data)
        try:
            if self.filesystem.cat_file(path) != data:
                raise OSError("the store gave back other bytes than were written")
        finally:
            self.filesystem.rm_file(path)

    def _path(self, step: int) -> str:
        return f"{self.root}/{checkpoints.name(step)}"

    def _folders(self) -> list[tuple[int, bool]]:
        """Step of each checkpoint folder and whether it has its manifest, ascending."""
        try:
            paths = self.filesystem.find(self.root)
        except FileNotFoundError:
            return []
        folders: dict[int, bool] = {}
        for path in paths:
            first, _, rest = path.removeprefix(self.root).strip("/").partition("/")
            step = checkpoints.step_of(first)
            if step is not None and rest:
                folders[step] = folders.get(step, False) or rest == MANIFEST
        return sorted(folders.items())

    def _listing(self, remote: str) -> dict[str, dict[str, Any]]:
        """What the store says of each file under ``remote``, by relative path; a request or two for all."""
        try:
            found = self.filesystem.find(remote, detail=True)
        except FileNotFoundError:
            return {}
        return {path.removeprefix(remote).strip("/"): info for path, info in found.items()}

    def _send(self, folder: Path, remote: str, digests: dict[str, str]) -> None:
        """Upload files of ``folder``, by relative path with their SHA-256, then verify them all."""
        for path in digests:
            self._make_parent(f"{remote}/{path}")
            options = {"chunksize": PART} if self._s3 else {}
            self.filesystem.put_file(str(folder / path), f"{remote}/{path}", **options)
        there = self._listing(remote) if digests else {}
        for path, digest in digests.items():
            if not self._arrived(folder / path, f"{remote}/{path}", there.get(path), digest):
                raise OSError(f"{remote}/{path}: did not arrive as it was sent")

    def _arrived(self, local: Path, remote: str, info: dict[str, Any] | None, expected_sha256: str) -> bool:
        """Whether ``remote``, of which the store says ``info``, holds the bytes of ``local`` with this SHA-256."""
        if info is None or info["size"] != local.stat().st_size:
            return False
        etag = str(info.get("ETag", "")).strip('"')
        if etag and etag == etag_of(local, PART if "-" in etag else None):
            # The sender's own bytes may have changed on the disk meanwhile; then the manifest disowns them.
            return sha256(local) == expected_sha256
        digest = hashlib.sha256()
        with self.filesystem.open(remote, "rb") as file:
            while block := file.read(2**22):
                digest.update(block)
        return digest.hexdigest() == expected_sha256

    def _make_parent(self, remote: str) -> None:
        if not self._s3:  # S3 has no folders, and asking it to make one would try to make a bucket
            self.filesystem.makedirs(remote.rsplit("/", 1)[0], exist_ok=True)


def etag_of(path: Path, part: int | None = None) -> str:
    """The ETag S3 gives a file: its MD5, or with ``part`` bytes a part the MD5 of the parts' MD5s."""
    if part is None or path.stat().st_size < part:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    digests = []
    with path.open("rb") as file:
        while block := file.read(part):
            digests.append(hashlib.md5(block, usedforsecurity=False).digest())
    whole = hashlib.md5(b"".join(digests), usedforsecurity=False).hexdigest()
    return f"{whole}-{math.ceil(path.stat().st_size / part)}"


def open_store(url: str, stage: str, fingerprint: str, endpoint_url: str | None = None) -> Store:
    """The store behind ``run.backup.url`` for one run. Nothing is read or written yet.

    Raises:
        TrainingError: the URL's scheme is unknown or not installed, or the URL carries credentials.
    """
    scheme, separator, rest = url.partition("://")
    if separator and "@" in rest.split("/", 1)[0]:
        raise TrainingError(
            f"run.backup.url {redact(url)}: carries credentials; take them out, use the AWS variables or ~/.aws"
        )
    if not separator:
        scheme, url = "file", str(Path(url).expanduser().resolve())
    options: dict[str, Any] = {"skip_instance_cache": True}
    if scheme in ("s3", "s3a"):
        options |= {
            "endpoint_url": endpoint_url,
            "use_listings_cache": False,
            "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 1}},
        }
    elif endpoint_url:
        raise TrainingError(
            f"run.backup.endpoint_url is for s3:// URLs, not for {redact(url)}; set it to null"
        )
    try:
        filesystem, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise TrainingError(f"run.backup.url {redact(url)}: {redact(error)}") from None
    except ValueError:
        raise TrainingError(
            f"run.backup.url {redact(url)}: unknown scheme {scheme!r}; use s3://bucket/folder, a plain folder "
            "or another fsspec URL"
        ) from None
    if hasattr(filesystem, "retries"):
        filesystem.retries = 2  # the waits between attempts are ours, where they can be seen
    return Store(filesystem, f"{root.rstrip('/')}/{stage}/{fingerprint}")


@dataclass(frozen=True)
class BackupState:
    """What is backed up and what is not yet.

    Attributes:
        done: newest step on the store, or None.
        waiting: steps not backed up yet, ascending.
        failures: attempts failed in a row.
        error: the last failure in one line, without secrets; None after a success.
    """

    done: int | None
    waiting: tuple[int, ...]
    failures: int
    error: str | None

    def __str__(self) -> str:
        if self.error:
            return f"backup FAILING, {len(self.waiting)} behind ({self.error[:80]})"
        if self.waiting:
            return f"backup {len(self.waiting)} behind"
        return "no backup yet" if self.done is None else f"backed up to step {self.done}"

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)


class Backup:
    """Uploads complete checkpoints from a background thread, newest first, until it succeeds.

    A failing store never reaches the training: it is tried again after 1, 2, 4, ... 300 seconds, each
    failure is one loud line in the log, and :attr:`state` shows the backlog. A checkpoint that local
    retention has deleted meanwhile leaves the backlog too, as retention on the store is the same.
    """

    def __init__(
        self, store: Store, keep: int, first_wait: float = FIRST_WAIT, longest_wait: float = LONGEST_WAIT
    ) -> None:
        self._store = store
        self._keep = keep
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._changed = threading.Condition()
        self._waiting: dict[int, Path] = {}
        self._done: int | None = None
        self._failures = 0
        self._error: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="backup", daemon=True)
        self._thread.start()

    @property
    def state(self) -> BackupState:
        """A snapshot; cheap, never waits for the store."""
        with self._changed:
            return BackupState(self._done, tuple(sorted(self._waiting)), self._failures, self._error)

    def submit(self, folder: Path) -> None:
        """Queue a complete checkpoint; returns at once."""
        step = checkpoints.step_of(folder)
        if step is None:
            raise ValueError(f"{folder}: not a checkpoint")
        with self._changed:
            self._waiting[step] = folder
            self._changed.notify_all()

    def drain(self, timeout: float) -> None:
        """Wait until everything is backed up, at most ``timeout`` seconds.

        Raises:
            TrainingError: with the list of what is not backed up and why.
        """
        deadline = time.monotonic() + timeout
        with self._changed:
            self._failures = 0  # one prompt attempt, whatever wait the last failure had earned
            self._changed.notify_all()
            while self._waiting and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._waiting:
                missing = ", ".join(str(self._waiting[step]) for step in sorted(self._waiting))
                reason = self._error or f"still uploading after {timeout:.0f} s"
                raise TrainingError(f"not backed up: {missing} ({reason}); they are complete on this machine")

    def close(self) -> None:
        """Stop after the upload in hand; what waits is left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                step = max(self._waiting)
                folder = self._waiting[step]
            error = self._attempt(step, folder)
            with self._changed:
                if error is None:
                    self._waiting.pop(step, None)
                    self._failures, self._error = 0, None
                    self._changed.notify_all()
                    continue
                self._failures += 1
                self._error = error
                wait = min(self._first_wait * 2 ** (self._failures - 1), self._longest_wait)
                log.warning(
                    "BACKUP FAILED (attempt %d, %d waiting, next in %.0f s): %s",
                    self._failures, len(self._waiting), wait, error,
                )  # fmt: skip
                before = self._failures
                self._changed.wait_for(lambda: self._closed or self._failures != before, wait)  # noqa: B023

    def _attempt(self, step: int, folder: Path) -> str | None:
        """Upload one checkpoint; the failure in one line, or None. A deleted one counts as done with."""
        try:
            manifest = checkpoints.read_manifest(folder)
            self._store.put(folder, manifest)
            with self._changed:
                newest = self._done = max(step, self._done or 0)
            self._store.rotate(newest, self._keep)
        except Exception as error:  # a store can raise anything, and none of it may end the training
            if not (folder / MANIFEST).exists():
                log.warning("%s: deleted before it could be backed up; a later one takes its place", folder)
                return None
            return redact(f"{type(error).__name__}: {error}")
        return None


def fetch_newest(store: Store, fingerprint: str, destination: Path, after: int = -1) -> Path | None:
    """Fetch the newest whole copy with a step beyond ``after`` into ``destination``, verified.

    A damaged copy is skipped with a warning and the one before is fetched. None: there is none.

    Raises:
        TrainingError: the store cannot be read.
    """
    try:
        for step in reversed(store.complete()):
            if step <= after:
                break
            try:
                if store.read_manifest(step).fingerprint == fingerprint:
                    return store.fetch(step, destination)
                log.warning("the backup of step %d belongs to another fingerprint; skipped", step)
            except (TrainingError, FileNotFoundError, ValueError) as error:
                log.warning("%s; going back to the one before", redact(error))
    except Exception as error:
        raise _unreadable(error) from None
    return None


def resume_point(folder: Path, fingerprint: str, processes: int, store: Store | None) -> Path | None:
    """The checkpoint under ``folder`` that a run goes on from, after fetching a newer one from the store.

    A store that cannot be read is a warning where this machine has a checkpoint of its own.

    Raises:
        TrainingError: the checkpoint belongs to another fingerprint or number of processes; or there is
            none here and the store cannot be read.
    """
    newest = checkpoints.newest_complete(folder)
    if store is not None:
        here = -1 if newest is None else checkpoints.read_manifest(newest).step
        try:
            newest = fetch_newest(store, fingerprint, folder, after=here) or newest
        except TrainingError as error:
            if newest is None:
                raise
            log.warning("%s; going on from %s", error, newest)
    if newest is not None:
        checkpoints.check_fits(newest, fingerprint=fingerprint, processes=processes)
    return newest


def _unreadable(error: Exception) -> TrainingError:
    return TrainingError(
        f"the backup store cannot be read ({redact(f'{type(error).__name__}: {error}')}); mend it, or set "
        "run.backup.url to null to start without"
    )

"""Copies of complete checkpoints on a store that outlives the machine.

The store is any fsspec URL (``s3://bucket/folder``, ``/mnt/backup``), laid out as::

    <url>/<stage>/<fingerprint>/checkpoint-<step>/<files of the checkpoint>, manifest.json

A checkpoint's manifest is uploaded last and deleted first, so that a copy with a manifest is whole. A store refuses
what differs from botocore's checksums; a restored checkpoint is hashed against its manifest. Credentials come from the
usual AWS chain. Of a store's error the type and the code are shown and never the text, which may quote a secret.
"""

import contextlib
import logging
import multiprocessing
import os
import threading
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import fsspec

from socrates.core.errors import TrainingError
from socrates.runs import checkpoints
from socrates.runs.checkpoints import MANIFEST, Manifest, list_checkpoints

FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds before a retry, doubled each time
ANSWER = 30.0  # seconds in which a store must answer at the start

log = logging.getLogger(__name__)


def error_code(error: BaseException) -> str:
    """An error's type with its code, such as ``PermissionError (AccessDenied)``, without its text."""
    code = None
    cause: BaseException | None = error
    while cause is not None and code is None:
        code = getattr(cause, "response", {}).get("Error", {}).get("Code")  # botocore's
        cause = cause.__cause__
    if code is None and isinstance(error, OSError) and error.errno:
        code = os.strerror(error.errno)
    return type(error).__name__ + (f" ({code})" if code else "")


@dataclass
class Store:
    """The folder of one run on a backup store. Methods raise whatever the store raises."""

    filesystem: Any
    root: str

    def _copies(self) -> dict[int, bool]:
        """Whether each copy has its manifest, by step, ascending."""
        whole: dict[int, bool] = {}
        with contextlib.suppress(FileNotFoundError):
            for path in self.filesystem.find(self.root):
                folder, _, rest = path.removeprefix(self.root).strip("/").partition("/")
                step = checkpoints.step_of(folder)
                if step is not None and rest:
                    whole[step] = whole.get(step, False) or rest == MANIFEST
        return dict(sorted(whole.items()))

    def complete(self) -> list[int]:
        """Steps of the copies that have a manifest, ascending."""
        return [step for step, whole in self._copies().items() if whole]

    def put(self, folder: Path) -> None:
        """Upload a complete checkpoint, its manifest last. One that is on the store already is not sent again."""
        manifest, remote = checkpoints.read_manifest(folder), f"{self.root}/{folder.name}"
        with contextlib.suppress(FileNotFoundError):
            if self.filesystem.cat_file(f"{remote}/{MANIFEST}") == (folder / MANIFEST).read_bytes():
                return
            self.filesystem.rm_file(f"{remote}/{MANIFEST}")
        for path in [*sorted(manifest.files), MANIFEST]:
            self.filesystem.put_file(str(folder / path), f"{remote}/{path}")

    def fetch_newest(self, destination: Path, after: int = -1) -> Path | None:
        """Download the newest copy of a step beyond ``after`` to its place under ``destination``, if there is one.

        Its manifest is written when every hash is right; a damaged copy is a warning, and the one before is taken.
        """
        for step in reversed([step for step in self.complete() if step > after]):
            folder, remote = destination / checkpoints.name(step), f"{self.root}/{checkpoints.name(step)}"
            if folder.exists():
                checkpoints.discard(folder)
            try:
                manifest = Manifest.model_validate_json(self.filesystem.cat_file(f"{remote}/{MANIFEST}"))
                files = {f"{remote}/{file}": str(folder / file) for file in sorted(manifest.files)}
                self.filesystem.get([*files], [*files.values()])
                reason = checkpoints.validate(folder, manifest)
            except (FileNotFoundError, ValueError) as error:
                reason = error_code(error)
            if reason is None:
                checkpoints.complete(folder, manifest)
                return folder
            log.warning("the backup of step %d is damaged: %s; going back to the one before", step, reason)
        return None

    def rotate(self, newest: int, keep: int) -> None:
        """Delete whole copies up to step ``newest`` but for the last ``keep``, and unfinished ones before it."""
        # Copies after ``newest`` are left alone: another machine may have gone further.
        copies = {step: whole for step, whole in self._copies().items() if step <= newest}
        kept = {newest, *[step for step, whole in copies.items() if whole][-keep:]}
        for step in copies.keys() - kept:
            remote = f"{self.root}/{checkpoints.name(step)}"
            if copies[step]:
                self.filesystem.rm_file(f"{remote}/{MANIFEST}")
            self.filesystem.rm(remote, recursive=True)

    def probe(self) -> None:
        """Write, read and delete a small object. Raises what the store raises, OSError on a wrong reading."""
        path, data = f"{self.root}/.probe-{os.getpid()}", os.urandom(64)
        self.filesystem.pipe_file(path, data)
        if self.filesystem.cat_file(path) != data:
            raise OSError("the store gave back other bytes than were written")
        self.filesystem.rm_file(path)


def open_store(url: str, stage: str, fingerprint: str, endpoint_url: str | None = None) -> Store:
    """The store behind ``run.backup.url`` for one run. Nothing is read or written yet."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, url = "file", str(Path(url).expanduser().resolve())
    bucket = rest.split("/", 1)[0]
    if separator and not bucket:
        raise TrainingError("run.backup.url: names no bucket; null means no backup")
    if "@" in bucket:
        raise TrainingError("run.backup.url: carries credentials; use the AWS variables or ~/.aws instead")
    if endpoint_url and scheme != "s3":
        raise TrainingError(f"run.backup.endpoint_url is for s3:// URLs, not for {scheme}; set it to null")
    options: dict[str, Any] = {"auto_mkdir": True} if scheme == "file" else {}
    if scheme == "s3":  # s3fs retries what is transient; a store that is down is the uploader's to wait for
        config = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 1}}
        options |= {"endpoint_url": endpoint_url, "use_listings_cache": False, "config_kwargs": config}
        options |= {"max_concurrency": 4}  # parts of 50 MB held in memory
    try:
        filesystem, root = fsspec.core.url_to_fs(url, skip_instance_cache=True, **options)
    except ImportError as error:
        raise TrainingError(f"run.backup.url: {scheme}:// needs a package: {error}") from None
    except ValueError:
        known = "use s3://bucket/folder, a plain folder or another fsspec URL"
        raise TrainingError(f"run.backup.url: unknown scheme {scheme!r}; {known}") from None
    return Store(filesystem, f"{root.rstrip('/')}/{stage}/{fingerprint}")


class Uploader:
    """Uploads the complete checkpoints of a run from a background thread, newest first, until it succeeds.

    A failing store never reaches the training: it is tried again after 1, 2, 4, ... 300 seconds, each failure is
    one line in the log, and :attr:`state` shows the backlog. A checkpoint that local retention has deleted
    meanwhile leaves the backlog too, as retention on the store is the same.
    """

    def __init__(self, store: Store, folder: Path, keep: int) -> None:
        self._store, self._folder, self._keep = store, folder, keep
        self._changed = threading.Condition()
        self._sent: set[int] = set()
        self._failures, self._error, self._closed = 0, "", False
        self.wake()
        threading.Thread(target=self._work, name="backup", daemon=True).start()

    @property
    def state(self) -> dict[str, Any]:
        """Newest step on the store, steps that wait, and the last failure; never waits and reads no disk."""
        done = max(self._sent, default=None)
        return {"done": done, "waiting": [*self._waiting], "error": self._error or None}

    def wake(self) -> None:
        """Look which checkpoints, those of earlier attempts among them, are not on the store; returns at once."""
        with self._changed:
            steps = {checkpoints.step_of(path) or 0: path for path in list_checkpoints(self._folder)}
            self._waiting = {step: path for step, path in steps.items() if step not in self._sent}
            self._changed.notify_all()

    def drain(self, timeout: float) -> None:
        """Wait until everything is backed up; what is not after ``timeout`` seconds is a :class:`TrainingError`."""
        with self._changed:
            self._failures = 0  # one prompt attempt, whatever wait the last failure had earned
            self.wake()
            if not self._changed.wait_for(lambda: not self._waiting, timeout):
                missing = ", ".join(map(str, self._waiting.values()))
                reason = self._error or f"still uploading after {timeout:.0f} s"
                raise TrainingError(f"not backed up: {missing} ({reason}); they are complete on this machine")

    def close(self) -> None:
        """Stop after the upload in hand; what waits is left."""
        self._closed = True
        self.wake()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    return
                step, folder = max(self._waiting.items())
            try:
                self._store.put(folder)
                self._store.rotate(max({step} | self._sent), self._keep)
                error = ""
            except Exception as failure:  # a store can raise anything, and none of it may end the training
                error = error_code(failure)
            with self._changed:
                self._sent |= set() if error else {step}
                self.wake()
                self._error = error if step in self._waiting else ""  # else it is gone
                self._failures = self._failures + 1 if self._error else 0
                if self._failures:  # wait until the next attempt is due, or drain asks for one
                    wait = min(FIRST_WAIT * 2.0 ** min(self._failures - 1, 99), LONGEST_WAIT)
                    told = f"attempt {self._failures}, next in {wait:.0f} s, {len(self._waiting)} waiting"
                    log.warning("BACKUP FAILED (%s): %s", told, error)
                    self._changed.wait_for(lambda: self._closed or not self._failures, wait)


def resume_point(folder: Path, fingerprint: str, processes: int, store: Store | None) -> Path | None:
    """The checkpoint under ``folder`` that a run goes on from, after fetching a newer one from the store.

    A little is written, read and deleted there before a training relies on it. A store that cannot be used is an
    error, or a warning where this machine has a checkpoint of its own.
    """
    newest = checkpoints.newest_complete(folder)
    if store is not None:
        try:
            with ThreadPool(1) as pool:  # its thread is left where the store never answers
                pool.apply_async(store.probe).get(ANSWER)
            here = -1 if newest is None else checkpoints.read_manifest(newest).step
            newest = store.fetch_newest(folder, after=here) or newest
        except Exception as error:  # a store can raise anything
            late = isinstance(error, multiprocessing.TimeoutError)
            reason = f"no answer for {ANSWER:.0f} s" if late else error_code(error)
            mend = "mend it, or set run.backup.url to null to start without"
            told = f"the backup store cannot be read and written: {reason}; {mend}"
            if newest is None:
                raise TrainingError(told) from None
            log.warning("%s; going on from %s", told, newest)
    if newest is not None:
        checkpoints.check_fits(newest, fingerprint, processes)
    return newest

"""Checkpoint folders that are complete or do not exist.

A checkpoint is written in a hidden staging folder, every file is hashed into ``manifest.json`` and
flushed to the disk, and only then does the folder get its name, ``checkpoint-<step>``. The rename is
the commit: whatever kills the process before it leaves nothing that looks like a checkpoint. A folder
damaged later (a truncated file, an edited one, one too many) is found out by its hashes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from socrates.core.errors import TrainingError
from socrates.core.files import sha256, write_json

MANIFEST = "manifest.json"
STAGING = ".staging"
DISCARDED = ".discarded"
NAME = re.compile(r"checkpoint-(\d+)")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class File:
    """One file of a checkpoint."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a complete checkpoint holds.

    Attributes:
        step: optimiser steps taken.
        fingerprint: of the run that wrote it (see :mod:`socrates.runs.fingerprint`).
        processes: how many processes wrote it; sharded optimiser state fits only as many.
        files: relative POSIX path to size and hash, the manifest itself left out.
    """

    step: int
    fingerprint: str
    processes: int
    files: dict[str, File]

    @property
    def bytes(self) -> int:
        """Size of the checkpoint without its manifest."""
        return sum(file.bytes for file in self.files.values())


def name(step: int) -> str:
    """Folder name of the checkpoint after ``step`` optimiser steps."""
    return f"checkpoint-{step}"


def step_of(folder: Path | PurePosixPath | str) -> int | None:
    """Step of a checkpoint folder by its name; None where the name is not one of a checkpoint."""
    match = NAME.fullmatch(PurePosixPath(folder).name)
    return int(match[1]) if match else None


def seal(folder: Path, *, fingerprint: str, processes: int = 1, step: int | None = None) -> Manifest:
    """Hash and flush every file in ``folder``, then write its manifest, last and atomically.

    ``step`` is read from the folder's name when not given.

    Raises:
        TrainingError: the folder is empty, or its step is not known.
    """
    step = step if step is not None else step_of(folder)
    if step is None:
        raise TrainingError(f"{folder}: not named checkpoint-<step>, so its step is not known")
    (folder / MANIFEST).unlink(missing_ok=True)
    files = {}
    for path in _files(folder):
        _flush(path)
        files[path.relative_to(folder).as_posix()] = File(path.stat().st_size, sha256(path))
    if not files:
        raise TrainingError(f"{folder}: nothing was written, so there is no checkpoint to seal")
    manifest = Manifest(step, fingerprint, processes, files)
    write_json(folder / MANIFEST, asdict(manifest))
    for inner in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        _flush(inner)
    return manifest


def commit(staged: Path, root: Path) -> Path:
    """Give a sealed folder its place ``root/checkpoint-<step>``; this is when the checkpoint comes to be.

    One of the same step that lies there (a damaged one that training went back behind) makes way.
    """
    final = root / name(read_manifest(staged).step)
    discarded = root / f"{DISCARDED}-{final.name}"
    shutil.rmtree(discarded, ignore_errors=True)
    if final.exists():
        final.rename(discarded)
    staged.rename(final)
    _flush(root)
    shutil.rmtree(discarded, ignore_errors=True)
    return final


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``. Raises :class:`TrainingError` where there is none that can be read."""
    try:
        return parse_manifest((folder / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise TrainingError(f"{folder}: has no {MANIFEST}, so it was never finished") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise TrainingError(f"{folder / MANIFEST}: damaged") from None


def parse_manifest(data: bytes) -> Manifest:
    """The manifest in ``data``. Raises ValueError, TypeError, KeyError or AttributeError if it is not one."""
    raw = json.loads(data)
    files = {path: File(int(file["bytes"]), str(file["sha256"])) for path, file in raw["files"].items()}
    if any(PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts for path in files):
        raise ValueError("a path leads out of the checkpoint")
    return Manifest(int(raw["step"]), str(raw["fingerprint"]), int(raw["processes"]), files)


def problem(folder: Path) -> str | None:
    """Why ``folder`` is not a complete checkpoint, in one line; None when every byte is as it was sealed."""
    try:
        manifest = read_manifest(folder)
    except TrainingError as error:
        return str(error)
    if manifest.step != step_of(folder):
        return f"{folder}: its {MANIFEST} is of step {manifest.step}"
    found = {path.relative_to(folder).as_posix() for path in _files(folder)} - {MANIFEST}
    if odd := sorted(found ^ set(manifest.files)):
        return f"{folder / odd[0]}: {'not in the manifest' if odd[0] in found else 'missing'}"
    for relative, file in sorted(manifest.files.items()):
        path = folder / relative
        if path.stat().st_size != file.bytes:
            return f"{path}: {path.stat().st_size} bytes where {file.bytes} were sealed"
        if sha256(path) != file.sha256:
            return f"{path}: content differs from what was sealed"
    return None


def sealed(root: Path) -> list[Path]:
    """Checkpoints under ``root`` with a name and a manifest, oldest first; hashes are not checked."""
    steps = {
        step: path
        for path in (root.iterdir() if root.is_dir() else ())
        if (step := step_of(path)) is not None and (path / MANIFEST).is_file()
    }
    return [steps[step] for step in sorted(steps)]


def newest_complete(root: Path) -> Path | None:
    """The latest checkpoint under ``root`` whose every byte is right, or None.

    Truncated or tampered ones are skipped with a warning and left where they are.
    """
    named = ((step_of(path), path) for path in (root.iterdir() if root.is_dir() else ()))
    for _, path in sorted(((step, path) for step, path in named if step is not None), reverse=True):
        reason = problem(path)
        if reason is None:
            return path
        log.warning("skipping %s; going back to the one before", reason)
    return None


def check_fits(folder: Path, *, fingerprint: str, processes: int) -> Manifest:
    """The manifest of ``folder`` if this run can resume from it.

    Raises:
        TrainingError: it belongs to another fingerprint, or to another number of processes.
    """
    manifest = read_manifest(folder)
    if manifest.fingerprint != fingerprint:
        raise TrainingError(
            f"{folder}: belongs to fingerprint {manifest.fingerprint[:12]}, not to this run's "
            f"{fingerprint[:12]}; move it away to start fresh"
        )
    if manifest.processes != processes:
        raise TrainingError(
            f"{folder}: was written by {manifest.processes} processes and this run has {processes}; start "
            f"{manifest.processes} to go on, or move the folder away to start fresh"
        )
    return manifest


def rotate(root: Path, keep: int) -> list[Path]:
    """Delete all but the last ``keep`` sealed checkpoints; return what was deleted, oldest first."""
    old = sealed(root)[:-keep] if keep > 0 else []
    for path in old:
        # Renamed first, so that a kill in the middle does not leave half a folder with a manifest.
        discarded = root / f"{DISCARDED}-{path.name}"
        shutil.rmtree(discarded, ignore_errors=True)
        path.rename(discarded)
        shutil.rmtree(discarded, ignore_errors=True)
    return old


def sweep(root: Path) -> None:
    """Remove what a killed process left half written or half deleted. Only the lock's holder may call it."""
    shutil.rmtree(root / STAGING, ignore_errors=True)
    for path in root.glob(f"{DISCARDED}-*"):
        shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _flush(path: Path) -> None:
    """Wait until the file or folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

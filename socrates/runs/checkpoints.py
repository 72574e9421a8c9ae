"""Checkpoint folders ``checkpoint-<step>`` and the manifest that makes one complete.

When the Trainer has written a checkpoint, every file is hashed and flushed to the disk, and ``manifest.json`` is
written last and atomically: a kill before leaves a folder without one, which the next start deletes. A file damaged
later is found by its hash.
"""

import logging
import re
import shutil
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, field_validator

from socrates.core.errors import TrainingError
from socrates.core.files import flush, sha256, write_json

MANIFEST = "manifest.json"

log = logging.getLogger(__name__)


class Manifest(BaseModel, frozen=True):
    """What a complete checkpoint holds."""

    step: int  # optimiser steps taken
    fingerprint: str  # of the run that wrote it
    processes: int  # that wrote it; sharded optimiser state fits only as many
    files: dict[str, str]  # SHA-256 by relative POSIX path, the manifest itself left out

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, str]) -> dict[str, str]:
        if any(PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts for path in files):
            raise ValueError("a path leads out of the checkpoint")
        return files


def name(step: int) -> str:
    """Folder name of the checkpoint after ``step`` optimiser steps."""
    return f"checkpoint-{step}"


def step_of(folder: Path | str) -> int | None:
    """Step of a checkpoint folder by its name; None where the name is not one of a checkpoint."""
    match = re.fullmatch(r"checkpoint-(\d+)", Path(folder).name)
    return int(match[1]) if match else None


def hash_folder(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the manifest by relative POSIX path, flushed to the disk."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST):
        flush(path)
        files[path.relative_to(folder).as_posix()] = sha256(path)
    return files


def write_manifest(folder: Path, fingerprint: str, processes: int = 1) -> None:
    """Hash and flush every file of a checkpoint, then complete it with its manifest."""
    step = step_of(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    files = hash_folder(folder)
    if step is None or not files:
        raise TrainingError(f"{folder}: not a checkpoint, or nothing was written into it")
    complete(folder, Manifest(step=step, fingerprint=fingerprint, processes=processes, files=files))


def complete(folder: Path, manifest: Manifest) -> None:
    """Write the manifest of files that :func:`hash_folder` has flushed."""
    for inner in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        flush(inner)
    write_json(folder / MANIFEST, manifest.model_dump())
    flush(folder)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of ``folder``. Raises :class:`TrainingError` where there is none that can be read."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise TrainingError(f"{folder}: has no {MANIFEST}, so it was never finished") from None
    except ValueError:
        raise TrainingError(f"{folder / MANIFEST}: damaged") from None


def validate(folder: Path, manifest: Manifest | None = None) -> str | None:
    """How ``folder`` differs from its manifest, or from the one that is given, in one line; None where it does not."""
    try:
        manifest = manifest or read_manifest(folder)
    except TrainingError as error:
        return str(error)
    if manifest.step != step_of(folder):
        return f"{folder}: its {MANIFEST} is of step {manifest.step}"
    written, expected = hash_folder(folder), manifest.files
    for path in sorted(dict(written.items() ^ expected.items())):
        how = "is missing" if path not in written else "was added" if path not in expected else "has changed"
        return f"{folder / path}: {how} since the checkpoint was written"
    return None


def check_fits(folder: Path, fingerprint: str, processes: int) -> None:
    """Raises :class:`TrainingError` where a checkpoint is of another fingerprint or number of processes."""
    wrote = read_manifest(folder)
    if wrote.fingerprint != fingerprint:
        marks = f"{wrote.fingerprint[:12]}, not to this run's {fingerprint[:12]}"
        raise TrainingError(f"{folder}: belongs to fingerprint {marks}; move it away to start fresh")
    if wrote.processes != processes:
        told = f"was written by {wrote.processes} processes and this run has {processes}"
        mend = f"start {wrote.processes} to go on, or move the folder away to start fresh"
        raise TrainingError(f"{folder}: {told}; {mend}")


def list_checkpoints(root: Path) -> list[Path]:
    """Checkpoints under ``root`` that have a manifest, oldest first; hashes are not checked."""
    return [path for path in _folders(root) if (path / MANIFEST).is_file()]


def newest_complete(root: Path) -> Path | None:
    """The latest checkpoint under ``root`` whose every byte is right, or None; others get a warning."""
    for path in reversed(_folders(root)):
        reason = validate(path)
        if reason is None:
            return path
        log.warning("skipping %s; going back to the one before", reason)
    return None


def newest_in_words(root: Path) -> str:
    """What a run has to go on from, for the message with which it ends; hashes are not checked."""
    found = list_checkpoints(root)
    return f"the newest checkpoint is {found[-1].name}" if found else "there is no checkpoint yet"


def rotate(root: Path, keep: int) -> None:
    """Delete all but the last ``keep`` complete checkpoints."""
    for path in list_checkpoints(root)[:-keep]:
        discard(path)


def clean_incomplete(root: Path, after: int | None = None) -> None:
    """Delete folders without a manifest, and those of steps beyond ``after``, which a resume will write again."""
    for path in _folders(root):
        if not (path / MANIFEST).is_file() or (after is not None and (step_of(path) or 0) > after):
            discard(path)


def discard(folder: Path) -> None:
    """Delete what has a checkpoint's name, its manifest first: a kill halfway leaves an incomplete checkpoint."""
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink()
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder)


def _folders(root: Path) -> list[Path]:
    """What is named as checkpoints, oldest first."""
    steps = {step_of(path): path for path in (root.iterdir() if root.is_dir() else ())}
    return [steps[step] for step in sorted(step for step in steps if step is not None)]

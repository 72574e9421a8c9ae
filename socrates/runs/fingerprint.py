"""What shapes a run's result, as one hash; the folder that carries its name; the lock on that folder.

A run resumes by itself only from checkpoints of its own fingerprint. What cannot change the result does
not enter: how many processes run, how often it logs or saves, what an hour costs, where backups go.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from socrates.core.errors import TrainingError
from socrates.core.files import sha256, write_json
from socrates.core.params import Section, flat

SCRATCH_VARIABLE = "SOCRATES_SCRATCH"
FACTS = "fingerprint.json"

# Packages whose code computes the result.
PACKAGES = (
    "accelerate",
    "bitsandbytes",
    "deepspeed",
    "numpy",
    "peft",
    "safetensors",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
)

Facts = dict[str, Any]

log = logging.getLogger(__name__)


def of_run(sections: Mapping[str, Section], files: Iterable[Path], code: Iterable[str]) -> Facts:
    """All that shapes the result of a run: params, data, the modules that compute it, installed packages."""
    return of_sections(sections) | of_files(files) | of_code(code) | of_packages()


def of_sections(sections: Mapping[str, Section]) -> Facts:
    """Every key of the given sections as ``params.<section>.<key>``."""
    keys = {
        f"{name}.{key}": value
        for name, section in sections.items()
        for key, value in flat(section.model_dump(mode="json"))
    }
    return {f"params.{key}": value for key, value in sorted(keys.items())}


def of_files(paths: Iterable[Path]) -> Facts:
    """SHA-256 of each file (data, the base model's manifest), under ``file.<path>``."""
    return {f"file.{path.as_posix()}": sha256(path) for path in sorted(paths)}


def of_code(modules: Iterable[str]) -> Facts:
    """SHA-256 of each module's source, under ``code.<module>``. Nothing is imported but parent packages."""
    facts: Facts = {}
    for module in sorted(modules):
        spec = importlib.util.find_spec(module)
        if spec is None or spec.origin is None:
            raise ValueError(f"{module}: no such module")
        facts[f"code.{module}"] = sha256(Path(spec.origin))
    return facts


def of_packages(packages: Iterable[str] = PACKAGES) -> Facts:
    """The versions of packages, under ``package.<name>``."""
    return {f"package.{package}": version for package, version in versions(packages).items()}


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Installed version of each package, by name; None where it is not installed."""
    found: dict[str, str | None] = {}
    for package in sorted(packages):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def fingerprint(facts: Facts) -> str:
    """SHA-256 of the facts as canonical JSON, in hexadecimal; the order of keys does not matter."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def difference(a: Facts, b: Facts) -> list[str]:
    """Keys whose values differ, or that only one side has, sorted."""
    absent = object()
    return sorted(key for key in a.keys() | b.keys() if a.get(key, absent) != b.get(key, absent))


def scratch() -> Path:
    """Where checkpoints live: ``SOCRATES_SCRATCH``, or ``.scratch`` in the current folder.

    Under ``dvc exp run --temp`` and ``--queue`` the current folder lies in a copy of the checkout, at
    ``.dvc/tmp/exps/standalone/<copy>`` or ``.dvc/tmp/exps/<copy>``, that is deleted afterwards; the copy is
    left for the same folder of the checkout it was made from.
    """
    if named := os.environ.get(SCRATCH_VARIABLE):
        return Path(named)
    here = Path.cwd()
    for outer in here.parents:
        if outer.name == ".dvc" and here.relative_to(outer).parts[:2] == ("tmp", "exps"):
            copy = next(folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir())
            return outer.parent / here.relative_to(copy) / ".scratch"
    return here / ".scratch"


@contextlib.contextmanager
def hold(stage: str, facts: Facts, root: Path | None = None) -> Iterator[Path]:
    """Own ``<scratch>/<stage>/<fingerprint>/`` for as long as the block runs, and yield it.

    The kernel drops the lock when its holder dies, however it dies. One process of a distributed run
    holds it for all.

    Raises:
        TrainingError: the scratch cannot be written, or another process holds this fingerprint.
    """
    mark = fingerprint(facts)
    folder = (root or scratch()) / stage / mark
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise TrainingError(
            f"{folder}: scratch cannot be written ({error.strerror}); set {SCRATCH_VARIABLE} to another"
        ) from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "another"
            raise TrainingError(
                f"{folder}: process {owner} is at work on this fingerprint; wait for it, or stop it first"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        if not (folder / FACTS).exists():
            write_json(folder / FACTS, facts)
        yield folder
    finally:
        os.close(descriptor)


def explain_fresh_start(folder: Path, facts: Facts, keys_shown: int = 5) -> str | None:
    """Why the earlier run of the same stage does not continue, in one line; None where there is none.

    Of several, the one with the fewest differing keys is named.
    """
    others = []
    for path in sorted(folder.parent.glob(f"*/{FACTS}")):
        if path.parent == folder:
            continue
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            log.warning("%s: cannot be read; ignored", path)
            continue
        others.append((difference(earlier, facts), path.parent.name, earlier))
    if not others:
        return None
    keys, mark, earlier = min(others, key=lambda item: (len(item[0]), item[1]))
    shown = [f"{key} ({_short(earlier.get(key))} -> {_short(facts.get(key))})" for key in keys[:keys_shown]]
    more = f" and {len(keys) - keys_shown} more" if len(keys) > keys_shown else ""
    return f"starting fresh: the earlier run {mark[:12]} differs in {', '.join(shown)}{more}"


def _short(value: Any) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 24 else text[:12] + "..."

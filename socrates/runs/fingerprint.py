"""What shapes a run's result, as one hash; the folder that carries its name; the lock on that folder.

A run resumes by itself only from checkpoints of its own fingerprint. It is the hash of the run config: params,
data, packages, and the code that computes the result. That code is found, not listed: every module that the entry
module imports, in whatever function, but for what can shape no result (:data:`SHAPES_NOTHING`). What cannot change
the result does not enter: the params section ``run``, comments, docstrings, error texts. Nor does the number of
processes: a run goes on only with the number it began with (:func:`socrates.runs.checkpoints.check_fits`).
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from socrates.core.errors import SocratesError, TrainingError
from socrates.core.files import read_json, sha256, write_json
from socrates.core.params import Section, flat

ROOT = Path(__file__).resolve().parents[2]  # of this package, and of gsm8k beside it
SHAPES_NOTHING = ("socrates.runs.", "socrates.core.errors.")
SCRATCH_VARIABLE = "SOCRATES_SCRATCH"
CONFIG_FILE = "fingerprint.json"
KEYS_SHOWN = 5  # of those in which a fresh start differs from the earlier run

# Packages whose code computes the result.
PACKAGES = ("accelerate", "bitsandbytes", "deepspeed", "numpy", "peft", "safetensors", "tokenizers", "torch",
            "transformers", "trl")  # fmt: skip

RunConfig = dict[str, Any]


def run_config(sections: Mapping[str, Section], files: Iterable[Path], *entries: str) -> RunConfig:
    """All that shapes the result of a run, under dotted keys.

    Args:
        sections: of the params, by name; their values as loaded, so that ``lora.alpha: null`` is 2 r here.
        files: data, and the base model's manifest.
        entries: modules that compute the result, with all they import.
    """
    given = {
        "params": {name: section.model_dump(mode="json") for name, section in sections.items()},
        "package": versions(),
    }
    return dict(flat(given)) | hash_files(files) | hash_sources(*entries)


def hash_files(paths: Iterable[Path]) -> RunConfig:
    """SHA-256 of each file, under ``file.<path>``."""
    return {f"file.{path.as_posix()}": sha256(path) for path in sorted(paths)}


def hash_sources(*entries: str) -> RunConfig:
    """SHA-256 of the code of the modules and of all they import from this project, under ``code.<module>``.

    Nothing is imported. The syntax tree is hashed, without docstrings, and of a ``raise`` only the class: an edit
    of a comment or an error text changes nothing, one of any other text does.

    Raises:
        ValueError: an entry is no module of this project.
    """
    sources: RunConfig = {}
    waiting = [*entries]
    while waiting:
        module = waiting.pop()
        path = _source(module)
        if path is None and module in entries:
            raise ValueError(f"{module}: no such module")
        known = f"code.{module}" in sources or f"{module}.".startswith(SHAPES_NOTHING)
        if path is not None and not known:
            sources[f"code.{module}"], imported = _hash_and_imports(path.read_bytes())
            waiting += imported
    return sources


@functools.cache  # the same text is parsed once a process
def _hash_and_imports(source: bytes) -> tuple[str, tuple[str, ...]]:
    tree = ast.parse(source)
    imports = tuple(_imports(tree))
    text = ast.dump(_WithoutTexts().visit(tree))
    return hashlib.sha256(text.encode()).hexdigest(), imports


def _source(module: str) -> Path | None:
    """The file of a module or package of this project; None for any other name."""
    stem = ROOT / module.replace(".", "/")
    return next((path for path in (stem.with_suffix(".py"), stem / "__init__.py") if path.is_file()), None)


def _imports(tree: ast.Module) -> Iterator[str]:
    """What a module imports: modules, with the packages they lie in, and names that may be modules."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


class _WithoutTexts(ast.NodeTransformer):
    """Drops the texts that people read: docstrings, and the arguments of what is raised."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return ast.Raise(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Installed version of each package, by name; None where it is not installed."""
    installed: dict[str, str | None] = dict.fromkeys(sorted(packages))
    for package in installed:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


def fingerprint(config: RunConfig) -> str:
    """SHA-256 of a run config as canonical JSON, in hexadecimal; the order of keys does not matter."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


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
def run_directory_lock(stage: str, config: RunConfig, root: Path | None = None) -> Iterator[Path]:
    """Own ``<scratch>/<stage>/<fingerprint>/`` for as long as the block runs, and yield it.

    The kernel drops the lock when its holder dies, however it dies. One process of a distributed run
    holds it for all.

    Raises:
        TrainingError: the scratch cannot be written, or another process holds this fingerprint.
    """
    folder = (root or scratch()) / stage / fingerprint(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        told = f"scratch cannot be written ({error.strerror}); set {SCRATCH_VARIABLE} to another"
        raise TrainingError(f"{folder}: {told}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            told = "is at work on this fingerprint; wait for it, or stop it first"
            raise TrainingError(f"{folder}: process {lock.read() or 'another'} {told}") from None
        lock.truncate(0)
        print(os.getpid(), end="", file=lock, flush=True)
        if not (folder / CONFIG_FILE).exists():
            write_json(folder / CONFIG_FILE, config)
        yield folder


def explain_fresh_start(folder: Path, config: RunConfig) -> str | None:
    """Why the earlier runs of the same stage do not continue, in one line; None where there is none.

    Of several, the one with the fewest differing keys is named.
    """
    differing: list[tuple[int, str, list[str]]] = []
    for path in sorted(folder.parent.glob(f"*/{CONFIG_FILE}")):
        with contextlib.suppress(SocratesError, OSError):
            earlier = read_json(path)
            keys = [
                key for key in sorted(earlier.keys() | config.keys()) if earlier.get(key) != config.get(key)
            ]
            told = [f"{key} ({str(earlier.get(key))[:24]} -> {str(config.get(key))[:24]})" for key in keys]
            differing += [(len(keys), path.parent.name, told)] if path.parent != folder else []
    if not differing:
        return None
    count, mark, told = min(differing)
    more = f" and {count - KEYS_SHOWN} more" if count > KEYS_SHOWN else ""
    return f"starting fresh: the earlier run {mark[:12]} differs in {', '.join(told[:KEYS_SHOWN])}{more}"

"""What shapes a run's result, as one hash; the folder that carries its name; the lock on that folder.

A run resumes by itself only from checkpoints of its own fingerprint: the hash of params, data, packages, and the code
that computes the result. That code is found, not listed: every module that the entry module imports, in whatever
function, but for what can shape no result. The number of processes does not enter: a run goes on only with the number
it began with (:func:`socrates.runs.checkpoints.check_fits`).
"""

import ast
import contextlib
import fcntl
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
    """All that shapes the result of a run, under dotted keys; ``entries`` are the modules that compute it."""
    # Values as loaded, so that lora.alpha null is 2 r here.
    params = {name: section.model_dump(mode="json") for name, section in sections.items()}
    given = dict(flat({"params": params, "package": versions()}))
    return given | hash_files(files) | hash_sources(*entries)


def hash_files(paths: Iterable[Path]) -> RunConfig:
    """SHA-256 of each file, under ``file.<path>``."""
    return {f"file.{path.as_posix()}": sha256(path) for path in sorted(paths)}


def hash_sources(*entries: str) -> RunConfig:
    """SHA-256 of the code of the modules and of all they import from this project, under ``code.<module>``.

    Nothing is imported. The syntax tree is hashed, without docstrings, and of a ``raise`` only the class: an edit of a
    comment or an error text changes nothing, one of any other text does.
    """
    sources: RunConfig = {}
    waiting = [*entries]
    while waiting:
        module = waiting.pop()
        stem = ROOT / module.replace(".", "/")
        path = next(filter(Path.is_file, (stem.with_suffix(".py"), stem / "__init__.py")), None)
        if path is None and module in entries:
            raise ValueError(f"{module}: no such module")
        known = f"code.{module}" in sources or f"{module}.".startswith(SHAPES_NOTHING)
        if path is not None and not known:
            tree = ast.parse(path.read_bytes())
            waiting += _imports(tree)
            text = ast.dump(_WithoutTexts().visit(tree))
            sources[f"code.{module}"] = hashlib.sha256(text.encode()).hexdigest()
    return sources


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

    ``dvc exp run --temp`` and ``--queue`` run in a copy of the checkout, ``.dvc/tmp/exps/standalone/<copy>`` or
    ``.dvc/tmp/exps/<copy>``, that is deleted afterwards; it is left for the same folder of the checkout.
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
def run_directory_lock(stage: str, config: RunConfig) -> Iterator[Path]:
    """Own ``<scratch>/<stage>/<fingerprint>/`` while the block runs, for all processes of a run, and yield it."""
    folder = scratch() / stage / fingerprint(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("a+")
    except OSError as error:
        told = f"scratch cannot be written ({error.strerror}); set {SCRATCH_VARIABLE} to another"
        raise TrainingError(f"{folder}: {told}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel drops it however its holder dies
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
    """Why the stage's nearest earlier run, by its keys, does not continue; None where there is none."""
    differing: list[tuple[int, str, list[str], RunConfig]] = []
    for path in folder.parent.glob(f"*/{CONFIG_FILE}"):
        with contextlib.suppress(SocratesError, OSError):
            earlier = read_json(path)
            keys = sorted(key for key in earlier | config if earlier.get(key) != config.get(key))
            differing += [(len(keys), path.parent.name, keys, earlier)] if path.parent != folder else []
    if not differing:
        return None
    count, mark, keys, old = min(differing)
    told = [f"{key} ({str(old.get(key))[:24]} -> {str(config.get(key))[:24]})" for key in keys[:KEYS_SHOWN]]
    more = f" and {count - KEYS_SHOWN} more" if count > KEYS_SHOWN else ""
    return f"starting fresh: the earlier run {mark[:12]} differs in {', '.join(told)}{more}"

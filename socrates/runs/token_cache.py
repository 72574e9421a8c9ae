"""Tokenisation cache: tables are tokenised once, not at every start of every process.

Encodings lie in ``<scratch>/encoded/<fingerprint>/`` as plain arrays and are mapped, not read: several processes
share one copy in memory. Whoever opens them compares their hashes with ``manifest.json``, and encodes again where one
differs.
"""

import contextlib
import fcntl
import logging
import shutil
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from socrates.core.errors import SocratesError
from socrates.core.files import atomic_folder, read_json, read_table, write_json
from socrates.model.encoding import COLUMNS, Encoded, encode_tables, read_row_groups
from socrates.model.jagged import JaggedArray
from socrates.model.loading import load_tokenizer
from socrates.runs.checkpoints import MANIFEST, hash_folder
from socrates.runs.fingerprint import fingerprint, hash_files, hash_sources, scratch, versions
from socrates.survey.prompts import Format, Layout
from socrates.survey.tables import RESPONSES

ENTRIES = ("socrates.model.encoding", "socrates.model.loading")
PACKAGES = ["tokenizers", "transformers"]
KEPT = 4  # encodings, the latest
TEXTS = ("scenarios", "personas", "answers")
ROWS = ("scenario_of_row", "persona_of_row", "answer_of_row")

log = logging.getLogger(__name__)


def tokenised(files: Sequence[Path], base: Path, layout: Layout, form: Format = "survey") -> Encoded:
    """The rows of responses files, one file after another, with the tokenizer of a base folder."""
    for path in files:  # says what is wrong with one
        read_table(path, {name: RESPONSES[name] for name in COLUMNS}, slice(0, 0))
    key = {"layout": layout, "format": form, "order": [path.as_posix() for path in files]}
    key |= hash_files([*files, base / "manifest.json"]) | hash_sources(*ENTRIES) | versions(PACKAGES)
    root = scratch() / "encoded"
    folder = root / fingerprint(key)
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others of this machine that ask meanwhile wait for the first
        if not whole(folder):
            if folder.exists():
                log.warning("%s: damaged; encoding again", folder)
            parts = chain.from_iterable(read_row_groups(path) for path in files)
            write(encode_tables(parts, load_tokenizer(base), layout, form), folder)
            others = [path for path in root.iterdir() if path.is_dir() and path != folder]
            for old in sorted(others, key=lambda path: path.stat().st_mtime)[: -KEPT + 1]:
                shutil.rmtree(old)
        return read(folder, layout)


def whole(folder: Path) -> bool:
    """Whether an encoding is there, and every byte of it as it was written."""
    with contextlib.suppress(SocratesError, OSError):
        return read_json(folder / MANIFEST) == hash_folder(folder)
    return False


def write(data: Encoded, folder: Path) -> None:
    """Write an encoding; the folder appears when it is whole."""
    arrays = {name: getattr(data, name) for name in ROWS}
    for name in TEXTS:
        text = getattr(data, name)
        arrays |= {name: text.values, f"{name}.offsets": text.offsets}
    with atomic_folder(folder) as partial:
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        write_json(partial / MANIFEST, hash_folder(partial))


def read(folder: Path, layout: Layout) -> Encoded:
    """The encoding in a folder, mapped from disk."""
    mapped = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in folder.glob("*.npy")}
    arrays = {name: np.asarray(array) for name, array in mapped.items()}
    texts = [JaggedArray(arrays[name], arrays[f"{name}.offsets"]) for name in TEXTS]
    return Encoded(layout, *texts, *(arrays[name] for name in ROWS))  # type: ignore[arg-type]

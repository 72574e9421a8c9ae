"""Files that are whole or not there, and what a killed process leaves."""

import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import save_file

from socrates.core.errors import DataError, WriteError
from socrates.core.files import atomic_folder, atomic_path, parquet_parts, read_json, write_json, write_table

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import os, signal
from pathlib import Path
from socrates.core.files import atomic_folder, atomic_path
with atomic_folder(Path("data/splits")) as folder, atomic_path(Path("data/table.csv")) as table:
    (folder / "answers").write_text("of people")
    table.write_text("of people")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_rows_that_a_killed_stage_left_are_hidden_from_git_and_swept(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    left = list((tmp_path / "data").iterdir())
    assert len(left) == 2
    for path in left:
        ignored = ["git", "check-ignore", "-q", f"data/{path.name}"]
        assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0
    with atomic_folder(tmp_path / "data/splits") as folder, atomic_folder(tmp_path / "data/splits") as other:
        assert folder.is_dir() and other.is_dir()  # another process at work is left alone
    with atomic_path(tmp_path / "data/table.csv"):
        pass
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["splits", "table.csv"]


@pytest.mark.parametrize("content", ["{", "[1]", "[" * 100_000])
def test_json_that_cannot_be_used_is_one_line(content, tmp_path):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(DataError, match=r"manifest\.json: .*; run dvc repro$") as refused:
        read_json(tmp_path / "manifest.json")
    assert "\n" not in str(refused.value)


NUMBERS = np.random.default_rng(1).random(50_000)
TABLE = pl.DataFrame({"number": NUMBERS})


def parts(path):
    with parquet_parts(path) as write:
        write(TABLE)


def weights(path):
    with atomic_folder(path) as folder:
        save_file({"weight": NUMBERS}, folder / "model.safetensors")


def numbers(path):
    with atomic_folder(path) as folder:
        np.save(folder / "numbers.npy", NUMBERS)


def within(path):
    with atomic_folder(path) as folder, atomic_folder(path.with_name("other")):
        write_json(folder / "numbers.json", NUMBERS.tolist())


@pytest.mark.parametrize(
    ("name", "write", "named"),
    [
        ("text.json", lambda path: write_json(path, NUMBERS.tolist()), "text.json"),
        ("table.csv", lambda path: write_table(path, TABLE), "table.csv"),
        ("table.parquet", lambda path: write_table(path, TABLE), "table.parquet"),
        ("parts.parquet", parts, "parts.parquet"),
        ("model", weights, "model"),
        ("arrays", numbers, "arrays"),
        ("folders", within, "folders/numbers.json"),  # the file, not the folders that it would lie in
    ],
)
def test_a_file_that_the_system_refuses_is_one_line_and_leaves_the_old_one(name, write, named, tmp_path):
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    (old := tmp_path / name).write_text("old")
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, former[1]))
    try:
        with pytest.raises(WriteError) as refused:
            write(old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    told = r"could not be written \(.*(too large|written)\); make room, or raise ulimit -f, and run again"
    assert re.fullmatch(f"{tmp_path}/{named}: {told}", str(refused.value))
    assert [path.name for path in tmp_path.iterdir()] == [name] and old.read_text() == "old"

"""Files that are whole or not there, and what a killed process leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from socrates.core.errors import DataError
from socrates.core.files import atomic_folder, atomic_path, read_json

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

"""What CI runs: in a clone of its own, and it notices figures of another experiment."""

from __future__ import annotations

import os
import runpy
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAKE = """#!/bin/sh
echo "make $* in $PWD" >> "$CALLS"
mkdir -p .venv/bin data models .scratch
ln -sf "$FAKE_PYTHON" .venv/bin/python
"""
PYTHON = """#!/bin/sh
echo "python $* in $PWD" >> "$CALLS"
"""


def test_ci_leaves_what_lies_in_the_checkout(tmp_path: Path) -> None:
    checkout, programs, calls = tmp_path / "checkout", tmp_path / "bin", tmp_path / "calls"
    subprocess.run(["git", "clone", "-q", ROOT, checkout], check=True)
    (checkout / ".ci/run").write_bytes((ROOT / ".ci/run").read_bytes())
    paid = [checkout / name for name in (".scratch/checkpoint", "data/raw", "models/adapter")]
    for path in paid:
        path.parent.mkdir(exist_ok=True)
        path.write_text("hours of a GPU")
    programs.mkdir()
    for name, text in (("make", MAKE), ("python", PYTHON)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CALLS": str(calls), "FAKE_PYTHON": str(programs / "python")}
    subprocess.run([checkout / ".ci/run"], env=environment, check=True)
    assert all(path.read_text() == "hours of a GPU" for path in paid)
    called = [line.partition(" in ") for line in calls.read_text().splitlines()]
    assert [command for command, _, _ in called] == [
        "make check",
        "make test",
        "make repro",
        "python .ci/stale_figures.py",
        "python -m socrates audit --strict",
    ]
    (clone,) = {folder for _, _, folder in called}
    assert not Path(clone).exists() and Path(clone) != checkout


@pytest.mark.parametrize(
    ("figures", "params", "stale"),
    [
        ({"w": 0.2, "source": "a"}, {"lora.r": 16}, []),
        ({"w": 0.21, "source": "a"}, {"lora.r": 16}, []),  # as on another CPU
        (
            {"w": 0.23, "source": "a"},
            {"lora.r": 16},
            ["metrics/headline.json: w: committed 0.2, rebuilt 0.23"],
        ),
        (
            {"w": 0.2, "source": "b"},
            {"lora.r": 16},
            ["metrics/headline.json: source: committed a, rebuilt b"],
        ),
        ({"w": 0.2, "source": "a"}, {"lora.r": 8}, ["dvc.lock: train: committed with other params"]),
    ],
)
def test_stale_figures_are_named(
    figures: dict[str, object], params: dict[str, int], stale: list[str]
) -> None:
    script = runpy.run_path(str(ROOT / ".ci/stale_figures.py"))
    locks = [f"stages: {{train: {{params: {each}}}}}" for each in ({"lora.r": 16}, params)]
    found = [*script["stale_figures"]({"w": 0.2, "source": "a"}, figures), *script["stale_params"](*locks)]
    assert len(found) == len(stale)
    assert all(line.startswith(expected) for line, expected in zip(found, stale, strict=True))

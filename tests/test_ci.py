"""What CI runs: in a clone of its own, and it notices figures of another experiment."""

import json
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


def test_ci_leaves_what_lies_in_the_checkout(tmp_path):
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
    environment = os.environ | {"PATH": path, "CALLS": str(calls), "FAKE_PYTHON": str(programs / "python")}
    subprocess.run([checkout / ".ci/run"], env=environment, check=True)
    assert all(path.read_text() == "hours of a GPU" for path in paid)
    called = [line.partition(" in ") for line in calls.read_text().splitlines()]
    assert [command for command, _, _ in called] == [
        *("make check", "make test", "make repro"),
        *("python .ci/stale_figures.py", "python -m socrates audit --strict"),
    ]
    (clone,) = {folder for _, _, folder in called}
    assert not Path(clone).exists() and Path(clone) != checkout


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({}, []),
        ({"words": 0.204, "adapter": 0.5}, []),  # as on another CPU
        ({"words": 0.21}, ["metrics/headline.json: words: committed 0.2, rebuilt 0.21"]),
        ({"adapter_r": 0.5}, ["metrics/headline.json: adapter_r: committed None, rebuilt 0.5"]),
        ({"source": "b"}, ["metrics/headline.json: source: committed a, rebuilt b"]),
        ({"r": 8}, ["dvc.lock: train: not run since a change of params.yaml"]),
        ({"code": "1"}, ["dvc.lock: train: not run since a change of socrates/core"]),
        ({"data": "1"}, []),
    ],
)
def test_stale_figures_are_named(changes, stale):
    script = runpy.run_path(str(ROOT / ".ci/stale_figures.py"))
    old: dict[str, object] = {"words": 0.2, "adapter": 0.2, "source": "a", "r": 16, "code": "0", "data": "0"}
    figures, locks = [], []
    for now in (old, old | changes):
        figures.append({name: now[name] for name in now.keys() & {"words", "adapter", "adapter_r", "source"}})
        deps = [{"path": "socrates/core", "md5": now["code"]}, {"path": "data/raw", "md5": now["data"]}]
        train = {"deps": deps, "params": {"params.yaml": {"lora.r": now["r"]}}}
        locks.append(json.dumps({"stages": {"train": train}}))  # JSON is YAML
    assert [*script["stale_figures"](*figures), *script["stale_stages"](*locks)] == stale

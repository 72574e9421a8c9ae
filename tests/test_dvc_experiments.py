"""A stage that died inside an experiment of DVC goes on in the next one, whatever way DVC runs it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from socrates.core.errors import INTERRUPTED, TERMINATED
from tests import repositories, tiny

Call = Callable[..., subprocess.CompletedProcess[str]]

COUNTING = """
stages:
  count:
    cmd: python -m tests.dvc_stage
    deps: [in.txt]
    outs: [out.txt]
"""
TRAINING = """
stages:
  train:
    cmd: python "$SOCRATES_TEST_CODE/tests/killing.py" "$SOCRATES_TEST_KILL" stages.train
    params: [model, prompt, lora, train, deepspeed]
    deps: [data/splits, models/base]
    outs:
      - models/adapter
      - metrics/train.csv:
          cache: false
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository of DVC in which nothing is."""
    folder = tmp_path_factory.mktemp("project")
    for command in ("git init -q", "dvc init -q"):
        repositories.call(folder, command)
    return folder


@pytest.fixture
def project(repository, tmp_path):
    return shutil.copytree(repository, tmp_path / "project")


@pytest.fixture
def starts(project):
    return project.parent / "starts"


@pytest.fixture
def call(project, starts):
    """Runs a command in the project; with ``kill`` the stage dies there, and with ``:all`` all of its session."""

    def run(command: str, kill: str = "", number: int = 0) -> subprocess.CompletedProcess[str]:
        told = {
            "CODE": tiny.ROOT,
            "KILL": kill,
            "SIGNAL": int(number),
            "STARTER": os.getpid(),
            "STARTS": starts,
        }
        variables = {f"SOCRATES_TEST_{name}": str(value) for name, value in told.items()}
        variables |= {"PYTHONPATH": str(tiny.ROOT), "SOCRATES_PROCESSES": "1"}
        environment = repositories.environment(project.parent, **variables)
        environment.pop("SOCRATES_SCRATCH", None)
        options = {"capture_output": True, "text": True, "timeout": 240, "start_new_session": True}
        return subprocess.run(command.split(), cwd=project, env=environment, check=False, **options)

    return run


def commit(project: Path, call: Call, pipeline: str, inputs: Path | None = None) -> None:
    """Make it a pipeline that has not run yet, on the files of a folder."""
    if inputs:
        shutil.copytree(inputs, project, dirs_exist_ok=True)
        (project / "metrics").mkdir()
    (project / "dvc.yaml").write_text(pipeline)
    (project / ".gitignore").write_text(".scratch/\nruns/\n/out.txt\n/models/adapter\n")
    for command in ("git add -A", "git commit -qm ready"):
        ended = call(command)
        assert ended.returncode == 0, ended.stderr


def killed(ended: subprocess.CompletedProcess[str]) -> bool:
    """Whether DVC says that SIGKILL ended the stage: -9, or 128 + 9 from a shell that waited for it, as dash does."""
    said = ended.stdout + ended.stderr
    return "exited with -9" in said or "exited with 137" in said


def by_the_worker(call: Call, kill: str) -> None:
    """One experiment through the queue's worker, which runs in the background; returns when it has ended."""
    assert call("dvc queue start", kill).returncode == 0
    deadline = time.monotonic() + 240
    while any(state in (status := call("dvc queue status").stdout) for state in ("Queued", "Running")):
        assert time.monotonic() < deadline, status
        time.sleep(1)


@pytest.mark.parametrize(
    ("command", "kills"),
    [
        ("dvc repro", ["2", "4:all"]),
        ("dvc exp run", ["2", "4:all"]),
        ("dvc exp run --temp", ["2", "4:all"]),
        ("dvc exp run --run-all", ["2"]),
        ("dvc queue start", ["2"]),
    ],
)
def test_the_next_run_goes_on_however_dvc_runs_the_stage(command, kills, project, call, starts):
    (project / "in.txt").write_text("1\n")
    commit(project, call, COUNTING)
    for kill in [*kills, ""]:
        if command in ("dvc exp run --run-all", "dvc queue start"):
            assert call("dvc exp run --queue").returncode == 0
        if command == "dvc queue start":
            by_the_worker(call, kill)
        else:
            ended = call(command, kill)
            assert kill.endswith(":all") or killed(ended) == bool(kill)
    assert starts.read_text().split() == ["0", *(kill.removesuffix(":all") for kill in kills)]


def test_a_training_killed_in_a_copy_goes_on_in_the_next_one(project, call, ready):
    commit(project, call, TRAINING, ready)
    assert killed(call("dvc exp run --temp", "6:committed"))
    ended = call("dvc exp run --temp")
    assert ended.returncode == 0, ended.stderr
    assert f"resuming from {project}/.scratch/train/" in ended.stdout
    assert not list(project.glob("tmp*"))


@pytest.mark.parametrize(
    ("command", "number", "status"),
    [
        ("dvc repro", signal.SIGTERM, -signal.SIGTERM),  # DVC dies at once, its stage takes that for a notice
        ("python -m stages", signal.SIGINT, INTERRUPTED),
        # The environment is at hand: it is not made.
        (f"make --file={tiny.ROOT}/Makefile --old-file=.venv/.ready repro", signal.SIGTERM, -signal.SIGTERM),
        # As in a container.
        ("unshare --pid --fork --mount-proc python -m stages", signal.SIGTERM, TERMINATED),
    ],
)
def test_a_notice_to_the_first_process_reaches_the_training(command, number, status, project, call, ready):
    if command.startswith("unshare") and call("unshare --pid --fork --mount-proc true").returncode:
        pytest.skip("no PID namespace can be made here")
    commit(project, call, TRAINING, ready)
    ended = call(command, "5:notice", number)
    told = ended.stdout + ended.stderr
    assert ended.returncode == status, told
    assert "the same command goes on: the newest checkpoint is checkpoint-5" in told
    assert "Traceback" not in told
    assert list(project.glob(".scratch/train/*/checkpoint-5/manifest.json"))

"""Several processes, on one machine or several: how they are started and told to stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file

from socrates.core.errors import TERMINATED, TrainingError
from socrates.core.params import read_yaml
from socrates.runs.launch import wanted_processes
from tests import running, tiny
from tests.training.test_train_stage import changed, copy, losses, ready, run, without_dropout  # noqa: F401  (fixtures)


def armed(folder: Path, place: str | None) -> subprocess.CompletedProcess[str]:
    """The train stage on two processes, the first of which gets notice at ``place``."""
    paths = os.pathsep.join([str(tiny.ROOT / "tests/armed"), str(tiny.ROOT)])
    environment = {"PYTHONPATH": paths, "SOCRATES_PROCESSES": "2", "SOCRATES_TEST_KILL": place or ""}
    return running.run(folder, "-m", "stages.train", **environment)


def test_two_processes_given_notice_resume_to_the_adapter_of_one(
    ready: Path,  # noqa: F811
    without_dropout: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = changed(copy(ready, tmp_path / "two"), lora={"dropout": 0.0})
    noticed = armed(folder, "2:notice")
    assert noticed.returncode == TERMINATED, noticed.stderr
    lines = [json.loads(line) for line in (folder / "runs/train.jsonl").read_text().splitlines()]
    last = max(line["step"] for line in lines if line["event"] == "step")
    assert 2 <= last <= 3  # the next step at the latest answers
    assert lines[-1]["event"] == "checkpoint" and lines[-1]["path"] == f"checkpoint-{last}"
    ended = armed(folder, None)
    assert ended.returncode == 0 and "resuming from" in ended.stdout, ended.stderr
    assert "processes" not in json.loads((folder / "models/adapter/training.json").read_text())
    assert_same_within_rounding(folder, without_dropout)


def assert_same_within_rounding(folder: Path, expected: Path) -> None:
    np.testing.assert_allclose(losses(folder), losses(expected), rtol=2e-3)
    adapter = load_file(expected / "models/adapter/adapter_model.safetensors")
    for name, values in load_file(folder / "models/adapter/adapter_model.safetensors").items():
        np.testing.assert_allclose(values, adapter[name], atol=1e-5, err_msg=name)


rng = np.random.default_rng(21)


@pytest.mark.parametrize(
    ("deepspeed", "kills"),
    [
        ({}, [f"{rng.integers(1, 6)}:training", "6:writing"]),
        ({"zero_stage": 3, "offload": True}, [f"{rng.integers(4, 8)}:training"]),
    ],
    ids=["ZeRO-2", "ZeRO-3 with offload"],
)
def test_two_processes_killed_at_random_end_with_the_adapter_of_one(
    deepspeed: dict[str, object],
    kills: list[str],
    ready: Path,  # noqa: F811
    without_dropout: Path,  # noqa: F811
    tmp_path: Path,
) -> None:
    folder = changed(copy(ready, tmp_path / "two"), lora={"dropout": 0.0})
    raw = read_yaml(folder / "params.yaml")
    raw["deepspeed"] |= deepspeed
    YAML().dump(raw, folder / "params.yaml")
    for place in kills:
        killed = armed(folder, place)
        assert killed.returncode == 1 and "Signal 9 (SIGKILL)" in killed.stderr, killed.stderr
        assert not (folder / "models").joinpath("adapter").exists()
    ended = armed(folder, None)
    assert ended.returncode == 0, ended.stderr
    step = (int(kills[-1].partition(":")[0]) - 1) // 3 * 3
    assert ("resuming from" in ended.stdout) == (step > 0)
    assert f"checkpoint-{step}\n" in ended.stdout or step == 0
    assert_same_within_rounding(folder, without_dropout)


def meeting(
    folder: Path, *arguments: str, launcher: Sequence[str] = (), **variables: str
) -> subprocess.Popen[str]:
    """``tests.meeting``, started as a stage is."""
    environment = {**os.environ, "PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        [sys.executable, *launcher, "-m", "tests.meeting", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("count", ["0", "-1", "two", "²"])
def test_a_count_of_processes_that_is_none_is_one_line(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOCRATES_PROCESSES", count)
    with pytest.raises(TrainingError, match=f"SOCRATES_PROCESSES={count}: expected a positive number"):
        wanted_processes()


def test_a_process_that_fails_ends_the_stage_in_one_line(tmp_path: Path) -> None:
    stage = meeting(tmp_path, "fail", SOCRATES_PROCESSES="2")
    told = stage.communicate(timeout=240)[0]
    assert stage.returncode == 1
    assert told.splitlines()[-1].startswith("error: tests.meeting fail: a process failed (status 1)"), told
    assert {path.name for path in tmp_path.iterdir()} == {"met-0", "met-1"}


def test_notice_before_there_is_anything_to_save_has_the_same_status(tmp_path: Path) -> None:
    stage = meeting(tmp_path, "notice", SOCRATES_PROCESSES="1")
    told = stage.communicate(timeout=240)[0]
    assert stage.returncode == TERMINATED, told
    assert "Traceback" not in told and not list(tmp_path.iterdir())


@pytest.mark.parametrize("stage", ["stages.download", "stages.evaluate"])
def test_a_stage_that_trains_nothing_answers_a_notice_too(stage: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "params.yaml")
    command, environment = [sys.executable, "-m", stage], {**os.environ, "PYTHONPATH": str(tiny.ROOT)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        writer = 0
        while not writer and process.poll() is None:
            try:  # refused until the stage reads it
                writer = os.open(tmp_path / "params.yaml", os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=240)[1]
        os.close(writer)
    assert (process.returncode, told) == (TERMINATED, "stopped by SIGTERM; the same command goes on\n")


def test_two_machines_work_together_under_torchrun(tmp_path: Path) -> None:
    """As docs/durable.md gives the command: two launchers on this machine, which stand for two on one shared disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = [
        meeting(
            tmp_path,
            "argument",
            launcher=["-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={rank}", "--nproc-per-node=1",
                      "--master-addr=127.0.0.1", f"--master-port={port}"],
        )
        for rank in (0, 1)
    ]  # fmt: skip
    told = [machine.communicate(timeout=240)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    met = [(tmp_path / f"met-{rank}").read_text() for rank in (0, 1)]
    assert met[0] == met[1] and met[0].startswith("2 ")

"""Several processes, on one machine or several: how they are started and told to stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from socrates.core import errors
from socrates.core.errors import TERMINATED, TrainingError
from socrates.runs.launch import wanted_processes
from tests import forked, meeting, tiny, training_runs
from tests.training_runs import copy, losses


def resumed(folder: Path, expected: Path) -> str:
    """What two processes print that go on to the end, and to the adapter of one within rounding."""
    ended = training_runs.run(folder, ranks=2)
    assert ended.returncode == 0, ended.stderr
    np.testing.assert_allclose(losses(folder), losses(expected), rtol=2e-3)
    adapter = load_file(expected / "models/adapter/adapter_model.safetensors")
    for name, values in load_file(folder / "models/adapter/adapter_model.safetensors").items():
        np.testing.assert_allclose(values, adapter[name], atol=1e-5, err_msg=name)
    return ended.stdout


def test_two_processes_given_notice_resume_to_the_adapter_of_one(ready, without_dropout, tmp_path):
    folder = copy(ready, tmp_path / "two", lora={"dropout": 0.0})
    noticed = training_runs.run(folder, "2:notice", ranks=2)  # to one of them
    assert noticed.returncode == TERMINATED, noticed.stderr
    lines = [json.loads(line) for line in (folder / "runs/train.jsonl").read_text().splitlines()]
    assert max(line["step"] for line in lines if line["event"] == "step") == 2
    assert (lines[-1]["event"], lines[-1]["path"]) == ("checkpoint", "checkpoint-2")
    assert "resuming from" in resumed(folder, without_dropout)
    assert "processes" not in json.loads((folder / "models/adapter/training.json").read_text())


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
    deepspeed, kills, ready, without_dropout, tmp_path
):
    folder = copy(ready, tmp_path / "two", lora={"dropout": 0.0}, deepspeed=deepspeed)
    for place in kills:
        assert training_runs.train(folder, place, ranks=2) == -signal.SIGKILL
        assert not (folder / "models/adapter").exists()
    told = resumed(folder, without_dropout)
    step = (int(kills[-1].partition(":")[0]) - 1) // 3 * 3
    assert ("resuming from" in told) == (step > 0)
    assert f"checkpoint-{step}\n" in told or step == 0


ENVIRONMENT = {"PYTHONPATH": str(tiny.ROOT), "OMP_NUM_THREADS": "1"}


def meet(folder: Path, count: int, *arguments: str) -> None:
    """Start ``tests.meeting`` as a stage is started; for a process of its own."""
    os.chdir(folder)
    os.environ.update(ENVIRONMENT, SOCRATES_PROCESSES=str(count))
    sys.argv = ["meeting", *arguments]
    errors.run(meeting.main)


@pytest.mark.parametrize("count", ["0", "-1", "two", "²"])
def test_a_count_of_processes_that_is_none_is_one_line(count, monkeypatch):
    monkeypatch.setenv("SOCRATES_PROCESSES", count)
    with pytest.raises(TrainingError, match=f"SOCRATES_PROCESSES={count}: expected a positive number"):
        wanted_processes()


@pytest.mark.parametrize(("way", "said"), [("fail", "exitcode  : 3"), ("die", "Signal 9 (SIGKILL)")])
def test_a_process_that_fails_ends_the_stage_in_one_line(way, said, tmp_path):
    ended = forked.captured(meet, tmp_path, 2, way)
    assert ended.returncode == 1 and said in ended.stderr, ended.stderr
    told = ended.stderr.splitlines()[-1]
    assert told.startswith(f"error: tests.meeting {way}: a process failed (status 1)"), ended.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"met-0", "met-1"}


@pytest.mark.parametrize("count", [1, 2])
def test_a_notice_to_the_stage_reaches_all_its_processes(count, tmp_path):
    """Before there is anything to save, too."""
    ended = forked.captured(meet, tmp_path, count, "notice")
    assert ended.returncode == TERMINATED
    told = [line for line in ended.stderr.splitlines() if line.startswith("stopped by SIGTERM")]
    assert len(told) == count and (count > 1 or "Traceback" not in ended.stderr), ended.stderr


@pytest.mark.parametrize("stage", ["stages.download", "stages.evaluate"])
def test_a_stage_that_trains_nothing_answers_a_notice_too(stage, tmp_path):
    os.mkfifo(tmp_path / "params.yaml")
    options = {"cwd": tmp_path, "env": os.environ | ENVIRONMENT, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-m", stage], **options) as process:
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


def test_two_machines_work_together_under_torchrun(tmp_path):
    """As docs/durable.md gives the command: two launchers on this machine, which stand for two on one shared disk."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = (
        f"-m torch.distributed.run --nnodes=2 --nproc-per-node=1 --master-addr=127.0.0.1 --master-port={port}"
    )
    options = {"cwd": tmp_path, "env": os.environ | ENVIRONMENT, "stdout": subprocess.PIPE, "text": True}
    commands = [
        [sys.executable, *launcher.split(), f"--node-rank={rank}", "-m", "tests.meeting"] for rank in (0, 1)
    ]
    machines = [subprocess.Popen(command, stderr=subprocess.STDOUT, **options) for command in commands]
    told = [machine.communicate(timeout=240)[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], told
    met = [(tmp_path / f"met-{rank}").read_text() for rank in (0, 1)]
    assert met[0] == met[1] and met[0].startswith("2 ")

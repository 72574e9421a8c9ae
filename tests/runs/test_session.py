"""What the processes of one run wait for."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from socrates.core.params import load
from socrates.runs import session as sessions
from socrates.runs.guards import StopTraining
from socrates.runs.launch import Process
from socrates.runs.params import Run
from socrates.runs.session import training_session
from socrates.training.config import common_arguments
from tests import tiny
from tests.tiny_trainer import run_params


def trainer(train: Any) -> Any:
    return SimpleNamespace(train=train, add_callback=lambda _: None)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("stopped", [False, True])
def test_nobody_goes_on_alone_while_a_model_is_fetched_or_a_backup_finished(
    rank: int, stopped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(**_: Any) -> None:
        done.append("trained")
        if stopped:
            raise StopTraining("a guard")

    done: list[str] = []
    monkeypatch.setenv("SOCRATES_SCRATCH", str(tmp_path))
    monkeypatch.setattr(sessions, "barrier", lambda process: done.append("met"))
    monkeypatch.setattr(sessions, "broadcast_object", lambda process, value: value)
    with (
        pytest.raises(StopTraining) if stopped else contextlib.nullcontext(),
        training_session("train", Process(rank, 2), {}, run_params(), 4, tmp_path / "log") as session,
    ):
        if session.callback.main:
            session.callback.main.backup = SimpleNamespace(drain=lambda seconds: done.append("drained"))  # type: ignore[assignment]
        session.train(trainer(train))
    assert done == (["met", "trained", "met"] if rank else ["met", "trained", "drained", "met"])


def test_a_backup_may_take_longer_to_finish_than_a_step_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOCRATES_SCRATCH", str(tmp_path))
    run = run_params(stall_minutes=0.2 / 60)
    with training_session("train", Process(0, 1), {}, run, 4, tmp_path / "log") as session:
        assert session.callback.main
        session.callback.main.backup = SimpleNamespace(drain=lambda seconds: time.sleep(0.6))  # type: ignore[assignment]
        session.train(trainer(lambda **_: None))


def test_processes_are_more_patient_with_the_first_than_its_backup_can_take() -> None:
    run = load(Run, tiny.ROOT / "params.yaml")
    assert common_arguments(run)["ddp_timeout"] > 10 * 60 * run.backup.finish_minutes

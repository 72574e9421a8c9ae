"""What the processes of one run wait for."""

import contextlib
import shutil
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from deepspeed.runtime.zero.config import ZeroStageEnum

from socrates.core.params import load
from socrates.runs import checkpoints
from socrates.runs import session as sessions
from socrates.runs.guards import StopTraining
from socrates.runs.launch import Process
from socrates.runs.params import Run
from socrates.runs.session import training_session
from socrates.training.config import common_arguments
from tests import tiny, training_runs
from tests.tiny_trainer import run_params
from tests.training_runs import STEPS


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("SOCRATES_SCRATCH", str(tmp_path))
    return tmp_path


def trainer(train: Any) -> Any:
    return SimpleNamespace(train=train, add_callback=lambda _: None, is_deepspeed_enabled=False, model=None)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("stopped", [False, True])
def test_nobody_goes_on_alone_while_a_model_is_fetched_or_a_backup_finished(
    rank, stopped, scratch, monkeypatch
):
    def train(**_: Any) -> None:
        events.append("trained")
        if stopped:
            raise StopTraining("a guard")

    events: list[str] = []
    monkeypatch.setattr(sessions, "barrier", lambda process: events.append("met"))
    monkeypatch.setattr(sessions, "broadcast_object", lambda process, value: value)
    with (
        pytest.raises(StopTraining) if stopped else contextlib.nullcontext(),
        training_session("train", Process(rank, 2), {}, run_params(), 4, scratch / "log") as session,
    ):
        if rank == 0:
            session.backup = SimpleNamespace(drain=lambda _: events.append("drained"), close=lambda: None)  # type: ignore[assignment]
        session.train(trainer(train))
    assert events == (["met", "trained", "met"] if rank else ["met", "trained", "drained", "met"])


def test_a_backup_may_take_longer_to_finish_than_a_step_may_take(scratch):
    run = run_params(stall_minutes=0.2 / 60)
    with training_session("train", Process(0, 1), {}, run, 4, scratch / "log") as session:
        session.backup = SimpleNamespace(drain=lambda _: time.sleep(0.6), close=lambda: None)  # type: ignore[assignment]
        session.train(trainer(lambda **_: None))


class Pickled:
    """What a pickle calls when it is read with full rights."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("file", ["mp_rank_00_model_states.pt", "*_optim_states.pt"])
def test_code_in_a_checkpoint_is_not_run(file, done, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(done, folder, symlinks=True)
    (root,) = (folder / "scratch/train").iterdir()
    shutil.rmtree(root / checkpoints.name(STEPS))
    (path,) = root.glob(f"checkpoint-6/global_step6/{file}")
    with torch.serialization.safe_globals(sessions.deepspeed_classes()):
        torch.save({**torch.load(path), "more": Pickled(open, str(tmp_path / "ran"), "w")}, path)
    checkpoints.write_manifest(root / "checkpoint-6", fingerprint=root.name)  # as whoever may write can
    ended = training_runs.run(folder)
    assert not (tmp_path / "ran").exists()
    assert ended.returncode == 1 and "Traceback" not in ended.stderr, ended.stderr
    assert "checkpoint-6: holds more than weights" in ended.stderr.splitlines()[-1]


def test_a_checkpoint_of_every_python_is_read_and_no_other_attribute_is(tmp_path):
    file = tmp_path / "states.pt"
    torch.save(Pickled(getattr, ZeroStageEnum, "gradients"), file)  # as Python before 3.11.4 does
    with torch.serialization.safe_globals(sessions.deepspeed_classes()):
        assert torch.load(file) is ZeroStageEnum.gradients
        torch.save(Pickled(getattr, ZeroStageEnum, "mro"), file)
        with pytest.raises(KeyError):
            torch.load(file)


def test_processes_are_more_patient_with_the_first_than_its_backup_can_take():
    run = load(Run, tiny.ROOT / "params.yaml")
    assert common_arguments(run)["ddp_timeout"] > 10 * 60 * run.backup.finish_minutes

"""A training killed anywhere ends in the same adapter and the same curve, bit for bit."""

import json
import resource
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from socrates.core.errors import INTERRUPTED, TERMINATED, TrainingError
from socrates.runs import checkpoints, guards, session
from socrates.runs.guards import StopTraining
from tests import tiny_trainer
from tests.forked import in_process
from tests.tiny_trainer import checkpoint_root


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert in_process(tiny_trainer.train, folder) == 0
    return folder


def assert_same(folder: Path, expected: Path) -> None:
    for name in ("adapter_model.safetensors", "curve.json"):
        assert (folder / "out" / name).read_bytes() == (expected / "out" / name).read_bytes(), name


def resumed_from(folder: Path) -> str:
    return (folder / "out/resumed_from").read_text()


def steps_kept(folder: Path) -> list[int | None]:
    return [checkpoints.step_of(path) for path in checkpoints.list_checkpoints(checkpoint_root(folder))]


RANDOM = f"{np.random.default_rng(20).integers(1, tiny_trainer.STEPS)}:training"


@pytest.mark.parametrize("place", ["8:writing", "12:hashed", "12:deleting", RANDOM])
def test_a_killed_run_ends_like_the_uninterrupted_one(place, tmp_path, uninterrupted):
    assert in_process(tiny_trainer.train, tmp_path, kill=place) == -signal.SIGKILL
    step, moment = place.split(":")
    assert in_process(tiny_trainer.train, tmp_path) == 0
    before = (int(step) - 1) // tiny_trainer.SAVE_STEPS * tiny_trainer.SAVE_STEPS or None
    assert resumed_from(tmp_path) == (step if moment in ("committed", "deleting") else str(before))
    assert_same(tmp_path, uninterrupted)
    assert steps_kept(tmp_path) == [12, 16]


def test_a_run_killed_again_and_again_ends_like_the_uninterrupted_one(tmp_path, uninterrupted):
    for place in ("4:committed", "7:training", "12:hashed", "16:written", "16:committed"):
        assert in_process(tiny_trainer.train, tmp_path, kill=place) == -signal.SIGKILL
    assert in_process(tiny_trainer.train, tmp_path) == 0
    assert resumed_from(tmp_path) == "16"
    assert_same(tmp_path, uninterrupted)


def test_a_run_killed_after_its_last_step_trains_nothing(tmp_path):
    """Also where the limit lies inside an epoch."""
    assert in_process(tiny_trainer.train, tmp_path / "a", max_steps=13) == 0
    place = "13:committed"
    assert in_process(tiny_trainer.train, tmp_path / "b", kill=place, max_steps=13) == -signal.SIGKILL
    never = tiny_trainer.Untrainable
    assert in_process(tiny_trainer.train, tmp_path / "b", max_steps=13, kind=never) == 0
    assert_same(tmp_path / "b", tmp_path / "a")


def test_a_damaged_checkpoint_is_passed_over_and_written_again(tmp_path, uninterrupted):
    in_process(tiny_trainer.train, tmp_path, kill="10:training")
    damaged = checkpoint_root(tmp_path) / "checkpoint-8"
    with (damaged / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    (damaged / "stray").write_text("not in the next manifest")
    assert in_process(tiny_trainer.train, tmp_path, run={"keep_checkpoints": 9}) == 0
    assert resumed_from(tmp_path) == "4"
    assert checkpoints.validate(damaged) is None and not (damaged / "stray").exists()
    assert_same(tmp_path, uninterrupted)


def test_where_no_checkpoint_is_whole_it_is_said_and_the_damaged_ones_go(tmp_path, uninterrupted):
    """They were kept for their later steps, and each new checkpoint was deleted as the oldest."""
    in_process(tiny_trainer.train, tmp_path, kill="14:training", run={"keep_checkpoints": 1})
    (damaged,) = checkpoints.list_checkpoints(checkpoint_root(tmp_path))
    (damaged / "optimizer.pt").write_bytes(b"")
    (damaged.parent / "checkpoint-11").write_text("a file")
    (damaged.parent / "checkpoint-13").symlink_to("nowhere")
    assert in_process(tiny_trainer.train, tmp_path, kill="7:training", run={"keep_checkpoints": 1}) < 0
    assert steps_kept(tmp_path) == [4]
    assert in_process(tiny_trainer.train, tmp_path) == 0
    assert (resumed_from(tmp_path), steps_kept(tmp_path)) == ("4", [12, 16])
    assert_same(tmp_path, uninterrupted)


@pytest.mark.parametrize("limit", [2_000, 8_000])  # bytes of a file: in the adapter, in the optimiser's state
def test_a_checkpoint_that_cannot_be_written_is_one_line(limit, tmp_path, monkeypatch):
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, former[1]))
    said = r"a checkpoint could not be written .*; the newest .* checkpoint-4"
    try:
        with pytest.raises(TrainingError, match=said):
            tiny_trainer.train(tmp_path, on_step=tiny_trainer.OnStep(full, 7))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)
    monkeypatch.setattr(session.shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(TrainingError, match="0 MiB are free and a checkpoint takes"):
        tiny_trainer.train(tmp_path)


def test_saving_at_other_steps_changes_nothing_in_the_result(tmp_path, uninterrupted):
    in_process(tiny_trainer.train, tmp_path, kill="5:training")
    assert in_process(tiny_trainer.train, tmp_path, run={"save_steps": 5}) == 0
    assert steps_kept(tmp_path) == [15, 16]
    assert_same(tmp_path, uninterrupted)


def test_a_run_goes_on_exactly_on_an_empty_machine(tmp_path, uninterrupted):
    run = {"backup_url": str(tmp_path / "nas")}
    assert in_process(tiny_trainer.train, tmp_path / "a", kill="11:training", run=run) == -signal.SIGKILL
    assert in_process(tiny_trainer.train, tmp_path / "b", run=run) == 0
    assert resumed_from(tmp_path / "b") == "8"
    assert_same(tmp_path / "b", uninterrupted)


@pytest.mark.parametrize(
    ("number", "event", "step", "status", "newest"),
    [
        (signal.SIGTERM, "on_log", 6, TERMINATED, 7),  # when step 6 is logged; the next step answers
        (signal.SIGHUP, "on_log", 6, TERMINATED, 7),
        (signal.SIGINT, "on_log", 6, INTERRUPTED, 7),
        (signal.SIGTERM, "on_prediction_step", 5, TERMINATED, 5),  # the evaluation is left, and begun again
    ],
)
def test_a_notice_saves_at_once_and_the_next_start_goes_on_exactly(
    number, event, step, status, newest, tmp_path, uninterrupted
):
    notice = {"number": number, "event": event, "step": step}
    assert in_process(tiny_trainer.train_until_notice, tmp_path, **notice) == status
    assert steps_kept(tmp_path) == [4, newest]
    assert in_process(tiny_trainer.train, tmp_path) == 0
    assert_same(tmp_path, uninterrupted)


@pytest.mark.parametrize(("hang", "newest"), [("store", 7), ("save", 4)])
def test_after_sigterm_a_run_ends_with_its_status_whatever_hangs(hang, newest, tmp_path):
    assert in_process(tiny_trainer.train_until_notice, tmp_path, hang, 4.0) == TERMINATED
    complete = checkpoints.newest_complete(checkpoint_root(tmp_path))
    assert complete is not None and checkpoints.step_of(complete) == newest


def test_a_nan_loss_stops_before_it_is_saved(tmp_path):
    run = {"keep_checkpoints": 5, "save_steps": 3}
    with pytest.raises(StopTraining, match="step 6: the loss is nan"):
        tiny_trainer.train(tmp_path, run=run, kind=tiny_trainer.Poisoned)
    assert steps_kept(tmp_path) == [3]
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["event"] == "stop"


def test_no_checkpoint_is_written_while_the_loss_is_above_its_median_but_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(guards, "WARM_UP", 1)
    monkeypatch.setattr(guards, "SPIKE_STEPS", 99)
    run = {"keep_checkpoints": 9, "spike_multiple": 1.0000001}
    tiny_trainer.train(tmp_path, run=run, learning_rate=0.0, kind=tiny_trainer.Rising)
    assert steps_kept(tmp_path) == [16]

"""A training killed anywhere ends in the same adapter and the same curve, bit for bit."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from socrates.core.errors import TERMINATED
from socrates.runs import checkpoints
from socrates.runs.callbacks import Durability
from socrates.runs.guards import LossGuard, Stop
from tests import killing, tiny_trainer
from tests.forked import in_process


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert in_process(tiny_trainer.train, folder / "run", folder / "out") == 0
    return folder / "out"


def assert_same(out: Path, expected: Path) -> None:
    for name in ("adapter_model.safetensors", "curve.json"):
        assert (out / name).read_bytes() == (expected / name).read_bytes(), name


rng = np.random.default_rng(20)
RANDOM = [f"{rng.integers(1, tiny_trainer.STEPS)}:training" for _ in range(1)]


@pytest.mark.parametrize("place", ["8:writing", "12:sealing", "12:deleting", *RANDOM])
def test_a_killed_run_ends_like_the_uninterrupted_one(
    place: str, tmp_path: Path, uninterrupted: Path
) -> None:
    root, out = tmp_path / "run", tmp_path / "out"
    assert in_process(tiny_trainer.train, root, out, kill=place) == -signal.SIGKILL
    step, moment = place.split(":")
    assert in_process(tiny_trainer.train, root, out) == 0
    resumed = json.loads((out / "record.json").read_text())["resumed_from"]
    before = (int(step) - 1) // tiny_trainer.SAVE_STEPS * tiny_trainer.SAVE_STEPS or None
    assert resumed == (int(step) if moment in ("committed", "deleting") else before)
    assert_same(out, uninterrupted)
    assert [path.name for path in checkpoints.sealed(root)] == ["checkpoint-12", "checkpoint-16"]


def test_a_run_killed_again_and_again_ends_like_the_uninterrupted_one(
    tmp_path: Path, uninterrupted: Path
) -> None:
    root, out = tmp_path / "run", tmp_path / "out"
    for place in ("4:committed", "7:training", "12:sealing", "16:written", "16:committed"):
        assert in_process(tiny_trainer.train, root, out, kill=place) == -signal.SIGKILL
    assert in_process(tiny_trainer.train, root, out) == 0
    assert_same(out, uninterrupted)


def test_a_run_killed_when_it_was_done_is_not_trained_further(tmp_path: Path) -> None:
    in_process(tiny_trainer.train, tmp_path / "a", tmp_path / "expected", max_steps=13)
    assert in_process(tiny_trainer.train, tmp_path / "b", tmp_path / "out", "13:committed", max_steps=13) != 0
    assert in_process(tiny_trainer.train, tmp_path / "b", tmp_path / "out", max_steps=13) == 0
    assert json.loads((tmp_path / "out" / "record.json").read_text())["resumed_from"] == 13
    assert_same(tmp_path / "out", tmp_path / "expected")


def test_a_damaged_checkpoint_is_passed_over_and_written_again(tmp_path: Path, uninterrupted: Path) -> None:
    root, out = tmp_path / "run", tmp_path / "out"
    in_process(tiny_trainer.train, root, out, kill="10:training")
    with (root / "checkpoint-8" / "optimizer.pt").open("r+b") as file:
        file.truncate(100)
    assert in_process(tiny_trainer.train, root, out) == 0
    assert json.loads((out / "record.json").read_text())["resumed_from"] == 4
    assert_same(out, uninterrupted)


def test_saving_at_other_steps_changes_nothing_in_the_result(tmp_path: Path, uninterrupted: Path) -> None:
    root, out = tmp_path / "run", tmp_path / "out"
    in_process(tiny_trainer.train, root, out, kill="5:training")
    assert in_process(tiny_trainer.train, root, out, save_steps=5) == 0
    assert [checkpoints.step_of(path) for path in checkpoints.sealed(root)] == [15, 16]
    assert_same(out, uninterrupted)


def test_a_run_goes_on_exactly_on_an_empty_machine(tmp_path: Path, uninterrupted: Path) -> None:
    out, url = tmp_path / "out", str(tmp_path / "nas")
    assert (
        in_process(tiny_trainer.train, tmp_path / "a", out, kill="11:training", backup_url=url)
        == -signal.SIGKILL
    )
    assert in_process(tiny_trainer.train, tmp_path / "b", out, backup_url=url) == 0
    assert json.loads((out / "record.json").read_text())["resumed_from"] == 8
    assert_same(out, uninterrupted)


def test_sigterm_saves_at_once_and_the_next_start_goes_on_exactly(
    tmp_path: Path, uninterrupted: Path
) -> None:
    root, out = tmp_path / "run", tmp_path / "out"
    assert in_process(tiny_trainer.train_until_terminated, root, out, 5) == 0
    terminated, step = json.loads((out / "terminated.json").read_text())
    assert terminated
    assert step in (
        5,
        6,
    )  # the signal comes while a step is measured, and the next step at the latest answers
    assert checkpoints.newest_complete(root) == root / f"checkpoint-{step}"
    assert in_process(tiny_trainer.train, root, out) == 0
    assert_same(out, uninterrupted)


@pytest.mark.parametrize(("hang", "newest"), [("store", {5, 6}), ("save", {4})])
def test_after_sigterm_a_run_ends_with_its_status_whatever_hangs(
    hang: str, newest: set[int], tmp_path: Path
) -> None:
    assert in_process(tiny_trainer.run_until_noticed, tmp_path, hang, 4.0) == TERMINATED
    (root,) = (tmp_path / "scratch/train").iterdir()
    found = checkpoints.newest_complete(root)
    assert found is not None and checkpoints.step_of(found) in newest
    assert all(checkpoints.problem(path) is None for path in root.glob("checkpoint-*"))


def test_a_nan_loss_stops_before_it_is_saved(tmp_path: Path) -> None:
    durability = Durability(tiny_trainer.MARK, keep=5, loss_guard=LossGuard(None, 1))
    trainer = tiny_trainer.build(tmp_path, durability, tiny_trainer.Poisoned, save_steps=3)
    with pytest.raises(Stop, match="step 6: the loss is nan"):
        trainer.train()
    assert [path.name for path in checkpoints.sealed(tmp_path)] == ["checkpoint-3"]


def test_the_gate_saves_and_stops_and_stops_again(tmp_path: Path) -> None:
    def start(gate_step: int | None) -> None:
        durability = Durability(tiny_trainer.MARK, keep=5, gate_step=gate_step, gate_improvement=0.9)
        newest = checkpoints.newest_complete(tmp_path)
        trainer = tiny_trainer.build(tmp_path, durability, eval_on_start=newest is None)
        trainer.train(resume_from_checkpoint=str(newest) if newest else None)

    with pytest.raises(Stop, match="no-go at step 5"):
        start(gate_step=5)
    assert checkpoints.newest_complete(tmp_path) == tmp_path / "checkpoint-5"
    with pytest.raises(Stop, match="no-go at step 5"):
        start(gate_step=5)
    start(gate_step=None)
    assert checkpoints.newest_complete(tmp_path) == tmp_path / "checkpoint-16"


def test_the_kill_helper_refuses_a_moment_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="lunch"):
        killing.arm("3:lunch")

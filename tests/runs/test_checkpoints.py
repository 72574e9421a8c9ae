"""A checkpoint folder is complete or it does not exist."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from socrates.core.errors import TrainingError
from socrates.runs import checkpoints
from socrates.runs.checkpoints import MANIFEST

MARK = "a" * 64


def save(root: Path, step: int, text: str = "weights") -> Path:
    folder = root / checkpoints.name(step)
    (folder / "global_step").mkdir(parents=True)
    (folder / "adapter.safetensors").write_text(f"{text} {step}")
    (folder / "global_step" / "optimizer.pt").write_text(f"moments {step}")
    checkpoints.write_manifest(folder, MARK, processes=2)
    return folder


def test_steps_are_ordered_as_numbers(tmp_path):
    for step in (50, 1000, 200):
        save(tmp_path, step)
    assert list(map(checkpoints.step_of, checkpoints.list_checkpoints(tmp_path))) == [50, 200, 1000]
    assert checkpoints.newest_complete(tmp_path) == tmp_path / "checkpoint-1000"


def copy_older(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "checkpoint-10", folder)


OPTIMIZER, ADAPTER = "global_step/optimizer.pt", "adapter.safetensors"
DAMAGES: list[tuple[str, Callable[[Path], object]]] = [
    ("optimizer.pt: has changed", lambda folder: os.truncate(folder / OPTIMIZER, 3)),
    ("adapter.safetensors: has changed", lambda folder: (folder / ADAPTER).write_text("weightz 20")),
    ("adapter.safetensors: is missing", lambda folder: (folder / ADAPTER).unlink()),
    ("adapter.bin: was added", lambda folder: (folder / "adapter.bin").write_text("loaded instead")),
    ("never finished", lambda folder: (folder / MANIFEST).unlink()),
    ("damaged", lambda folder: os.truncate(folder / MANIFEST, 50)),
    ("damaged", lambda folder: (folder / MANIFEST).write_text("[" * 100_000)),
    ("is of step 10", copy_older),
]


@pytest.mark.parametrize(("says", "damage"), DAMAGES)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(says, damage, tmp_path, caplog):
    save(tmp_path, 10)
    damage(save(tmp_path, 20))
    assert checkpoints.newest_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert says in caplog.text


def test_a_manifest_cannot_lead_out_of_its_checkpoint(tmp_path):
    folder = save(tmp_path, 10)
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text().replace(ADAPTER, "../../elsewhere"))
    assert checkpoints.validate(folder) == f"{folder / MANIFEST}: damaged"


def test_the_last_ones_are_kept_and_what_a_killed_process_left_or_a_resume_will_write_is_deleted(tmp_path):
    for step in (5, 10, 20, 30):
        save(tmp_path, step)
    checkpoints.rotate(tmp_path, keep=3)
    assert checkpoints.list_checkpoints(tmp_path) == [
        tmp_path / f"checkpoint-{step}" for step in (10, 20, 30)
    ]
    (tmp_path / "checkpoint-20" / MANIFEST).unlink()
    checkpoints.clean_incomplete(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-30"]
    checkpoints.clean_incomplete(tmp_path, after=10)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


def test_an_empty_folder_is_no_checkpoint(tmp_path):
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(TrainingError, match="nothing was written"):
        checkpoints.write_manifest(tmp_path / "checkpoint-1", fingerprint=MARK)


def test_another_runs_checkpoint_or_another_process_count_is_refused_in_one_line(tmp_path):
    folder = save(tmp_path, 10)
    checkpoints.check_fits(folder, MARK, 2)
    with pytest.raises(TrainingError, match="belongs to fingerprint aaaaaaaaaaaa"):
        checkpoints.check_fits(folder, fingerprint="b" * 64, processes=2)
    with pytest.raises(TrainingError, match="written by 2 processes and this run has 4"):
        checkpoints.check_fits(folder, fingerprint=MARK, processes=4)

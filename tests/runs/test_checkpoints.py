"""A checkpoint folder is complete or it does not exist."""

from __future__ import annotations

import json
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
    checkpoints.write_manifest(folder, fingerprint=MARK, processes=2)
    return folder


def test_a_checkpoint_with_a_manifest_is_complete_and_its_manifest_names_every_file(tmp_path: Path) -> None:
    folder = save(tmp_path, 50)
    assert checkpoints.validate(folder) is None
    manifest = checkpoints.read_manifest(folder)
    assert (manifest.step, manifest.fingerprint, manifest.processes) == (50, MARK, 2)
    assert sorted(manifest.files) == ["adapter.safetensors", "global_step/optimizer.pt"]


def test_steps_are_ordered_as_numbers(tmp_path: Path) -> None:
    for step in (50, 1000, 200):
        save(tmp_path, step)
    assert [checkpoints.step_of(path) for path in checkpoints.list_checkpoints(tmp_path)] == [50, 200, 1000]
    assert checkpoints.newest_complete(tmp_path) == tmp_path / "checkpoint-1000"


def truncate(folder: Path) -> None:
    with (folder / "global_step" / "optimizer.pt").open("r+b") as file:
        file.truncate(3)


def flip(folder: Path) -> None:
    (folder / "adapter.safetensors").write_text("weightz 20")


def remove(folder: Path) -> None:
    (folder / "adapter.safetensors").unlink()


def add(folder: Path) -> None:
    (folder / "adapter.bin").write_text("loaded instead")


def forget(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def halve_manifest(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text[: len(text) // 2])


def rename(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "checkpoint-10", folder)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (truncate, "differs from the manifest (3 bytes)"),
        (flip, "differs from the manifest"),
        (remove, "missing"),
        (add, "not in the manifest"),
        (forget, "never finished"),
        (halve_manifest, "damaged"),
        (rename, "is of step 10"),
    ],
)
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    damage: Callable[[Path], None], says: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, 10)
    damage(save(tmp_path, 20))
    assert checkpoints.newest_complete(tmp_path) == tmp_path / "checkpoint-10"
    assert says in caplog.text


def test_no_folder_and_no_whole_checkpoint_are_both_none(tmp_path: Path) -> None:
    assert checkpoints.newest_complete(tmp_path / "nowhere") is None
    truncate(save(tmp_path, 20))
    assert checkpoints.newest_complete(tmp_path) is None


def test_a_manifest_cannot_lead_out_of_its_checkpoint(tmp_path: Path) -> None:
    folder = save(tmp_path, 10)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["../../elsewhere"] = manifest["files"]["adapter.safetensors"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert "damaged" in (checkpoints.validate(folder) or "")


def test_only_the_last_ones_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step)
    assert checkpoints.rotate(tmp_path, keep=2) == [tmp_path / "checkpoint-10"]
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == [
        "checkpoint-20",
        "checkpoint-30",
    ]


def test_what_a_killed_process_left_is_deleted_and_so_is_what_a_resume_will_write_again(
    tmp_path: Path,
) -> None:
    for step in (10, 20, 30):
        save(tmp_path, step)
    forget(tmp_path / "checkpoint-20")
    checkpoints.clean_incomplete(tmp_path)
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == [
        "checkpoint-10",
        "checkpoint-30",
    ]
    checkpoints.clean_incomplete(tmp_path, after=10)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-10"]


def test_an_empty_folder_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1").mkdir()
    with pytest.raises(TrainingError, match="nothing was written"):
        checkpoints.write_manifest(tmp_path / "checkpoint-1", fingerprint=MARK)


def test_another_runs_checkpoint_or_another_process_count_is_refused_in_one_line(tmp_path: Path) -> None:
    folder = save(tmp_path, 10)
    assert checkpoints.check_fits(folder, fingerprint=MARK, processes=2).step == 10
    with pytest.raises(TrainingError, match="belongs to fingerprint aaaaaaaaaaaa"):
        checkpoints.check_fits(folder, fingerprint="b" * 64, processes=2)
    with pytest.raises(TrainingError, match="written by 2 processes and this run has 4"):
        checkpoints.check_fits(folder, fingerprint=MARK, processes=4)

"""The doctor: what would stop a run is found before it starts, and said with what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from socrates.cli.__main__ import app
from socrates.tools import doctor
from socrates.tools.doctor import Device
from socrates.tools.estimate import GIB
from socrates.tools.preset import preview
from tests import tiny
from tests.hub_server import Hub, serve

A100 = Device("NVIDIA A100-SXM4-80GB", 79 * GIB, True)


def sections(*presets: str) -> dict[str, Any]:
    return preview(presets, tiny.ROOT / "params.yaml", tiny.ROOT / "presets")


def free(gib: float) -> Any:
    return lambda _: SimpleNamespace(free=gib * GIB)


@pytest.mark.parametrize("version, status", [((3, 11, 0), "ok"), ((3, 10, 9), "fail"), ((3, 13, 1), "ok")])
def test_an_old_python_fails(version: tuple[int, ...], status: str) -> None:
    assert doctor.python_version(version).status == status


def test_packages_are_held_against_the_pins(tmp_path: Path) -> None:
    assert doctor.packages(tiny.ROOT / "requirements.txt").status == "ok"
    (tmp_path / "requirements.txt").write_text(
        "# pins\ntorch==0.1\nnothing-of-the-kind==2.0  # no\npydantic\n"
    )
    found = doctor.packages(tmp_path / "requirements.txt")
    assert found.status == "fail" and "pip install" in found.do
    assert "instead of 0.1" in found.found and "nothing-of-the-kind missing" in found.found
    assert doctor.packages(tmp_path / "absent.txt").status == "fail"


def test_uncommitted_changes_are_a_warning(tmp_path: Path) -> None:
    assert doctor.git(tmp_path).status == "fail"

    def call(*command: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *command], cwd=tmp_path, check=True
        )

    call("init", "-q")
    (tmp_path / "a").write_text("1")
    call("add", "a")
    call("commit", "-qm", "a")
    assert doctor.git(tmp_path).status == "ok"
    (tmp_path / "a").write_text("2")
    found = doctor.git(tmp_path)
    assert found.status == "warn" and "a" in found.found


def test_a_store_is_written_read_and_deleted_in(tmp_path: Path) -> None:
    store = tmp_path / "nas"
    assert doctor.backup(str(store), None).status == "ok"
    assert not [path for path in store.rglob("*") if path.is_file()]
    assert doctor.backup(None, None).status == "warn"


@pytest.mark.parametrize("url", ["nosuch://place", "s3://key:secret123@bucket/x", "/proc/nowhere"])
def test_a_store_that_cannot_be_used_fails_without_showing_secrets(url: str) -> None:
    found = doctor.backup(url, None)
    assert found.status == "fail" and found.do
    assert "secret123" not in found.found


def test_the_dvc_remote_is_probed_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    config = tmp_path / ".dvc/config"
    config.write_text("[core]\n    analytics = false\n")
    assert doctor.dvc_remote(tmp_path).status == "warn"
    config.write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = ../nas\n")
    assert doctor.dvc_remote(tmp_path).status == "ok"
    assert (tmp_path / "nas").is_dir()  # relative to .dvc, as DVC reads it
    config.write_text("[core]\n    remote = store\n['remote \"store\"']\n    url = /proc/nowhere\n")
    assert doctor.dvc_remote(tmp_path).status == "fail"


def test_a_scratch_that_cannot_be_written_fails(tmp_path: Path) -> None:
    assert doctor.scratch_writable(tmp_path / "new").status == "ok"
    assert list((tmp_path / "new").iterdir()) == []
    found = doctor.scratch_writable(Path("/proc/scratch"))
    assert found.status == "fail" and "SOCRATES_SCRATCH" in found.do


def test_a_gpu_is_held_against_the_estimate(tmp_path: Path) -> None:
    one = sections("one-percent")
    assert doctor.device(tmp_path, one, [A100], 1).status == "ok"
    assert "GiB estimated" in doctor.device(tmp_path, one, [A100], 1).found
    small = doctor.device(tmp_path, one, [Device("NVIDIA L4", 10 * GIB, True)], 1)
    assert small.status == "fail" and "micro_batch" in small.do
    assert doctor.device(tmp_path, one, [Device("Tesla T4", 80 * GIB, False)], 1).status == "fail"
    assert doctor.device(tmp_path, one, [A100], 2).status == "fail"
    assert doctor.device(tmp_path, one, [], 1).status == "fail"
    assert doctor.device(tmp_path, sections(), [], 1).status == "ok"


def test_processes_that_cannot_share_the_batch_fail() -> None:
    assert doctor._guarded("processes", lambda: doctor.shares(sections(), 2)).status == "ok"
    found = doctor._guarded("processes", lambda: doctor.shares(sections(), 3))
    assert found.status == "fail" and "nearest process counts" in found.found


def test_disk_counts_checkpoints_and_weights_that_are_still_to_come(tmp_path: Path) -> None:
    full = sections("full")
    assert doctor.disk(tmp_path, full, free(10)).status == "fail"
    assert doctor.disk(tmp_path, full, free(100)).status == "ok"
    assert doctor.disk(tmp_path, sections(), free(10)).status == "ok"


def test_the_base_model_needs_room_where_the_hub_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Path("/dev/shm")
    if other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one disk only")
    monkeypatch.setenv("SOCRATES_SCRATCH", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(other / "hub"))
    room = {tmp_path: 100, other: 10}
    small_cache = doctor.disk(tmp_path, sections("full"), lambda place: free(room[place])(place))
    assert small_cache.status == "fail" and "/dev/shm: 10.0 GiB free, 27" in small_cache.found
    room = {tmp_path: 25, other: 50}
    assert doctor.disk(tmp_path, sections("full"), lambda place: free(room[place])(place)).status == "ok"


def test_a_gpu_needs_a_compiler_for_its_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus in ([], [A100]):
        checks = [finding.check for finding in doctor.examine(tmp_path, sections(), gpus, 1)]
        assert ("compiler" in checks) == bool(gpus)
    monkeypatch.setenv("CC", "/opt/cc")
    monkeypatch.setattr(doctor.sysconfig, "get_path", lambda *_: str(tmp_path))
    missing = doctor.compiler()
    assert missing.status == "fail" and "Python.h: not found" in missing.found and "-dev" in missing.do
    (tmp_path / "Python.h").touch()
    assert doctor.compiler().status == "ok"
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.compiler().found == "no gcc or clang"


def test_the_hub_or_its_cache_must_have_the_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    revision = "a" * 40
    with serve(Hub("lab/answers", revision, {})) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        assert doctor.hub("dataset", "lab/answers", revision).status == "ok"
        missing = doctor.hub("dataset", "lab/answers", "b" * 40)
        assert missing.status == "fail" and missing.do
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert doctor.hub("dataset", "lab/answers", revision).status == "fail"
    place = tmp_path / "datasets--lab--answers/snapshots" / revision
    place.mkdir(parents=True)
    (place / "README.md").write_text("here")
    assert doctor.hub("dataset", "lab/answers", revision).found.endswith("in the cache on this machine")
    assert doctor.hub_needs(sections()) == []
    assert [kind for kind, *_ in doctor.hub_needs(sections("full"))] == ["model", "dataset"]


def test_a_model_is_in_the_cache_when_all_its_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    revision = "c" * 40
    folder = tmp_path / "models--lab--large/snapshots" / revision
    folder.mkdir(parents=True)
    shards = {"embed": "model-1.safetensors", "head": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    (folder / "model-1.safetensors").touch()
    assert not doctor.cached("model", "lab/large", revision)  # the disk was full, say
    (folder / "model-2.safetensors").touch()
    assert doctor.cached("model", "lab/large", revision)


def test_the_command_ends_with_1_where_a_run_would_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("params.yaml", "requirements.txt"):
        shutil.copy(tiny.ROOT / name, tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOCRATES_PROCESSES", "1")
    monkeypatch.delenv("SOCRATES_SCRATCH", raising=False)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 0 and told["ready"], told
    assert all(finding["do"] for finding in told["findings"] if finding["status"] != "ok")
    monkeypatch.setenv("SOCRATES_PROCESSES", "3")
    monkeypatch.setenv("SOCRATES_SCRATCH", "/proc/scratch")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "doctor: not ready: processes, scratch" in result.stdout
    assert not (tmp_path / "runs").exists()

"""The doctor: what would stop a run is found before it starts, and said with what to do."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError
from typer.testing import CliRunner

from socrates.cli.__main__ import app
from socrates.core.errors import ModelError
from socrates.core.files import write_json, write_text
from socrates.model import loading
from socrates.runs import launch
from socrates.tools import doctor
from socrates.tools.doctor import Check, Device
from socrates.tools.estimate import GIB
from socrates.tools.preset import preview
from tests import tiny
from tests.hub_server import Hub, serve


def gpu(name: str, gib: int, major: int, free: int | None = None) -> Device:
    return Device(name, major, gib * GIB, (gib if free is None else free) * GIB)


A100 = gpu("NVIDIA A100-SXM4-80GB", 79, 8)


def sections(*presets: str) -> dict[str, Any]:
    return preview(presets, tiny.ROOT / "params.yaml", tiny.ROOT / "presets")


def run(check: Any, *arguments: Any) -> Check:
    return doctor.check("name", check, *arguments)


def disk(monkeypatch: Any, *presets: str, free: float = 100, places: dict[Path, float] = {}) -> Check:  # noqa: B006
    """The line on the disk, with so many GiB free, or those of some places."""

    def usage(place: Path) -> SimpleNamespace:
        return SimpleNamespace(free=places.get(Path(place), free) * GIB)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    return run(doctor.disk, sections(*presets))


def test_packages_are_held_against_the_pins(tmp_path):
    assert run(doctor.packages, tiny.ROOT / "requirements.txt").status == "ok"
    (tmp_path / "requirements.txt").write_text(
        "# pins\ntorch==0.1\nnothing-of-the-kind==2.0  # no\npydantic\n"
    )
    found = run(doctor.packages, tmp_path / "requirements.txt")
    assert found.status == "fail" and "make env" in found.do
    assert "instead of 0.1" in found.text and "nothing-of-the-kind missing" in found.text
    assert run(doctor.packages, tmp_path / "absent.txt").status == "fail"


def test_a_store_is_written_read_and_deleted_in(tmp_path):
    store = tmp_path / "nas"
    assert run(doctor.backup, str(store), None).status == "ok"
    assert not [path for path in store.rglob("*") if path.is_file()]
    assert run(doctor.backup, None, None).status == "warn"


@pytest.mark.parametrize("url", ["nosuch://place", "s3://key:secret123@bucket/x", "/proc/nowhere"])
def test_a_store_that_cannot_be_used_fails_without_showing_secrets(url):
    found = run(doctor.backup, url, None)
    assert found.status == "fail" and found.do
    assert "secret123" not in found.text


def test_the_dvc_remote_is_probed_where_there_is_one(tmp_path):
    def status(config: str) -> str:
        write_text(tmp_path / ".dvc/config", config)
        return run(doctor.dvc_remote, tmp_path).status

    remote = "[core]\n    remote = store\n['remote \"store\"']\n    url = {}\n"
    assert status("[core]\n    analytics = false\n") == "warn"
    assert status(remote.format("../nas")) == "ok"
    assert (tmp_path / "nas").is_dir()  # relative to .dvc, as DVC reads it
    assert status(remote.format("/proc/nowhere")) == "fail"


def test_a_scratch_that_cannot_be_written_fails(tmp_path):
    assert run(doctor.scratch_writable, tmp_path / "new").status == "ok"
    assert list((tmp_path / "new").iterdir()) == []
    found = run(doctor.scratch_writable, Path("/proc/scratch"))
    assert found.status == "fail" and "SOCRATES_SCRATCH" in found.do


def test_a_gpu_is_held_against_the_estimate(tmp_path):
    def found(*devices: Device, processes: int = 1, presets: tuple[str, ...] = ("one-percent",)) -> Check:
        return run(doctor.device, tmp_path, sections(*presets), devices, processes)

    assert found(A100).status == "ok" and "GiB estimated" in found(A100).text
    small = found(gpu("NVIDIA L4", 10, 8))
    assert small.status == "fail" and "micro_batch" in small.do
    assert found(gpu("Tesla T4", 80, 7)).status == "fail"
    assert found(A100, processes=2).status == "fail"
    assert found().status == "fail" and found(presets=()).status == "ok"
    assert found(gpu("A100", 79, 8, free=60)).status == "warn"  # another program holds memory
    held = found(A100, gpu("A100", 79, 8, free=4), processes=2)
    assert held.status == "fail" and "4.0 free" in held.text and "nvidia-smi" in held.do


def test_a_driver_that_is_too_old_is_named_and_no_gpu_is_counted(tmp_path, monkeypatch):
    """As torch behaves then: the cards can be counted, and none can be used."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.delenv("SOCRATES_PROCESSES", raising=False)
    assert doctor.gpus() == [] and launch.wanted_processes() == 1
    found = run(doctor.device, tmp_path, sections("full"), [], 1)
    assert found.text == "torch is built for CUDA 13.0, which the driver of 4 GPUs cannot run"
    assert found.status == "fail" and "update the driver" in found.do
    built_in = run(doctor.device, tmp_path, sections(), [], 1)
    assert built_in.status == "warn"  # the CPU will do
    (tmp_path / "manifest.json").write_text('{"kind": "hub", "name": "lab/large", "revision": "c"}')
    with pytest.raises(ModelError, match=r"lab/large: torch is built for CUDA 13.0, .*SOCRATES_CPU=1"):
        loading.require_gpu(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ModelError, match="lab/large: torch finds no GPU"):
        loading.require_gpu(tmp_path)
    monkeypatch.setenv("SOCRATES_CPU", "1")
    loading.require_gpu(tmp_path)


def test_every_gpu_must_run_the_kernels_of_training(monkeypatch):
    doctor.four_bit_product("cpu")
    asked = []

    def probe(device: str) -> None:
        asked.append(device)
        if device == "cuda:1":
            raise RuntimeError("no kernel image is available\nfor execution")

    monkeypatch.setattr(doctor, "four_bit_product", probe)
    monkeypatch.setattr(doctor, "compiled_sum", lambda _: None)
    assert run(doctor.kernels, [A100]).status == "ok"
    broken = run(doctor.kernels, [A100, A100])
    assert broken.status == "fail" and asked == ["cuda:0", "cuda:0", "cuda:1"]
    assert broken.text.endswith("probe: RuntimeError: no kernel image is available for execution")


def test_the_host_must_hold_the_processes_and_what_they_share(monkeypatch):
    full = sections("full")
    statuses = [run(doctor.host_memory, full, 4, room * GIB).status for room in (16, 40, 100)]
    assert statuses == ["fail", "warn", "ok"]
    assert "merge will need 55 GiB" in run(doctor.host_memory, full, 4, 40 * GIB).do
    for total, status in ((64 * 2**20, "warn"), (2 * GIB, "ok")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, total=total: SimpleNamespace(total=total))
        assert run(doctor.shared_memory, 4).status == status


def test_processes_that_cannot_share_the_batch_fail():
    assert run(doctor.check_global_batch, sections(), 2).status == "ok"
    found = run(doctor.check_global_batch, sections(), 3)
    assert found.status == "fail" and "nearest process counts" in found.text


def test_disk_counts_checkpoints_and_weights_that_are_still_to_come(monkeypatch):
    assert disk(monkeypatch, "full", free=10).status == "fail"
    assert "merge will write 28 GiB more" in disk(monkeypatch, "full", free=45).do
    assert disk(monkeypatch, "full", free=100).status == "ok"
    assert disk(monkeypatch, free=10).status == "ok"


def test_the_base_model_needs_room_where_the_hub_keeps_it(tmp_path, monkeypatch):
    other = Path("/dev/shm")
    if other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is one disk only")
    monkeypatch.setenv("SOCRATES_SCRATCH", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(other / "hub"))
    small_cache = disk(monkeypatch, "full", places={tmp_path: 100, other: 10})
    assert small_cache.status == "fail" and "/dev/shm: 10.0 GiB free, 27" in small_cache.text
    assert disk(monkeypatch, "full", places={tmp_path: 25, other: 50}).status == "ok"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Where the hub's files are kept; whoever asks may read them."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", lambda *_, **__: None)
    return tmp_path


def test_files_behind_a_gate_fail_before_a_download(cache, monkeypatch):
    def refused(*_: Any, **__: Any) -> None:
        raise GatedRepoError("403", response=httpx.Response(403, request=httpx.Request("GET", "http://hub")))

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: None)
    monkeypatch.setattr("huggingface_hub.HfApi.auth_check", refused)
    found = run(doctor.hub, "model", "lab/large", "a" * 40)
    assert found.status == "fail" and "accepted its terms" in found.text and "HF_TOKEN" in found.do


def test_the_hub_or_its_cache_must_have_the_revision(cache, monkeypatch):
    revision = "a" * 40
    with serve(Hub("lab/answers", revision, {})) as running:
        monkeypatch.setattr(constants, "ENDPOINT", running.endpoint)
        assert run(doctor.hub, "dataset", "lab/answers", revision).status == "ok"
        missing = run(doctor.hub, "dataset", "lab/answers", "b" * 40)
        assert missing.status == "fail" and missing.do
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert run(doctor.hub, "dataset", "lab/answers", revision).status == "fail"
    write_text(cache / f"datasets--lab--answers/snapshots/{revision}/README.md", "here")
    assert run(doctor.hub, "dataset", "lab/answers", revision).text.endswith("in the cache on this machine")


def test_a_model_is_in_the_cache_when_all_its_weights_are(cache):
    folder = cache / f"models--lab--large/snapshots/{'c' * 40}"
    shards = {"embed": "model-1.safetensors", "head": "model-2.safetensors"}
    write_json(folder / "model.safetensors.index.json", {"weight_map": shards})
    write_text(folder / "model-1.safetensors", "")
    assert not doctor.cached("model", "lab/large", "c" * 40)  # the disk was full, say
    write_text(folder / "model-2.safetensors", "")
    assert doctor.cached("model", "lab/large", "c" * 40)


def test_the_command_ends_with_1_where_a_run_would_fail(tmp_path, monkeypatch):
    for name in ("params.yaml", "requirements.txt"):
        shutil.copy(tiny.ROOT / name, tmp_path)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOCRATES_PROCESSES", "1")
    monkeypatch.delenv("SOCRATES_SCRATCH", raising=False)
    result = CliRunner().invoke(app, ["doctor", "--json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 0 and told["ready"], told
    assert all(check["do"] for check in told["checks"] if check["status"] != "ok")
    monkeypatch.setenv("SOCRATES_PROCESSES", "3")
    monkeypatch.setenv("SOCRATES_SCRATCH", "/proc/scratch")
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert re.search("doctor: not ready: processes, .*scratch", result.stdout)
    assert not (tmp_path / "runs").exists()

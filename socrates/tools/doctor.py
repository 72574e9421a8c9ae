"""Whether this machine can run the experiment of params.yaml to its end, found out before it costs anything.

Each check is one line: ``ok``, ``warn`` (it would run, at a risk) or ``fail`` (it would stop), and what to
do. Checks write only what they delete again.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from socrates.core.errors import SocratesError
from socrates.core.files import read_json
from socrates.runs.backup import error_code, open_store
from socrates.runs.fingerprint import SCRATCH_VARIABLE, scratch
from socrates.tools.estimate import GIB, Shape, memory, shape
from socrates.tools.workload import assumed, at_hand, counted
from socrates.training.schedule import plan_batches

OLDEST_PYTHON = (3, 11)
CHECKPOINT_BYTES = 18  # of a trainable weight: itself, a float32 copy, Adam's two moments, and some to spare
OUTPUT_BYTES = 2 * GIB  # assumed: data, predictions and metrics of a run


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's."""

    check: str
    status: Literal["ok", "warn", "fail"]
    found: str
    do: str = ""


@dataclass(frozen=True)
class Device:
    """A GPU of this machine."""

    name: str
    bytes: int
    bfloat16: bool


def examine(
    folder: Path, sections: Mapping[str, Any], devices: Sequence[Device], processes: int
) -> Iterator[Finding]:
    """Every check, in the order in which a run would meet what it checks.

    Args:
        folder: the project's, with requirements.txt.
        devices: the GPUs of this machine.
        processes: that would train.
    """
    yield python_version(sys.version_info[:3])
    yield packages(folder / "requirements.txt")
    yield git(folder)
    yield dvc_remote(folder)
    yield _guarded("processes", lambda: shares(sections, processes))
    yield _guarded("device", lambda: device(folder, sections, devices, processes))
    if devices:
        yield compiler()
    yield scratch_writable(scratch())
    yield _guarded("disk", lambda: disk(folder, sections, shutil.disk_usage))
    for kind, name, revision in hub_needs(sections):
        yield hub(kind, name, revision)
    store = sections["run"].backup
    yield backup(store.url, store.endpoint_url)


def _guarded(check: str, run: Callable[[], Finding]) -> Finding:
    try:
        return run()
    except SocratesError as error:
        return Finding(check, "fail", str(error), "see the message")


def python_version(version: tuple[int, ...]) -> Finding:
    """Whether the interpreter is new enough."""
    text = ".".join(map(str, version))
    if version < OLDEST_PYTHON:
        return Finding("python", "fail", text, f"use Python {'.'.join(map(str, OLDEST_PYTHON))} or newer")
    return Finding("python", "ok", text)


def packages(requirements: Path) -> Finding:
    """Whether what is installed is what requirements.txt pins."""
    try:
        text = requirements.read_text()
    except FileNotFoundError:
        return Finding("packages", "fail", f"{requirements}: not found", "run from the project's folder")
    pinned = re.findall(r"^([\w.-]+)==([\w.+-]+)", text, flags=re.MULTILINE)
    wrong = []
    for name, version in pinned:
        try:
            installed = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            installed = "missing"
        if installed != version:
            wrong.append(f"{name} {installed} instead of {version}")
    if wrong:
        return Finding("packages", "fail", ", ".join(wrong), "pip install -r requirements.txt")
    return Finding("packages", "ok", f"{len(pinned)} as pinned")


def git(folder: Path) -> Finding:
    """Whether the result could be traced to a commit."""
    asked = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        return Finding("git", "fail", "not a Git repository", "clone the project; DVC needs its commits")
    changed = [line[3:] for line in asked.stdout.splitlines()]
    if changed:
        shown = ", ".join(changed[:3]) + (" ..." if len(changed) > 3 else "")
        return Finding(
            "git", "warn", f"{len(changed)} files changed: {shown}", "commit them before a long run"
        )
    return Finding("git", "ok", "nothing uncommitted")


def dvc_remote(folder: Path) -> Finding:
    """Whether finished outputs have a second place, written, read and deleted in for a test."""
    parser = configparser.ConfigParser()
    parser.read([folder / ".dvc/config", folder / ".dvc/config.local"])
    name = parser.get("core", "remote", fallback=None)
    section = f"'remote \"{name}\"'"
    if not name or not parser.has_section(section):
        return Finding(
            "dvc remote",
            "warn",
            "none: outputs are on this machine only",
            "dvc remote add -d ... (docs/remotes.md)",
        )
    url = parser.get(section, "url")
    if "://" not in url:
        url = str(folder / ".dvc" / url)
    return _store("dvc remote", url, parser.get(section, "endpointurl", fallback=None))


def backup(url: str | None, endpoint_url: str | None) -> Finding:
    """Whether checkpoints have a second place, written, read and deleted in for a test."""
    if url is None:
        return Finding(
            "backup",
            "warn",
            "run.backup.url is null: checkpoints are on this machine only",
            "set it (docs/remotes.md)",
        )
    return _store("backup", url, endpoint_url)


def _store(check: str, url: str, endpoint_url: str | None) -> Finding:
    try:
        open_store(url, "doctor", "probe", endpoint_url).probe()
    except SocratesError as error:
        return Finding(check, "fail", str(error), "docs/remotes.md has examples")
    except Exception as error:  # a store can raise anything
        return Finding(
            check,
            "fail",
            f"{url}: {error_code(error)}",
            "check address, credentials and rights (docs/remotes.md)",
        )
    return Finding(check, "ok", f"{url}: wrote, read and deleted an object")


def shares(sections: Mapping[str, Any], processes: int) -> Finding:
    """Whether the processes can share the global batch. Raises TrainingError when not."""
    train = sections["train"]
    plan = plan_batches(train, train.global_batch, processes)
    text = (
        f"{processes} x {plan.micro_batch_size} rows x {plan.grad_accum_steps} passes = {train.global_batch}"
    )
    return Finding("processes", "ok", text)


def device(folder: Path, sections: Mapping[str, Any], devices: Sequence[Device], processes: int) -> Finding:
    """Whether the GPUs are able, and large enough for the estimate."""
    model = sections["model"]
    if not devices and model.builtin:
        return Finding("device", "ok", f"CPU, {os.cpu_count()} cores; enough for the built-in model")
    unable = None
    if not devices:
        unable = (f"no GPU for {model.name}", "use a machine with one (socrates estimate)")
    elif processes > len(devices):
        unable = (f"{processes} processes, {len(devices)} GPUs", "one process per GPU: SOCRATES_PROCESSES")
    elif old := [gpu.name for gpu in devices if not gpu.bfloat16]:
        unable = (f"{old[0]} has no bfloat16", "use an A100, H100, L4 or newer")
    if unable:
        return Finding("device", "fail", *unable)
    known = at_hand(folder, sections) is None
    work = counted(folder, sections, processes) if known else assumed(sections, processes)
    form = shape(model, folder / "models/base")
    train, deepspeed = sections["train"], sections["deepspeed"]
    need = sum(memory(form, work, model, sections["lora"], train, deepspeed, processes).values())
    room = min(gpu.bytes for gpu in devices)
    text = f"{len(devices)} x {devices[0].name}, {room / GIB:.1f} GiB; {need / GIB:.1f} GiB estimated"
    if need > room:
        do = "lower train.micro_batch or prompt.max_length, or use deepspeed.offload"
        return Finding("device", "fail", text, do)
    if need > 0.9 * room:
        return Finding("device", "warn", text, "it is close, and only an estimate: lower train.micro_batch")
    return Finding("device", "ok", text)


def compiler() -> Finding:
    """Whether Triton can build what starts its kernels on a GPU: TRL's loss is one, at the first step."""
    header = Path(sysconfig.get_path("include", "posix_prefix"), "Python.h")
    program = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if program and header.exists():
        return Finding("compiler", "ok", f"{program}, {header}")
    missing = [] if program else ["no gcc or clang"]
    missing += [] if header.exists() else [f"{header}: not found"]
    python = f"python{sys.version_info.major}.{sys.version_info.minor}-dev"
    return Finding(
        "compiler", "fail", ", ".join(missing), f"apt-get install gcc {python}, or as your system has them"
    )


def scratch_writable(folder: Path) -> Finding:
    """Whether checkpoints can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"probe")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Finding(
            "scratch", "fail", f"{folder}: {error.strerror}", f"set {SCRATCH_VARIABLE} to a folder of yours"
        )
    return Finding("scratch", "ok", f"{folder}: writable")


def disk(folder: Path, sections: Mapping[str, Any], usage: Callable[[Path], Any]) -> Finding:
    """Whether checkpoints, outputs and the base model fit; ``usage`` is :func:`shutil.disk_usage`."""
    from huggingface_hub import constants

    model, run = sections["model"], sections["run"]
    form: Shape = shape(model, folder / "models/base")
    need = (run.keep_checkpoints + 1) * CHECKPOINT_BYTES * form.lora(sections["lora"]) + OUTPUT_BYTES
    needs = {_existing(scratch()): need}
    if not (model.builtin or cached("model", model.name, model.revision)):
        cache = _existing(Path(constants.HF_HUB_CACHE))
        place = next((known for known in needs if known.stat().st_dev == cache.stat().st_dev), cache)
        needs[place] = needs.get(place, 0) + 2 * (form.linear + form.embeddings)
    free = {place: usage(place).free for place in needs}
    text = "; ".join(
        f"{place}: {free[place] / GIB:.1f} GiB free, {needs[place] / GIB:.1f} GiB estimated"
        for place in needs
    )
    if any(free[place] < needs[place] for place in needs):
        return Finding(
            "disk", "fail", text, f"free some, or set {SCRATCH_VARIABLE} and HF_HOME to a larger disk"
        )
    return Finding("disk", "ok", text)


def hub_needs(sections: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(kind, name, revision) of what the experiment takes from the hub."""
    model, data = sections["model"], sections["data"]
    found = [] if model.builtin else [("model", model.name, model.revision)]
    return found + ([("dataset", data.repo, data.revision)] if data.source == "hub" else [])


def hub(kind: str, name: str, revision: str) -> Finding:
    """Whether the hub gives a revision, or the cache of an earlier download holds it."""
    from huggingface_hub import HfApi, constants

    what = f"{name} at {revision[:12]}"
    if cached(kind, name, revision):
        return Finding(f"hub {kind}", "ok", f"{what}: in the cache on this machine")
    if constants.HF_HUB_OFFLINE:
        return Finding(
            f"hub {kind}", "fail", f"{what}: not in the cache, and HF_HUB_OFFLINE is set", "unset it"
        )
    try:
        HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=20)
    except Exception as error:  # its client and its transport raise unrelated classes
        return Finding(
            f"hub {kind}",
            "fail",
            f"{what}: {type(error).__name__}",
            "check network and name, or fill the cache",
        )
    return Finding(f"hub {kind}", "ok", f"{what}: the hub has it")


def cached(kind: str, name: str, revision: str) -> bool:
    """Whether the hub's cache holds a revision: any file of a dataset, all weights of a model."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, repo_type=kind, local_files_only=True))
    except Exception:  # not there, in one of several ways
        return False
    if kind != "model":
        return any(folder.iterdir())
    index = folder / "model.safetensors.index.json"
    shards = set(read_json(index)["weight_map"].values()) if index.exists() else {"model.safetensors"}
    return all((folder / shard).exists() for shard in shards)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest parent that is there."""
    return next(place for place in [folder.absolute(), *folder.absolute().parents] if place.exists())


def gpus() -> list[Device]:
    """The GPUs of this machine."""
    import torch

    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(Device(properties.name, properties.total_memory, properties.major >= 8))
    return found

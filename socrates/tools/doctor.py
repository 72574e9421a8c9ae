"""Whether this machine can run the experiment of params.yaml to its end, found out before it costs anything.

A check returns a status, what is there, and what to do about it. It writes only what it deletes again.
"""

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil

from socrates.core.errors import SocratesError
from socrates.core.files import read_json
from socrates.model.loading import cuda_problem
from socrates.runs.backup import error_code, open_store
from socrates.runs.fingerprint import SCRATCH_VARIABLE, scratch
from socrates.tools.estimate import A100, GIB, Sections, best_plan, memory, model_dims, workload
from socrates.training.schedule import plan_batches

CHECKPOINT_BYTES = 18  # of a trainable weight: itself, a float32 copy, Adam's two moments, and some to spare
PROCESS_BYTES = 6 * GIB  # assumed: of a training process on the host, libraries and what it loads at a time
OUTPUT_BYTES = 2 * GIB  # assumed: data, predictions and metrics of a run

Status = Literal["ok", "warn", "fail"]  # ``warn`` would run, at a risk; ``fail`` would stop
Finding = tuple[Status, str, str]  # what is there, and what to do about it


@dataclass(frozen=True)
class Check:
    """One line of the doctor's."""

    name: str
    status: Status
    text: str
    do: str


def examine(folder: Path, sections: Sections, devices: Sequence[Any], processes: int) -> Iterator[Check]:
    """Every check, in the order in which a run would meet what it checks; ``processes`` would train."""
    model, data, store = sections["model"], sections["data"], sections["run"].backup
    yield check("packages", packages, folder / "requirements.txt")
    yield check("dvc remote", dvc_remote, folder)
    yield check("processes", check_global_batch, sections, processes)
    yield check("device", device, folder, sections, devices, processes)
    if devices:
        yield check("kernels", kernels, devices)
    yield check("host memory", host_memory, sections, processes, psutil.virtual_memory().available)
    if processes > 1:
        yield check("shared memory", shared_memory, processes)
    yield check("scratch", scratch_writable, scratch())
    yield check("disk", disk, sections)
    if not model.builtin:
        yield check("hub model", hub, "model", model.name, model.revision)
    if data.source == "hub":
        yield check("hub dataset", hub, "dataset", data.repo, data.revision)
    yield check("backup", backup, store.url, store.endpoint_url)


def check(name: str, run: Callable[..., Finding], *arguments: Any) -> Check:
    """The line of one check."""
    try:
        return Check(name, *run(*arguments))
    except SocratesError as error:
        return Check(name, "fail", str(error), "see the message")


def finding(text: str, *problems: tuple[bool, Status, str]) -> Finding:
    """What is there, with the first of the problems that holds."""
    return next(((status, text, do) for holds, status, do in problems if holds), ("ok", text, ""))


def packages(requirements: Path) -> Finding:
    """Whether what is installed is what requirements.txt pins."""
    if not requirements.exists():
        return "fail", f"{requirements}: not found", "run from the project's folder"
    pinned = re.findall(r"^([\w.-]+)==([\w.+-]+)", requirements.read_text(), flags=re.MULTILINE)
    found = {each.name.lower().replace("_", "-"): each.version.split("+")[0] for each in distributions()}
    here = {name: found.get(name.lower().replace("_", "-"), "missing") for name, _ in pinned}
    wrong = [f"{name} {here[name]} instead of {pin}" for name, pin in pinned if here[name] != pin]
    return finding(", ".join(wrong) or f"{len(pinned)} as pinned", (bool(wrong), "fail", "make env"))


def dvc_remote(folder: Path) -> Finding:
    """Whether finished outputs have a second place."""
    from dvc.config import Config

    config = Config(dvc_dir=str(folder / ".dvc"))
    if remote := config["remote"].get(config["core"].get("remote")):
        return backup(remote["url"], remote.get("endpointurl"))
    return "warn", "none: outputs are on this machine only", "dvc remote add -d ... (docs/remotes.md)"


def backup(url: str | None, endpoint_url: str | None) -> Finding:
    """Whether checkpoints have a second place, where an object can be written, read and deleted."""
    if url is None:
        told = "run.backup.url is null: checkpoints are on this machine only"
        return "warn", told, "set it (docs/remotes.md)"
    try:
        open_store(url, "doctor", "probe", endpoint_url).probe()
    except SocratesError as error:
        return "fail", str(error), "docs/remotes.md has examples"
    except Exception as error:  # a store can raise anything
        do = "check address, credentials and rights (docs/remotes.md)"
        return "fail", f"{url}: {error_code(error)}", do
    return "ok", f"{url}: wrote, read and deleted an object", ""


def check_global_batch(sections: Sections, processes: int) -> Finding:
    """Whether the processes can share the global batch. Raises TrainingError where they cannot."""
    train = sections["train"]
    plan = plan_batches(train, train.global_batch, processes)
    passes = f"{plan.micro_batch_size} rows x {plan.grad_accum_steps} passes"
    return "ok", f"{processes} x {passes} = {train.global_batch}", ""


def device(folder: Path, sections: Sections, devices: Sequence[Any], processes: int) -> Finding:
    """Whether the GPUs are able, and large enough for the estimate."""
    model = sections["model"]
    if not devices:
        driver = "update the driver, or install a torch for the CUDA that it runs"
        if problem := cuda_problem():
            told = f"{problem}: the CPU computes" if model.builtin else problem
            return "warn" if model.builtin else "fail", told, driver
        if model.builtin:
            return "ok", f"CPU, {os.cpu_count()} cores; enough for the built-in model", ""
        return "fail", f"no GPU for {model.name}", "use a machine with one (socrates estimate)"
    if processes > len(devices):
        told = f"{processes} processes, {len(devices)} GPUs"
        return "fail", told, "one process per GPU: SOCRATES_PROCESSES"
    if old := [gpu.name for gpu in devices if gpu.major < 8]:
        return "fail", f"{old[0]} has no bfloat16", "use an A100, H100, L4 or newer"
    total, room = (min(getattr(gpu, key) for gpu in devices) for key in ("total_memory", "free_memory"))
    plan = best_plan(workload(folder, sections, processes), replace(A100, memory=0.9 * room / GIB))
    need = sum(memory(plan).values())
    status: Status = "warn" if need < room else "fail"
    lower = "lower train.micro_batch or prompt.max_length, or use deepspeed.offload"
    return finding(
        f"{len(devices)} x {devices[0].name}, {total / GIB:.1f} GiB, {room / GIB:.1f} free; "
        f"{need / GIB:.1f} GiB estimated",
        (room < 0.9 * total, status, "another program holds GPU memory (nvidia-smi): end it"),
        (need > 0.9 * room, status, lower),
    )


def kernels(devices: Sequence[Any]) -> Finding:
    """Whether every GPU runs what training needs: a product with 4-bit weights, and a kernel of Triton's."""
    for index, gpu in enumerate(devices):
        for probe in (four_bit_product, compiled_sum):
            try:
                probe(f"cuda:{index}")
            except Exception as error:  # of bitsandbytes, Triton or the driver
                found = f"{type(error).__name__}: {str(error)[:150]}"
                told = f"GPU {index} ({gpu.name}), {probe.__name__}: {found}"
                do = "make env; the driver, bitsandbytes and torch must fit (nvidia-smi, python -m bitsandbytes)"
                if probe is compiled_sum:
                    do = "Triton needs a compiler and Python.h: apt-get install gcc python3-dev; then " + do
                return "fail", " ".join(told.split()), do
    return "ok", f"{len(devices)} GPUs multiply 4-bit weights and run compiled kernels", ""


def four_bit_product(device: str) -> None:
    """Multiply with an NF4 matrix of ones; an error where the result is another."""
    import torch
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    torch.nn.init.ones_(layer.weight)
    found = layer.to(device)(torch.ones(1, 64, device=device))
    torch.testing.assert_close(found.cpu(), torch.full((1, 64), 64.0))


def compiled_sum(device: str) -> None:
    """Add with a kernel that is compiled for it: Triton's on a GPU; an error where the result is another."""
    import torch

    found = torch.compile(lambda x: x + 1)(torch.ones(64, device=device))
    torch.testing.assert_close(found.cpu(), torch.full((64,), 2.0))


def host_memory(sections: Sections, processes: int, available: int) -> Finding:
    """Whether the machine's own memory holds the processes, and a model that is merged."""
    need, merge = processes * PROCESS_BYTES, 4 * model_dims(sections["model"]).whole
    merging = f"socrates merge will need {merge / GIB:.0f} GiB: merge on a larger machine"
    return finding(
        f"{available / GIB:.0f} GiB available; {processes} processes take about {need / GIB:.0f}",
        (available < need, "fail", "use a machine with more, or fewer processes (SOCRATES_PROCESSES)"),
        (available < merge, "warn", merging),
    )


def shared_memory(processes: int) -> Finding:
    """Whether processes can exchange data: a container's 64 MB of /dev/shm are too few for NCCL."""
    total = shutil.disk_usage("/dev/shm").total
    told = f"/dev/shm: {total / GIB:.2f} GiB for {processes} processes"
    return finding(told, (total < GIB, "warn", "start the container with --shm-size=2g or --ipc=host"))


def scratch_writable(folder: Path) -> Finding:
    """Whether checkpoints can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"probe")
    except OSError as error:
        return "fail", f"{folder}: {error.strerror}", f"set {SCRATCH_VARIABLE} to a folder of yours"
    return "ok", f"{folder}: writable", ""


def disk(sections: Sections) -> Finding:
    """Whether checkpoints, outputs and the base model fit."""
    from huggingface_hub import constants

    model, dims = sections["model"], model_dims(sections["model"])
    checkpoint, merged = CHECKPOINT_BYTES * dims.lora(sections["lora"]), 2 * dims.whole
    needs = {_existing(scratch()): (sections["run"].keep_checkpoints + 1) * checkpoint + OUTPUT_BYTES}
    if not (model.builtin or cached("model", model.name, model.revision)):
        cache = _existing(Path(constants.HF_HUB_CACHE))
        cache = next((path for path in needs if path.stat().st_dev == cache.stat().st_dev), cache)
        needs[cache] = needs.get(cache, 0) + merged
    free = {path: shutil.disk_usage(path).free for path in needs}
    here = _existing(Path())
    taken = sum(need for path, need in needs.items() if path.stat().st_dev == here.stat().st_dev)
    short = any(free[path] < need for path, need in needs.items())
    later = shutil.disk_usage(here).free - taken < merged
    told = [f"{at}: {free[at] / GIB:.1f} GiB free, {needs[at] / GIB:.1f} GiB estimated" for at in needs]
    return finding(
        "; ".join(told),
        (short, "fail", f"free some, or set {SCRATCH_VARIABLE} and HF_HOME to a larger disk"),
        (later, "warn", f"socrates merge will write {merged / GIB:.0f} GiB more: free some by then"),
    )


def _existing(folder: Path) -> Path:
    """The folder, or the nearest parent that is there."""
    return next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())


def hub(kind: str, name: str, revision: str) -> Finding:
    """Whether the hub gives a revision, or the cache of an earlier download holds it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    what = f"{name} at {revision[:12]}"
    if cached(kind, name, revision):
        return "ok", f"{what}: in the cache on this machine", ""
    try:
        HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=20)
        HfApi().auth_check(name, repo_type=kind)
    except GatedRepoError:
        do = "accept its terms on its page, and log in with hf auth login or HF_TOKEN"
        return "fail", f"{what}: its files are for those who have accepted its terms", do
    except Exception as error:  # its client and its transport raise unrelated classes
        return "fail", f"{what}: {type(error).__name__}", "check network and name, or fill the cache"
    return "ok", f"{what}: the hub has it", ""


def cached(kind: str, name: str, revision: str) -> bool:
    """Whether the hub's cache holds a revision: any file of a dataset, all weights of a model."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, repo_type=kind, local_files_only=True))
    except Exception:  # not there, in one of several ways
        return False
    index = folder / "model.safetensors.index.json"
    shards = set(read_json(index)["weight_map"].values()) if index.exists() else {"model.safetensors"}
    return all((folder / shard).exists() for shard in shards) if kind == "model" else any(folder.iterdir())


class Device(NamedTuple):
    """A GPU; memory in bytes."""

    name: str
    major: int  # of its compute capability
    total_memory: int
    free_memory: int


def gpus() -> list[Device]:
    """The GPUs of this machine that torch can use."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found = [(torch.cuda.get_device_properties(i), torch.cuda.mem_get_info(i)) for i in range(count)]
    return [Device(properties.name, properties.major, total, free) for properties, (free, total) in found]

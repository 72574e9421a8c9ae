"""Whether this machine can run the experiment of params.yaml to its end, found out before it costs anything.

A check is a function that returns what is there, or raises. Checks write only what they delete again.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Literal

import psutil

from socrates.core.errors import SocratesError
from socrates.core.files import read_json
from socrates.model.loading import cuda_problem
from socrates.runs.backup import error_code, open_store
from socrates.runs.fingerprint import SCRATCH_VARIABLE, scratch
from socrates.tools.estimate import A100, GIB, best_plan, memory, model_dims, workload
from socrates.training.schedule import plan_batches

CHECKPOINT_BYTES = 18  # of a trainable weight: itself, a float32 copy, Adam's two moments, and some to spare
PROCESS_BYTES = 6 * GIB  # assumed: of a training process on the host, libraries and what it loads at a time
OUTPUT_BYTES = 2 * GIB  # assumed: data, predictions and metrics of a run


@dataclass(frozen=True)
class Check:
    """One line: ``warn`` would run, at a risk; ``fail`` would stop. ``do`` is what to do about it."""

    name: str
    status: Literal["ok", "warn", "fail"]
    text: str
    do: str = ""


class ProblemError(SocratesError):
    """Why a check is not ok, and what to do about it."""

    def __init__(self, text: str, do: str, status: Literal["warn", "fail"] = "fail") -> None:
        super().__init__(text)
        self.do, self.status = do, status


def examine(
    folder: Path, sections: Mapping[str, Any], devices: Sequence[Any], processes: int
) -> Iterator[Check]:
    """Every check, in the order in which a run would meet what it checks; ``processes`` would train."""
    model, data, run = (sections[name] for name in ("model", "data", "run"))
    available = psutil.virtual_memory().available
    checks: list[tuple[bool, str, Callable[..., str], tuple[Any, ...]]] = [
        (True, "packages", packages, (folder / "requirements.txt",)),
        (True, "dvc remote", dvc_remote, (folder,)),
        (True, "processes", check_global_batch, (sections, processes)),
        (True, "device", device, (folder, sections, devices, processes)),
        (bool(devices), "kernels", kernels, (devices,)),
        (True, "host memory", host_memory, (sections, processes, available)),
        (processes > 1, "shared memory", shared_memory, (processes, shutil.disk_usage)),
        (True, "scratch", scratch_writable, (scratch(),)),
        (True, "disk", disk, (sections, shutil.disk_usage)),
        (not model.builtin, "hub model", hub, ("model", model.name, model.revision)),
        (data.source == "hub", "hub dataset", hub, ("dataset", data.repo, data.revision)),
        (True, "backup", backup, (run.backup.url, run.backup.endpoint_url)),
    ]
    for needed, name, function, arguments in checks:
        if needed:
            yield check(name, function, *arguments)


def check(name: str, run: Callable[..., str], *arguments: Any) -> Check:
    """The line of one check."""
    try:
        return Check(name, "ok", run(*arguments))
    except ProblemError as problem:
        return Check(name, problem.status, str(problem), problem.do)
    except SocratesError as error:
        return Check(name, "fail", str(error), "see the message")


def packages(requirements: Path) -> str:
    """Whether what is installed is what requirements.txt pins."""
    if not requirements.exists():
        raise ProblemError(f"{requirements}: not found", "run from the project's folder")
    pinned = re.findall(r"^([\w.-]+)==([\w.+-]+)", requirements.read_text(), flags=re.MULTILINE)
    found = {each.name.lower().replace("_", "-"): each.version.split("+")[0] for each in distributions()}
    installed = [
        (name, version, found.get(name.lower().replace("_", "-"), "missing")) for name, version in pinned
    ]
    wrong = [f"{name} {here} instead of {version}" for name, version, here in installed if here != version]
    if wrong:
        raise ProblemError(", ".join(wrong), "make env")
    return f"{len(pinned)} as pinned"


def dvc_remote(folder: Path) -> str:
    """Whether finished outputs have a second place."""
    from dvc.config import Config

    config = Config(dvc_dir=str(folder / ".dvc"))
    remote = config["remote"].get(config["core"].get("remote"))
    if not remote:
        do = "dvc remote add -d ... (docs/remotes.md)"
        raise ProblemError("none: outputs are on this machine only", do, "warn")
    return _probe(remote["url"], remote.get("endpointurl"))


def backup(url: str | None, endpoint_url: str | None) -> str:
    """Whether checkpoints have a second place."""
    if url is None:
        text = "run.backup.url is null: checkpoints are on this machine only"
        raise ProblemError(text, "set it (docs/remotes.md)", "warn")
    return _probe(url, endpoint_url)


def _probe(url: str, endpoint_url: str | None) -> str:
    """Whether an object can be written, read and deleted."""
    try:
        open_store(url, "doctor", "probe", endpoint_url).probe()
    except SocratesError as error:
        raise ProblemError(str(error), "docs/remotes.md has examples") from None
    except Exception as error:  # a store can raise anything
        do = "check address, credentials and rights (docs/remotes.md)"
        raise ProblemError(f"{url}: {error_code(error)}", do) from None
    return f"{url}: wrote, read and deleted an object"


def check_global_batch(sections: Mapping[str, Any], processes: int) -> str:
    """Whether the processes can share the global batch. Raises TrainingError where they cannot."""
    train = sections["train"]
    plan = plan_batches(train, train.global_batch, processes)
    passes = f"{plan.micro_batch_size} rows x {plan.grad_accum_steps} passes"
    return f"{processes} x {passes} = {train.global_batch}"


def device(folder: Path, sections: Mapping[str, Any], devices: Sequence[Any], processes: int) -> str:
    """Whether the GPUs are able, and large enough for the estimate."""
    model, driver = sections["model"], "update the driver, or install a torch for the CUDA that it runs"
    problem = None if devices else cuda_problem()
    if not devices and model.builtin:
        if problem:
            raise ProblemError(f"{problem}: the CPU computes", driver, "warn")
        return f"CPU, {os.cpu_count()} cores; enough for the built-in model"
    if problem:
        raise ProblemError(problem, driver)
    if not devices:
        raise ProblemError(f"no GPU for {model.name}", "use a machine with one (socrates estimate)")
    if processes > len(devices):
        do = "one process per GPU: SOCRATES_PROCESSES"
        raise ProblemError(f"{processes} processes, {len(devices)} GPUs", do)
    if old := [gpu.name for gpu in devices if gpu.major < 8]:
        raise ProblemError(f"{old[0]} has no bfloat16", "use an A100, H100, L4 or newer")
    work, dims = workload(folder, sections, processes), model_dims(model)
    total, room = (min(getattr(gpu, key) for gpu in devices) for key in ("total_memory", "free_memory"))
    plan = best_plan(dims, work, sections, processes, replace(A100, memory=0.9 * room / GIB))
    need = sum(memory(dims, plan, sections, processes).values())
    text = f"{len(devices)} x {devices[0].name}, {total / GIB:.1f} GiB, {room / GIB:.1f} free; "
    text += f"{need / GIB:.1f} GiB estimated"
    if room < 0.9 * total:
        do = "another program holds GPU memory (nvidia-smi): end it"
        raise ProblemError(text, do, "warn" if need < room else "fail")
    if need > 0.9 * room:
        do = "lower train.micro_batch or prompt.max_length, or use deepspeed.offload"
        raise ProblemError(text, do, "warn" if need < room else "fail")
    return text


def kernels(devices: Sequence[Any], probes: Sequence[Callable[[str], None]] | None = None) -> str:
    """Whether every GPU runs what training needs: a product with 4-bit weights, and a kernel of Triton's.

    Args:
        probes: in place of :func:`four_bit_product` and :func:`compiled_sum`; each is given a device's name.
    """
    for index, gpu in enumerate(devices):
        for probe in [four_bit_product, compiled_sum] if probes is None else probes:
            try:
                probe(f"cuda:{index}")
            except Exception as error:  # of bitsandbytes, Triton or the driver
                found = f"{type(error).__name__}: {str(error)[:150]}"
                text = f"GPU {index} ({gpu.name}), {probe.__name__}: {found}"
                do = "make env; the driver, bitsandbytes and torch must fit (nvidia-smi, python -m bitsandbytes)"
                if probe is compiled_sum:
                    do = "Triton needs a compiler and Python.h: apt-get install gcc python3-dev; then " + do
                raise ProblemError(" ".join(text.split()), do) from None
    return f"{len(devices)} GPUs multiply 4-bit weights and run compiled kernels"


def four_bit_product(device: str) -> None:
    """Multiply with an NF4 matrix of ones. Raises an error where the result is another."""
    import torch
    from bitsandbytes.nn import Linear4bit

    layer = Linear4bit(64, 64, bias=False, compute_dtype=torch.float32, quant_type="nf4")
    torch.nn.init.ones_(layer.weight)
    found = layer.to(device)(torch.ones(1, 64, device=device))
    torch.testing.assert_close(found.cpu(), torch.full((1, 64), 64.0))


def compiled_sum(device: str) -> None:
    """Add with a kernel that is compiled for it: Triton's on a GPU. Raises an error where the result is another."""
    import torch

    found = torch.compile(lambda x: x + 1)(torch.ones(64, device=device))
    torch.testing.assert_close(found.cpu(), torch.full((64,), 2.0))


def host_memory(sections: Mapping[str, Any], processes: int, available: int) -> str:
    """Whether the machine's own memory holds the processes, and a model that is merged."""
    dims = model_dims(sections["model"])
    need, merge = processes * PROCESS_BYTES, 4 * dims.whole
    text = f"{available / GIB:.0f} GiB available; {processes} processes take about {need / GIB:.0f}"
    if available < need:
        raise ProblemError(text, "use a machine with more, or fewer processes (SOCRATES_PROCESSES)")
    if available < merge:
        raise ProblemError(
            text, f"socrates merge will need {merge / GIB:.0f} GiB: merge on a larger machine", "warn"
        )
    return text


def shared_memory(processes: int, usage: Callable[[Path], Any]) -> str:
    """Whether processes can exchange data: a container's 64 MB of /dev/shm are too few for NCCL."""
    total = usage(Path("/dev/shm")).total
    text = f"/dev/shm: {total / GIB:.2f} GiB for {processes} processes"
    if total < GIB:
        raise ProblemError(text, "start the container with --shm-size=2g or --ipc=host", "warn")
    return text


def scratch_writable(folder: Path) -> str:
    """Whether checkpoints can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"probe")
    except OSError as error:
        raise ProblemError(
            f"{folder}: {error.strerror}", f"set {SCRATCH_VARIABLE} to a folder of yours"
        ) from None
    return f"{folder}: writable"


def disk(sections: Mapping[str, Any], usage: Callable[[Path], Any]) -> str:
    """Whether checkpoints, outputs and the base model fit; ``usage`` is :func:`shutil.disk_usage`."""
    from huggingface_hub import constants

    model, dims = sections["model"], model_dims(sections["model"])
    checkpoint = CHECKPOINT_BYTES * dims.lora(sections["lora"])
    needs = {_existing(scratch()): (sections["run"].keep_checkpoints + 1) * checkpoint + OUTPUT_BYTES}
    if not (model.builtin or cached("model", model.name, model.revision)):
        cache = _existing(Path(constants.HF_HUB_CACHE))
        cache = next((path for path in needs if path.stat().st_dev == cache.stat().st_dev), cache)
        needs[cache] = needs.get(cache, 0) + 2 * dims.whole
    free = {path: usage(path).free for path in needs}
    text = "; ".join(
        f"{path}: {free[path] / GIB:.1f} GiB free, {need / GIB:.1f} GiB estimated"
        for path, need in needs.items()
    )
    if any(free[path] < need for path, need in needs.items()):
        raise ProblemError(text, f"free some, or set {SCRATCH_VARIABLE} and HF_HOME to a larger disk")
    merged = 2 * dims.whole
    here = _existing(Path())
    taken = sum(need for path, need in needs.items() if path.stat().st_dev == here.stat().st_dev)
    if usage(here).free - taken < merged:
        raise ProblemError(
            text, f"socrates merge will write {merged / GIB:.0f} GiB more: free some by then", "warn"
        )
    return text


def _existing(folder: Path) -> Path:
    """The folder, or the nearest parent that is there."""
    return next(path for path in [folder.absolute(), *folder.absolute().parents] if path.exists())


def hub(kind: str, name: str, revision: str) -> str:
    """Whether the hub gives a revision, or the cache of an earlier download holds it."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError

    what = f"{name} at {revision[:12]}"
    if cached(kind, name, revision):
        return f"{what}: in the cache on this machine"
    try:
        HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=20)
        HfApi().auth_check(name, repo_type=kind)
    except GatedRepoError:
        do = "accept its terms on its page, and log in with hf auth login or HF_TOKEN"
        raise ProblemError(f"{what}: its files are for those who have accepted its terms", do) from None
    except Exception as error:  # its client and its transport raise unrelated classes
        do = "check network and name, or fill the cache"
        raise ProblemError(f"{what}: {type(error).__name__}", do) from None
    return f"{what}: the hub has it"


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


@dataclass(frozen=True)
class Device:
    """A GPU: its name, the first digit of its compute capability, and bytes of memory."""

    name: str
    major: int
    total_memory: int
    free_memory: int


def gpus() -> list[Device]:
    """The GPUs of this machine that torch can use."""
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties, (free, total) = torch.cuda.get_device_properties(index), torch.cuda.mem_get_info(index)
        found.append(Device(properties.name, properties.major, total, free))
    return found

"""How many processes train or predict, and how they find each other: the environment's matter, no param."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from socrates.errors import TrainingError

T = TypeVar("T")
PROCESSES = "SOCRATES_PROCESSES"


@dataclass(frozen=True)
class Place:
    """Where this process stands among all."""

    rank: int
    processes: int

    @property
    def first(self) -> bool:
        """Whether this is the process that writes outputs."""
        return self.rank == 0


def wanted_processes() -> int:
    """Processes on this machine: ``SOCRATES_PROCESSES``, else one per GPU, else one."""
    import torch

    text = os.environ.get(PROCESSES, "")
    if not text:
        return torch.cuda.device_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise TrainingError(f"{PROCESSES}={text}: expected a positive number of processes")
    return int(text)


def launch(module: str, *arguments: str) -> Place | None:
    """Become one of the processes of a stage, or start them and wait (then None).

    A single process needs no launcher: it gets the variables torchrun would set. Several are started
    by torchrun, each running ``python -m module *arguments`` again. Under a launcher of the user's own
    (torchrun, a DeepSpeed hostfile) the variables are there already.

    Raises:
        TrainingError: a process failed; its own error stands above in the log.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "LOCAL_RANK" not in os.environ:
        count = wanted_processes()
        if count > 1:
            _torchrun([module, *arguments], count)
            return None
        os.environ.update(
            RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port())
        )
    return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def meet(place: Place) -> None:
    """Let the processes of a stage that has no trainer find each other, each with its own GPU if there are any."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if place.processes > 1:
        # One waits for the slowest, which may be hours behind; a dead one ends all through the launcher.
        torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))


def told_by_first(place: Place, value: T) -> T:
    """The value that the first process has, on every process."""
    import torch

    box = [value]
    if place.processes > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def wait_for_all(place: Place) -> None:
    """Return when every process has come here."""
    import torch

    if place.processes > 1:
        torch.distributed.barrier()


def _torchrun(command: list[str], count: int) -> None:
    environment = dict(os.environ)
    environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    status = subprocess.run([*launcher, "-m", *command], env=environment, check=False).returncode
    if status:
        raise TrainingError(
            f"{' '.join(command)}: a process failed (status {status}); its error stands above"
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

"""Process count and torch.distributed setup, from environment variables."""

import contextlib
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import psutil
import torch

from socrates.core.errors import TrainingError
from socrates.runs import signals

T = TypeVar("T")
PROCESSES = "SOCRATES_PROCESSES"
DDP_TIMEOUT = timedelta(days=30)  # of waiting for a backup; a launcher ends the others of a dead process


@dataclass(frozen=True)
class Process:
    """This process among all of a stage."""

    rank: int
    world_size: int

    @property
    def is_main(self) -> bool:
        """Whether it writes the outputs."""
        return self.rank == 0


def wanted_processes() -> int:
    """Processes on this machine: ``SOCRATES_PROCESSES``, else one per GPU, else one."""
    text = os.environ.get(PROCESSES, "")
    if not text:
        # With a driver that is too old there are devices to count, and none that can be used.
        return torch.cuda.device_count() if torch.cuda.is_available() else 1
    if not text.isdecimal() or int(text) < 1:
        raise TrainingError(f"{PROCESSES}={text}: expected a positive number of processes")
    return int(text)


def launch(module: str, *arguments: str) -> Process | None:
    """Become one of the processes of a stage, or start them and wait (then None).

    A single process needs no launcher: it gets the variables that torchrun would set. Several are started by
    torchrun, each running ``python -m module *arguments`` again. Under torchrun, DeepSpeed's launcher or Slurm
    the variables are there already (``docs/durable.md`` has several machines).
    """
    signals.begin()
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "LOCAL_RANK" not in os.environ:
        count = wanted_processes()
        if count > 1:
            os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
            os.environ[signals.STARTER] = str(os.getpid())
            torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m"]
            if status := signals.run_module([*torchrun, module, *arguments], _tell_processes):
                told = f"a process failed (status {status}); its error stands above"
                raise TrainingError(f"{' '.join([module, *arguments])}: {told}")
            return None
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    return Process(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def _tell_processes(torchrun: psutil.Process, number: int) -> None:
    """Send a signal to the processes; torchrun itself would kill them before they have saved and backed up."""
    for process in torchrun.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "LOCAL_RANK" in process.environ():
                process.send_signal(number)


def init_process_group(process: Process) -> None:
    """Initialise the process group of a stage without a trainer; each process takes its own GPU if there are any."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if process.world_size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=DDP_TIMEOUT)


def broadcast_object(process: Process, value: T) -> T:
    """The main process's value, on every process."""
    box = [value]
    if process.world_size > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def barrier(process: Process) -> None:
    """Return when every process has come here."""
    if process.world_size > 1:
        torch.distributed.barrier()


def cleanup_distributed() -> None:
    """Barrier, destroy the process group, and exit hard where several ranks run.

    The last call of a stage: DeepSpeed's threads sometimes abort at interpreter shutdown, and the launcher would
    then kill rank 0 while it writes outputs.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        several = torch.distributed.get_world_size() > 1
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        if several:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

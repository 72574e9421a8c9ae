"""Process count and torch.distributed setup, from environment variables."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import psutil

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
    import torch

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

    Raises:
        TrainingError: a process failed; its own error stands above in the log.
        SystemExit: after a notice (see :mod:`socrates.runs.signals`), here or later.
    """
    import torch

    signals.begin()
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "LOCAL_RANK" not in os.environ:
        count = wanted_processes()
        if count > 1:
            os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
            torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m"]
            _run_and_wait(torchrun, [module, *arguments])
            return None
        os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    return Process(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def init_process_group(process: Process) -> None:
    """Initialise the process group of a stage without a trainer; each process takes its own GPU if there are any."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if process.world_size > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo", timeout=DDP_TIMEOUT)


def broadcast_object(process: Process, value: T) -> T:
    """The main process's value, on every process."""
    import torch

    box = [value]
    if process.world_size > 1:
        torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


def barrier(process: Process) -> None:
    """Return when every process has come here."""
    import torch

    if process.world_size > 1:
        torch.distributed.barrier()


def cleanup_distributed() -> None:
    """Barrier, destroy the process group, and exit hard where several ranks run.

    The last call of a stage: DeepSpeed's threads sometimes abort at interpreter shutdown, and the launcher would
    then kill rank 0 while it writes outputs.
    """
    import torch

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        several = torch.distributed.get_world_size() > 1
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
        if several:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def _run_and_wait(launcher: list[str], command: list[str]) -> None:
    """Start a module with its arguments under a launcher; a notice goes to its processes, not to the launcher.

    A launcher that gets it kills its processes before they have saved and backed up.
    """
    environment = {**os.environ, signals.STARTER: str(os.getpid())}
    arguments = [sys.executable, "-m", *launcher, *command]
    # In a session of its own, so that Ctrl+C reaches this process alone.
    child = subprocess.Popen(arguments, env=environment, start_new_session=True)

    def pass_on(number: int) -> None:
        for process in psutil.Process(child.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "LOCAL_RANK" in process.environ():
                    process.send_signal(number)

    if status := signals.wait_for(child, pass_on):
        told = f"a process failed (status {status}); its error stands above"
        raise TrainingError(f"{' '.join(command)}: {told}")

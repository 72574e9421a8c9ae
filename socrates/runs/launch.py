"""How many processes train or predict, and how they find each other: the environment's matter, no param."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import psutil

from socrates.core.errors import TERMINATED, TrainingError

T = TypeVar("T")
PROCESSES = "SOCRATES_PROCESSES"
HOSTFILE = "SOCRATES_HOSTFILE"  # of DeepSpeed: one host and its number of processes a line
NODE_RANK = "SOCRATES_NODE_RANK"  # this machine's place in it, where machines are started one by one
SSH_PORT = 22
PATIENCE = timedelta(days=30)  # of a process with the slowest; a dead one ends all through the launcher


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

    A single process needs no launcher: it gets the variables torchrun would set. Several are started by
    torchrun, or with ``SOCRATES_HOSTFILE`` on several machines by DeepSpeed's launcher, each running
    ``python -m module *arguments`` again. Under a launcher of the user's own the variables are there already.

    Raises:
        TrainingError: a host cannot be reached, or a process failed; its own error stands above in the log.
        SystemExit: with :data:`~socrates.core.errors.TERMINATED` after SIGTERM, here or later.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    if "LOCAL_RANK" not in os.environ:
        command = [module, *arguments]
        if hostfile := os.environ.get(HOSTFILE):
            _run_and_wait(_on_hosts(Path(hostfile), os.environ.get(NODE_RANK)), command)
            return None
        count = wanted_processes()
        if count > 1:
            os.environ.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
            launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m"]
            _run_and_wait(launcher, command)
            return None
        os.environ.update(
            RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port())
        )
    signal.signal(signal.SIGTERM, _leave)
    return Place(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def _leave(*_: object) -> None:
    """Answer SIGTERM where nothing is to be saved: before and after training, and in predicting."""
    raise SystemExit(TERMINATED)


def read_hostfile(path: Path) -> dict[str, int]:
    """Processes of each host, in the file's order, from lines such as ``worker-1 slots=4``.

    Raises:
        TrainingError: the file is missing or empty, or a line is not of that form.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise TrainingError(f"{HOSTFILE}={path}: cannot be read ({error.strerror})") from None
    hosts: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        text = line.partition("#")[0].strip()
        match = re.fullmatch(r"(\S+)\s+slots=([1-9]\d*)", text)
        if text and (match is None or match[1] in hosts):
            raise TrainingError(f"{path}:{number}: expected a new host and 'slots=<processes>', not {text!r}")
        if match:
            hosts[match[1]] = int(match[2])
    if not hosts:
        raise TrainingError(f"{path}: names no host; a line is 'worker-1 slots=4'")
    return hosts


def check_reachable(hosts: Iterable[str], port: int = SSH_PORT, seconds: float = 5.0) -> None:
    """Raise :class:`TrainingError` that names every host on which nothing answers at ``port``."""
    silent = []
    for host in hosts:
        try:
            socket.create_connection((host, port), timeout=seconds).close()
        except OSError as error:
            silent.append(f"{host} ({error.strerror or error})")
    if silent:
        raise TrainingError(
            f"{HOSTFILE}: cannot be reached at port {port}: {', '.join(silent)}; nothing was started; start the "
            f"host, take its line out, or start each machine yourself with {NODE_RANK}"
        )


def _on_hosts(hostfile: Path, node_rank: str | None) -> list[str]:
    """The module and options of DeepSpeed's launcher, after the hosts were checked.

    With a node rank the machines need no ssh: the same command is given on each of them.
    """
    hosts = read_hostfile(hostfile)
    command = ["deepspeed.launcher.runner", "--hostfile", str(hostfile), "--no_local_rank"]
    if node_rank is None:
        check_reachable(hosts)
        return [*command, "--force_multi", "--module"]
    if not node_rank.isdigit() or int(node_rank) >= len(hosts):
        raise TrainingError(
            f"{NODE_RANK}={node_rank}: expected 0 to {len(hosts) - 1}, the host's place in {hostfile}"
        )
    first = next(iter(hosts))
    return [*command, "--no_ssh", f"--node_rank={node_rank}", f"--master_addr={first}", "--module"]


def part() -> None:
    """End the meeting of a stage's processes, once all are here, as the last thing that the stage does.

    A process that leaves early takes its communication threads down with it, now and then with an abort, upon
    which the launcher ends the others: the first one perhaps while it writes the outputs. One of several leaves
    without the interpreter's own clearing away, in which threads of DeepSpeed were seen to abort too.
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


def meet(place: Place) -> None:
    """Let the processes of a stage that has no trainer find each other, each with its own GPU if there are any."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if place.processes > 1:
        torch.distributed.init_process_group("gloo", timeout=PATIENCE)


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


def _run_and_wait(launcher: list[str], command: list[str]) -> None:
    """Start a module with its arguments under a launcher; SIGTERM goes to its processes, not to the launcher.

    A launcher that gets it kills its processes before they have saved and backed up.
    """
    child = subprocess.Popen([sys.executable, "-m", *launcher, *command])
    noticed = False

    def pass_on(*_: object) -> None:
        nonlocal noticed
        noticed = True
        for process in psutil.Process(child.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "LOCAL_RANK" in process.environ():
                    process.send_signal(signal.SIGTERM)

    former = signal.signal(signal.SIGTERM, pass_on)
    try:
        status = child.wait()
    finally:
        signal.signal(signal.SIGTERM, former)
    if status and noticed:
        raise SystemExit(TERMINATED)
    if status:
        raise TrainingError(
            f"{' '.join(command)}: a process failed (status {status}); its error stands above"
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])

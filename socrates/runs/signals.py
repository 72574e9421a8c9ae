"""What asks a process to stop, and how it hears it: SIGTERM, a lost terminal (SIGHUP), Ctrl+C, the death of DVC."""

import functools
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from socrates.core.errors import INTERRUPTED, TERMINATED

NOTICES = {signal.SIGTERM: TERMINATED, signal.SIGHUP: TERMINATED, signal.SIGINT: INTERRUPTED}
STARTER = "SOCRATES_STARTER"  # PID of the process that started torchrun
SHELLS = {"sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "zsh"}


def heed(action: Callable[[int, Any], object]) -> dict[signal.Signals, Any]:
    """Give the notices a handler; returns the former ones. What nohup or ``&`` has switched off stays off."""
    wanted = [number for number in NOTICES if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, action) for number in wanted}


def ignore() -> None:
    """A process that is leaving hears no second notice."""
    for number in NOTICES:
        signal.signal(number, signal.SIG_IGN)


def detach(number: int) -> None:
    """After SIGHUP nobody reads what is not a file: writing to a terminal that is gone would end the process."""
    if number == signal.SIGHUP:
        for descriptor in (1, 2):
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def leave(number: int, _frame: object = None) -> None:
    """The handler of a process that has nothing to save."""
    ignore()
    detach(number)
    os.write(2, f"stopped by {signal.Signals(number).name}; the same command goes on\n".encode())
    raise SystemExit(NOTICES[signal.Signals(number)])


@functools.cache
def begin() -> None:
    """Leave on a notice, and take the death of whoever started the stage, our launcher or DVC, for one.

    DVC dies of a SIGTERM without a word to its stage, and so does the process that started torchrun of a SIGKILL.
    """

    def watch(starter: psutil.Process) -> None:
        while alive(starter):
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    heed(leave)
    starter = None
    if pid := os.environ.get(STARTER):
        starter = psutil.Process(int(pid) if psutil.pid_exists(int(pid)) else os.getppid())
    elif "DVC_STAGE" in os.environ:
        starter = next((each for each in psutil.Process().parents() if each.name() not in SHELLS), None)
    if starter:
        threading.Thread(target=watch, args=(starter,), name="starter", daemon=True).start()


def alive(process: psutil.Process) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def run_module(arguments: list[str], pass_on: Callable[[psutil.Process, int], object]) -> int:
    """``python -m`` with arguments, in a session of its own, so that Ctrl+C reaches this process alone; its status.

    A notice goes to ``pass_on``, which sees that the child ends; if it then fails, so does this one, with the
    notice's status.
    """
    child = subprocess.Popen([sys.executable, "-m", *arguments], start_new_session=True)
    noticed = 0

    def notice(number: int, _frame: object) -> None:
        nonlocal noticed
        noticed = number
        detach(number)
        pass_on(psutil.Process(child.pid), number)

    heed(notice)
    status = child.wait()
    if status and noticed:
        raise SystemExit(NOTICES[signal.Signals(noticed)])
    return status


def stages(process: psutil.Process) -> Iterator[psutil.Process]:
    """What DVC has started, but for the shells between."""
    for child in process.children():
        if alive(child):
            yield from stages(child) if child.name() in SHELLS else [child]


def repro(arguments: list[str]) -> None:
    """``dvc repro`` that passes a notice on to the stage at work, waits for it, and ends with its status.

    DVC itself dies of SIGTERM at once, and with it the container or systemd unit whose first process it is.
    """

    def pass_on(dvc: psutil.Process, number: int) -> None:
        ignore()
        dvc.suspend()  # it starts no further stage
        at_work = [*stages(dvc)]
        for stage in at_work:
            stage.send_signal(number)
        while any(map(alive, at_work)):
            time.sleep(0.1)
        dvc.terminate()
        dvc.resume()

    raise SystemExit(run_module(["dvc", "repro", *arguments], pass_on))

"""What asks a process to stop, and how it hears it: SIGTERM, a lost terminal (SIGHUP), Ctrl+C, the death of DVC."""

from __future__ import annotations

import functools
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
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
    """Leave on a notice, and take the death of whoever started the stage for one.

    DVC dies of a SIGTERM without a word to its stage, and so does the process that started torchrun of a SIGKILL.
    """
    heed(leave)
    if starter := _starter():
        threading.Thread(target=_watch, args=(starter,), name="starter", daemon=True).start()


def stages(dvc: int) -> list[psutil.Process]:
    """What DVC has started, but for the shells between."""
    found, waiting = [], psutil.Process(dvc).children()
    while waiting:
        process = waiting.pop()
        if alive(process):
            waiting += process.children() if process.name() in SHELLS else []
            found += [] if process.name() in SHELLS else [process]
    return found


def alive(process: psutil.Process) -> bool:
    """Whether a process is there and more than a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _starter() -> psutil.Process | None:
    """The process whose death ends the stage: our launcher, or DVC; None for a stage that a person has started."""
    if pid := os.environ.get(STARTER):
        return psutil.Process(int(pid)) if psutil.pid_exists(int(pid)) else psutil.Process(os.getppid())
    if "DVC_STAGE" in os.environ:
        return next((each for each in psutil.Process().parents() if each.name() not in SHELLS), None)
    return None


def _watch(starter: psutil.Process) -> None:
    while alive(starter):
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def wait_for(child: subprocess.Popen[bytes], pass_on: Callable[[int], object]) -> int:
    """The status of a child process. A notice that comes meanwhile goes to ``pass_on``, which sees that the child ends.

    Raises:
        SystemExit: the child failed after a notice; with the notice's status.
    """
    noticed = 0

    def notice(number: int, _frame: object) -> None:
        nonlocal noticed
        noticed = number
        detach(number)
        pass_on(number)

    heed(notice)
    status = child.wait()
    if status and noticed:
        raise SystemExit(NOTICES[signal.Signals(noticed)])
    return status


def repro(arguments: list[str]) -> None:
    """``dvc repro`` that passes a notice on to the stage at work, waits for it, and ends with its status.

    DVC itself dies of SIGTERM at once, and with it the container or systemd unit whose first process it is.
    """
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro", *arguments], start_new_session=True)

    def pass_on(number: int) -> None:
        ignore()
        dvc.send_signal(signal.SIGSTOP)  # it starts no further stage
        at_work = stages(dvc.pid)
        for stage in at_work:
            stage.send_signal(number)
        while any(map(alive, at_work)):
            time.sleep(0.1)
        dvc.terminate()
        dvc.send_signal(signal.SIGCONT)

    raise SystemExit(wait_for(dvc, pass_on))

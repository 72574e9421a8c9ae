"""What stops a run early: bad numbers, a loss that runs away, no progress, a notice.

:mod:`socrates.runs.session` gives every process the same numbers, so that all stop at the same step.
"""

import faulthandler
import math
import os
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Self

from socrates.core.errors import TrainingError
from socrates.runs import signals
from socrates.runs.checkpoints import newest_in_words

STALLED = 76  # exit status of a process without progress
WINDOW = 100  # steps behind the running median
WARM_UP = 20  # steps before the median means anything
SPIKE_STEPS = 20  # consecutive steps far above the median before the run stops
LEAVING = 2.0  # seconds kept, of those after a notice, for saying what is not backed up and ending


class StopTraining(TrainingError):
    """A guard ends the run. The message says why, and which checkpoints are good."""


class LossGuard:
    """Stops on a loss or gradient norm that is not finite, and on a loss that stays far above its median.

    ``above`` counts the steps in a row whose loss was above ``multiple`` times the median of the last ``WINDOW``
    steps: no checkpoint is written then, so that a diverged state never pushes a good one out.
    ``multiple`` None turns the second test off. After a resume the median starts anew.
    """

    def __init__(self, multiple: float | None) -> None:
        self._multiple = multiple
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self.above = 0

    def __call__(self, step: int, loss: float, grad_norm: float | None) -> None:
        """``grad_norm`` is before clipping, None where the backend does not tell. Raises :class:`StopTraining`."""
        for what, value in (("loss", loss), ("gradient norm", grad_norm)):
            if value is not None and not math.isfinite(value):
                told = f"the {what} is {value}; nothing was saved at this step, the checkpoints before it are good"
                raise StopTraining(f"step {step}: {told}; lower train.learning_rate")
        if self._multiple is None:
            return
        median = statistics.median(self._recent) if len(self._recent) >= WARM_UP else math.inf
        if loss <= self._multiple * median:
            self.above = 0
            self._recent.append(loss)
            return
        self.above += 1  # not part of the median, or a long spike would become the normal
        if self.above >= SPIKE_STEPS:
            above = f"above {self._multiple:g} times its running median ({median:.4g}) for {self.above} steps"
            good = f"the checkpoints before step {step - self.above + 1} are good"
            mend = "lower train.learning_rate or raise run.spike_multiple"
            raise StopTraining(f"step {step}: the loss ({loss:.4g}) has been {above}; {good}; {mend}")


class Watchdog:
    """Ends a process without a :meth:`heartbeat` for ``minutes`` (None: never), with the status ``STALLED``.

    A thread prints the stacks and calls ``on_timeout`` with the reason. A main thread that hangs in a collective or a
    driver cannot be woken, so the process exits hard; nothing is saved.
    """

    def __init__(self, minutes: float | None, on_timeout: Callable[[str], object], folder: Path) -> None:
        self._minutes, self._on_timeout, self._folder = minutes, on_timeout, folder
        self._heard, self._stopped = threading.Event(), False
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def heartbeat(self) -> None:
        self._heard.set()

    def stop(self) -> None:
        self._stopped = True
        self._heard.set()

    def _watch(self) -> None:
        while self._heard.wait(self._minutes and min(self._minutes * 60, threading.TIMEOUT_MAX)):
            self._heard.clear()
            if self._stopped:
                return
        mend = "start again to go on, or raise run.stall_minutes if a step takes that long"
        reason = f"no progress for {self._minutes:.3g} minutes; {newest_in_words(self._folder)}; {mend}"
        faulthandler.dump_traceback(all_threads=True)
        try:
            self._on_timeout(reason)
        except Exception as error:
            print(f"error: {error}", file=sys.stderr)
        print(f"error: {reason}", file=sys.stderr, flush=True)
        os._exit(STALLED)


class Termination:
    """Turns a notice (SIGTERM, SIGHUP, Ctrl+C) into a request that the training loop answers after its step.

    ``seconds`` after it the process ends with the notice's status in any case, also when the main thread or a store
    hangs: a thread hears the signal through a pipe and waits. A checkpoint being written then has no manifest, so
    only complete ones are left. A second notice changes nothing. Enter and leave it in the main thread; after a
    notice the forced exit stays armed. ``requested`` is the signal's number, 0 before one.
    """

    def __init__(self, seconds: float, folder: Path) -> None:
        self._seconds, self._folder, self._deadline = seconds, folder, math.inf
        self.requested = 0

    @property
    def left(self) -> float:
        """Seconds for what is still to be done, short of those that ending takes; infinite before a notice."""
        return max(self._deadline - time.monotonic() - LEAVING, 0.0)

    def __enter__(self) -> Self:
        self._former = signals.heed(self._request)
        reading, self._pipe = os.pipe()
        os.set_blocking(self._pipe, False)
        # Written to where the signal arrives, also while the main thread runs no Python code.
        signal.set_wakeup_fd(self._pipe, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(reading,), name="termination", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        os.close(self._pipe)
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _request(self, number: int, _frame: FrameType | None) -> None:
        signals.detach(number)
        if not self.requested:
            self.requested = number
            self._deadline = time.monotonic() + self._seconds

    def _watch(self, reading: int) -> None:
        with open(reading, "rb", buffering=0) as pipe:
            while (number := pipe.read(1)) and number[0] not in self._former:
                pass
        if not number:  # left without a notice
            return
        notice = signal.Signals(number[0])
        time.sleep(self._seconds)
        told = f"{self._seconds:g} s after {notice.name} (run.backup.stop_seconds) the process had not ended by itself"
        lost = f"what was being written or sent is lost; {newest_in_words(self._folder)}"
        print(f"error: {told}; {lost}", file=sys.stderr, flush=True)
        os._exit(signals.NOTICES[notice])

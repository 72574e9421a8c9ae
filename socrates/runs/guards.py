"""What stops a run early: bad numbers, a loss that runs away, no progress, a notice.

The guards know nothing of torch; :mod:`socrates.runs.callbacks` feeds them the same numbers on every process, so that
all processes stop at the same step.
"""

from __future__ import annotations

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
from types import FrameType

from socrates.core.errors import TrainingError
from socrates.runs import signals

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
        """``grad_norm`` is before clipping, None where the backend does not tell.

        Raises:
            StopTraining: never worth a checkpoint, the weights are already spoilt.
        """
        for what, value in (("loss", loss), ("gradient norm", grad_norm)):
            if value is not None and not math.isfinite(value):
                raise StopTraining(
                    f"step {step}: the {what} is {value}; nothing was saved at this step, the "
                    "checkpoints before it are good; lower train.learning_rate"
                )
        if self._multiple is None:
            return
        median = statistics.median(self._recent) if len(self._recent) >= WARM_UP else math.inf
        if loss <= self._multiple * median:
            self.above = 0
            self._recent.append(loss)
            return
        self.above += 1  # not part of the median, or a long spike would become the normal
        if self.above >= SPIKE_STEPS:
            raise StopTraining(
                f"step {step}: the loss ({loss:.4g}) has been above {self._multiple:g} times its "
                f"running median ({median:.4g}) for {self.above} steps; the checkpoints before step "
                f"{step - self.above + 1} are good; lower train.learning_rate or raise "
                "run.spike_multiple"
            )


class Watchdog:
    """Ends a process that makes no progress, with the status ``STALLED``.

    A thread looks at the time of the last :meth:`heartbeat`. When it is older than ``seconds``, the stacks are
    printed and ``on_timeout`` is called with the reason. A main thread that hangs in a collective or a driver
    cannot be woken, so the process exits hard; nothing is saved.
    """

    def __init__(
        self, seconds: float, on_timeout: Callable[[str], object], newest: Callable[[], str] = str
    ) -> None:
        self._seconds, self._on_timeout, self._newest = seconds, on_timeout, newest
        self._stopped = threading.Event()
        self.heartbeat()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def heartbeat(self) -> None:
        self._last_heartbeat = time.monotonic()

    def stop(self) -> None:
        """Watch no longer: what follows has a limit of its own."""
        self._stopped.set()

    def _watch(self) -> None:
        while time.monotonic() - self._last_heartbeat < self._seconds:
            if self._stopped.wait(min(self._seconds / 4, 5.0)):
                return
        reason = (
            f"no progress for {self._seconds / 60:.3g} minutes; {self._newest()}; start again to go on, or raise "
            "run.stall_minutes if a step takes that long"
        )
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
    notice the forced exit stays armed.

    Args:
        newest: says which checkpoint is left (:func:`socrates.runs.checkpoints.newest_in_words`).

    Attributes:
        requested: the signal's number; 0 before one.
    """

    def __init__(self, seconds: float = math.inf, newest: Callable[[], str] = str) -> None:
        self.requested = 0
        self._seconds, self._newest = seconds, newest
        self._deadline = math.inf

    @property
    def left(self) -> float:
        """Seconds for what is still to be done, short of those that ending takes; infinite before a notice."""
        return max(self._deadline - time.monotonic() - LEAVING, 0.0)

    def __enter__(self) -> Termination:
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
        if not number or math.isinf(self._seconds):
            return
        notice = signal.Signals(number[0])
        time.sleep(self._seconds)
        print(
            f"error: {self._seconds:g} s after {notice.name} (run.backup.stop_seconds) the process had not ended by "
            f"itself; what was being written or sent is lost; {self._newest()}",
            file=sys.stderr,
            flush=True,
        )
        os._exit(signals.NOTICES[notice])

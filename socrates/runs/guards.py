"""What stops a run early: bad numbers, a loss that runs away, no progress, a failed go/no-go gate, a notice.

The guards know nothing of torch; :mod:`socrates.runs.callbacks` feeds them the same :class:`StepMetrics` on every
process, so that all processes stop at the same step.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from socrates.core.errors import TrainingError
from socrates.runs import signals

STALLED = 76  # exit status of a process without progress
WINDOW = 100  # steps behind the running median
WARM_UP = 20  # steps before the median means anything
SPIKE_STEPS = 20  # consecutive steps far above the median before the run stops
GATE_IMPROVEMENT = 0.02  # share by which the gate wants the base model's validation loss beaten
LEAVING = 2.0  # seconds kept, of those after a notice, for saying what is not backed up and ending


@dataclass(frozen=True)
class StepMetrics:
    """One optimiser step, measured over all processes."""

    step: int  # optimiser steps taken, this one included
    steps: int  # of the whole run
    loss: float  # mean over the global batch, in nats per answer (of GRPO: its own)
    grad_norm: float | None  # before clipping; None where the backend does not tell
    tokens: int  # input tokens of this step over all processes, as TRL counts them
    seconds: float  # since the last step ended
    memory_bytes: int  # most that one process has held, of its GPU or without one resident


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

    def __call__(self, metrics: StepMetrics) -> None:
        """Raises :class:`StopTraining`, never worth a checkpoint: the weights are already spoilt."""
        for what, value in (("loss", metrics.loss), ("gradient norm", metrics.grad_norm)):
            if value is not None and not math.isfinite(value):
                raise StopTraining(
                    f"step {metrics.step}: the {what} is {value}; nothing was saved at this step, the "
                    "checkpoints before it are good; lower train.learning_rate"
                )
        if self._multiple is None:
            return
        median = statistics.median(self._recent) if len(self._recent) >= WARM_UP else math.inf
        if metrics.loss <= self._multiple * median:
            self.above = 0
            self._recent.append(metrics.loss)
            return
        self.above += 1  # not part of the median, or a long spike would become the normal
        if self.above >= SPIKE_STEPS:
            raise StopTraining(
                f"step {metrics.step}: the loss ({metrics.loss:.4g}) has been above {self._multiple:g} times its "
                f"running median ({median:.4g}) for {self.above} steps; the checkpoints before step "
                f"{metrics.step - self.above + 1} are good; lower train.learning_rate or raise "
                "run.spike_multiple"
            )


def no_go(history: Sequence[Mapping[str, Any]], gate_step: int | None) -> str | None:
    """Why the run must stop, if the adapter did not beat the base model by ``gate_step``; else None.

    ``history`` is the trainer's log; of it the entries ``{"step": n, "eval_loss": x}`` count. Step 0 is the base
    model, since a new adapter changes nothing. The first evaluation at or after ``gate_step`` must be at
    most ``1 - GATE_IMPROVEMENT`` times its loss. The verdict depends on the history alone, so a run that was
    stopped here is stopped again when it is only started again.
    """
    losses = {int(entry["step"]): float(entry["eval_loss"]) for entry in history if "eval_loss" in entry}
    reached = [step for step in sorted(losses) if gate_step is not None and step >= gate_step]
    if not reached:
        return None
    if 0 not in losses:
        return (
            "run.gate_step is set but the base model's validation loss (step 0) was not measured; "
            "set it to null, or start afresh"
        )
    base, loss = losses[0], losses[reached[0]]
    if loss <= (1 - GATE_IMPROVEMENT) * base:
        return None
    return (
        f"no-go at step {reached[0]}: validation loss {loss:.4f} against the base model's {base:.4f} "
        f"improves by {1 - loss / base:.1%}, {GATE_IMPROVEMENT:.1%} is asked for; change "
        "the experiment, or set run.gate_step to null to go on"
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

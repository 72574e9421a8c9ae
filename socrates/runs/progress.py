"""The progress of a training in one line: a live bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from socrates.runs.guards import StepMetrics

RECENT = 20  # steps behind the shown speed and the time left


class ProgressBar:
    """Shows steps, time left, tokens per second, loss and memory.

    Args:
        every: steps between two lines where stderr is not a terminal.
    """

    def __init__(self, every: int) -> None:
        self._every = every
        self._recent: deque[StepMetrics] = deque(maxlen=RECENT)
        self._bar: tqdm[None] | None = None

    def __call__(self, metrics: StepMetrics, ending: str) -> None:
        """Show a step by the means of the recent ones; ``ending`` is put at the end of its line."""
        self._recent.append(metrics)
        seconds = sum(recent.seconds for recent in self._recent)
        tokens = sum(recent.tokens for recent in self._recent)
        left = (metrics.steps - metrics.step) * seconds / len(self._recent)
        text = (
            f"{metrics.step}/{metrics.steps} steps, {duration(left)} left, "
            f"{tokens / max(seconds, 1e-9):,.0f} tokens/s, loss {metrics.loss:.4f}, "
            f"{metrics.memory_bytes / 2**30:.1f} GiB, {ending}"
        )
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=metrics.steps, initial=metrics.step - 1, bar_format="{bar:20} {desc}")
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(1)
        elif metrics.step % self._every == 0 or metrics.step == metrics.steps:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def backup_words(state: Mapping[str, Any] | None) -> str:
    """The state of a backup (:attr:`socrates.runs.backup.Uploader.state`); None where there is none."""
    if not state:
        return "no backup"
    if state["error"]:
        return f"backup FAILING, {len(state['waiting'])} behind ({state['error']})"
    if state["waiting"]:
        return f"backup {len(state['waiting'])} behind"
    return "no backup yet" if state["done"] is None else f"backed up to step {state['done']}"


def duration(seconds: float) -> str:
    """A length of time in its two largest units, such as ``3 d 4 h`` or ``12 min``."""
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {smaller}"
    return f"{int(seconds // 60)} min" if seconds >= 60 else f"{int(seconds)} s"

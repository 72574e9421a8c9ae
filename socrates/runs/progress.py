"""The progress of a training in one line: a live bar on a terminal, plain lines in a log file."""

import math
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from socrates.runs.log import Line

RECENT = 20  # steps behind the shown speed and the time left


class ProgressBar:
    """Shows where a training stands, from the ``step`` lines of its log; without a terminal, from ``every`` so many."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._recent: deque[Line] = deque(maxlen=RECENT)
        self._bar: tqdm[None] | None = None

    def __call__(self, line: Line) -> None:
        self._recent.append(line)
        step, steps, text = line["step"], line["steps"], progress_words(self._recent)
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=steps, initial=step - 1, bar_format="{bar:20} {desc}")
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(1)
        elif step % self._every == 0 or step == steps:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def progress_words(recent: Sequence[Line]) -> str:
    """Where a training stands by its latest ``step`` lines; speed and time left by their means."""
    last, seconds = recent[-1], sum(line["seconds"] for line in recent)
    left = (last["steps"] - last["step"]) * seconds / len(recent)
    loss = math.nan if last["loss"] is None else last["loss"]
    return (
        f"{last['step']}/{last['steps']} steps, {duration(left)} left, "
        f"{sum(line['tokens'] for line in recent) / max(seconds, 1e-9):,.0f} tokens/s, loss {loss:.4f}, "
        f"{last['memory_bytes'] / 2**30:.1f} GiB, ${last['usd']:.2f}, {backup_words(last['backup'])}"
    )


def backup_words(state: Mapping[str, Any] | None) -> str:
    """The :attr:`socrates.runs.backup.Uploader.state` of a backup; None where there is none."""
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

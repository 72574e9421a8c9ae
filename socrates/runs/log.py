"""One JSON line a step, flushed, beside the record of the run and outside the hashed outputs; the progress by it.

Every attempt of a run appends to ``runs/<stage>.jsonl``, so that the time and money of lost steps stay visible. A
line has an ``event``: start, machine, trial, plan, step, evaluate, checkpoint, stop or end.
"""

import contextlib
import json
import logging
import math
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

Line = dict[str, Any]
RECENT = 20  # steps behind the shown speed and the time left

log = logging.getLogger(__name__)


class RunLog:
    """Appends lines to ``path``; each line is one write, so a killed process leaves at most one torn line.

    ``resumed_from`` is the step of the checkpoint that this attempt starts from, 0 for a fresh start; ``steps`` those
    of the whole run. ``usd_per_hour`` is the price of the whole machine or cluster.
    """

    def __init__(
        self, path: Path, usd_per_hour: float, fingerprint: str, resumed_from: int, steps: int
    ) -> None:
        earlier = [line for line in read_lines(path) if line.get("fingerprint") == fingerprint]
        self._usd_before = earlier[-1]["usd"] if earlier else 0.0
        self._usd_per_hour, self._fingerprint = usd_per_hour, fingerprint
        self._started = time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        if self._file.tell() and not path.read_bytes().endswith(b"\n"):
            self._file.write(b"\n")  # after a line that a kill has torn
        self("start", step=resumed_from, steps=steps)

    def __call__(self, event: str, **values: Any) -> Line:
        """Append one line, and return it; numbers that are not finite become null, as JSON has none.

        ``usd`` is the cost so far of all attempts of this fingerprint together, lost steps included.
        """
        usd = self._usd_before + (time.monotonic() - self._started) / 3600 * self._usd_per_hour
        line = {"event": event, "time": round(time.time(), 3), "usd": round(usd, 6)}
        line |= {"fingerprint": self._fingerprint, **values}
        finite: Line = json.loads(json.dumps(line), parse_constant=lambda _: None)
        try:
            self._file.write(json.dumps(finite, ensure_ascii=False).encode() + b"\n")
        except OSError as error:  # a full disk of the log is no reason to end a training
            log.warning("%s: a line could not be written (%s)", self._file.name, error.strerror)
        return finite

    def close(self) -> None:
        self._file.close()


def read_lines(path: Path) -> list[Line]:
    """Every whole line of a run log; torn ones are passed over. Empty where there is no file."""
    lines = []
    for text in path.read_bytes().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):
            line = json.loads(text)
            if isinstance(line, dict) and "event" in line and isinstance(line.get("usd"), int | float):
                lines.append(line)
    return lines


@dataclass
class History:
    """The run as it stands: what a resume went back behind is left out."""

    steps: list[Line]  # the ``step`` lines, ascending
    evaluations: list[Line]  # the ``evaluate`` lines, ascending
    last: Line  # the latest of any kind, empty where there is none
    attempts: int  # how often the run was started


def history(lines: list[Line]) -> History:
    """The history of the last fingerprint in a run log."""
    lines = [line for line in lines if line.get("fingerprint") == lines[-1].get("fingerprint")]
    kept: list[Line] = []
    for line in lines:
        if line["event"] == "start":
            kept = [earlier for earlier in kept if earlier["step"] <= line["step"]]
        elif line["event"] in ("step", "evaluate"):
            kept.append(line)
    steps, evaluations = ([line for line in kept if line["event"] == event] for event in ("step", "evaluate"))
    attempts = sum(line["event"] == "start" for line in lines)
    return History(steps, evaluations, lines[-1] if lines else {}, attempts)


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
    if not (state := last["backup"]):
        backup = "no backup"
    elif state["error"]:
        backup = f"backup FAILING, {len(state['waiting'])} behind ({state['error']})"
    elif state["waiting"]:
        backup = f"backup {len(state['waiting'])} behind"
    else:
        backup = "no backup yet" if state["done"] is None else f"backed up to step {state['done']}"
    return (
        f"{last['step']}/{last['steps']} steps, {duration(left)} left, "
        f"{sum(line['tokens'] for line in recent) / max(seconds, 1e-9):,.0f} tokens/s, loss {loss:.4f}, "
        f"{last['memory_bytes'] / 2**30:.1f} GiB, ${last['usd']:.2f}, {backup}"
    )


def duration(seconds: float) -> str:
    """A length of time in its two largest units, such as ``3 d 4 h`` or ``12 min``."""
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} {int(seconds % size // part)} {smaller}"
    return f"{int(seconds // 60)} min" if seconds >= 60 else f"{int(seconds)} s"

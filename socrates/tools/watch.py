"""A live view of a running training, from another shell (``socrates watch``): it only reads the run's log."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from socrates.core.errors import DataError
from socrates.runs.log import RECENT, History, duration, history, progress_words, read_lines

BARS, WIDTH = "▁▂▃▄▅▆▇█", 60  # of a sparkline
QUIET = 120.0  # seconds without a line after which the view says so


def sparkline(values: Sequence[float | None], width: int) -> str:
    """``values`` as at most ``width`` bars; neighbours are averaged, and a gap stands for missing values."""
    if not values:
        return ""
    numbers = np.array(values, dtype=float)  # None becomes NaN
    known = [part[~np.isnan(part)] for part in np.array_split(numbers, min(width, len(values)))]
    means = [part.mean() if len(part) else None for part in known]
    low, high = (end((mean for mean in means if mean is not None), default=0.0) for end in (min, max))
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(" " if mean is None else BARS[round((mean - low) * scale)] for mean in means)


def view(run: History, now: float) -> RenderableType:
    """The panel for a run, at the time ``now`` (seconds since the epoch)."""
    if not run.last:
        return Panel("no run yet: the log is empty", title="training")
    table = Table.grid(padding=(0, 2))
    for label, unit, lines, key in (
        ("loss", ".4f", run.steps, "loss"),
        ("validation loss", ".4f", run.evaluations, "eval_loss"),
        ("gradient norm", ".3f", run.steps, "grad_norm"),
        ("learning rate", ".2e", run.steps, "learning_rate"),
        ("tokens/s", ",.0f", run.steps, "tokens_per_second"),
    ):
        values = [line.get(key) for line in lines]
        last = next((value for value in reversed(values) if value is not None), None)
        table.add_row(label, "-" if last is None else format(last, unit), sparkline(values, WIDTH))
    stopped = run.last["event"] == "stop"
    ending = f"stopped: {run.last.get('reason', 'finished')}" if stopped else None
    told = progress_words(run.steps[-RECENT:]) if run.steps else f"${run.last['usd']:.2f}"
    silent = now - run.last["time"]
    told += f", silent for {duration(silent)}" if silent > QUIET and not stopped else ""
    body = Group(Text(f"attempt {run.attempts}: {told}"), "", table)
    return Panel(body, title=f"training {run.last['fingerprint'][:12]}", subtitle=ending)


def state(log: Path) -> dict[str, Any]:
    """Where the run of a log stands: its attempts, latest step, latest validation and latest line of any kind."""
    run = history(read_lines(log))
    step, evaluation = (lines[-1] if lines else None for lines in (run.steps, run.evaluations))
    return {"attempts": run.attempts, "step": step, "evaluation": evaluation, "last": run.last or None}


def watch(log: Path, once: bool) -> None:
    """Show the view, again every 2 seconds until Ctrl+C unless ``once``."""
    try:
        panel = view(history(read_lines(log)), time.time())
        with contextlib.suppress(KeyboardInterrupt), Live(panel, auto_refresh=False) as live:
            while not once:
                time.sleep(2)
                live.update(view(history(read_lines(log)), time.time()), refresh=True)
    except (KeyError, TypeError) as error:
        raise DataError(f"{log}: not a training's log, or an older version's ({error} missing)") from None

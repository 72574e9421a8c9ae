"""The progress of a training in one line: a live bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
from collections import deque

import polars as pl
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
        """Show a step; ``ending`` is put at the end of its line."""
        self._recent.append(metrics)
        text = f"{self.describe(metrics)}, {ending}"
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=metrics.steps, initial=metrics.step - 1, bar_format="{bar:20} {desc}")
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(1)
        elif metrics.step % self._every == 0 or metrics.step == metrics.steps:
            print(text, file=sys.stderr, flush=True)

    def describe(self, metrics: StepMetrics) -> str:
        """The line of a step, by the means of the recent ones."""
        seconds = sum(recent.seconds for recent in self._recent)
        tokens = sum(recent.tokens for recent in self._recent)
        left = (metrics.steps - metrics.step) * seconds / len(self._recent)
        return (
            f"{metrics.step}/{metrics.steps} steps, {duration(left)} left, "
            f"{tokens / max(seconds, 1e-9):,.0f} tokens/s, loss {metrics.loss:.4f}, "
            f"{metrics.memory_bytes / 2**30:.1f} GiB"
        )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """A length of time in its two largest units, such as ``3 d 4 h`` or ``12 min``."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if days >= 1:
        return f"{int(days)} d {int(hours % 24)} h"
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{int(minutes)} min" if minutes >= 1 else f"{int(seconds)} s"


def curve_summary(curves: pl.DataFrame, rows: int = 12) -> str:
    """The training curves as a table: every row with a validation loss, and others evenly between, about ``rows``."""
    every = max(len(curves) // rows, 1)
    shown = curves.with_row_index().filter(
        pl.col("validation_loss").is_not_null() | (pl.col("index") % every == 0)
    )
    columns = ["step", "loss", "validation_loss", "answer_token_accuracy", "learning_rate"]
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        return str(shown.select(columns))

"""The progress of a training in one line: a live bar on a terminal, plain lines in a log file."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

import polars as pl
from tqdm import tqdm

from socrates.runs.guards import Step

RECENT = 20  # steps behind the shown speed and the time left
TABLE = {  # of the curves: column -> (head, format)
    "step": ("step", "d"),
    "loss": ("loss", ".4f"),
    "validation_loss": ("validation loss", ".4f"),
    "answer_token_accuracy": ("token accuracy", ".1%"),
    "learning_rate": ("learning rate", ".2e"),
}


class Meter:
    """An observer of steps.

    Args:
        usd: cost so far in dollars.
        backup: state of the backup in a few words.
        every: steps between two lines where stderr is not a terminal.
    """

    def __init__(self, usd: Callable[[], float], backup: Callable[[], str], every: int) -> None:
        self._usd = usd
        self._backup = backup
        self._every = every
        self._recent: deque[Step] = deque(maxlen=RECENT)
        self._bar: tqdm[None] | None = None

    def __call__(self, step: Step) -> None:
        self._recent.append(step)
        text = self.describe(step)
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = tqdm(total=step.steps, initial=step.step - 1, bar_format="{bar:20} {desc}")
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(1)
        elif step.step % self._every == 0 or step.step == step.steps:
            print(text, file=sys.stderr, flush=True)

    def describe(self, step: Step) -> str:
        """Steps, time left, tokens per second, loss, memory, cost and backup."""
        seconds = sum(recent.seconds for recent in self._recent)
        tokens = sum(recent.tokens for recent in self._recent)
        left = (step.steps - step.step) * seconds / len(self._recent)
        speed = tokens / max(seconds, 1e-9)
        return (
            f"{step.step}/{step.steps} steps, {duration(left)} left, {speed:,.0f} tokens/s, "
            f"loss {step.loss:.4f}, {step.memory_bytes / 2**30:.1f} GiB, ${self._usd():.2f}, {self._backup()}"
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


def table(curves: pl.DataFrame, rows: int = 12) -> str:
    """The curves (metrics/train.csv) as a table of at most ``rows`` lines, first and last step among them.

    Steps with a validation loss go before others. A column that is not there, and a value that was not
    measured, is a dash.
    """
    measured = curves.get_column("validation_loss", default=pl.Series([None] * len(curves))).is_not_null()
    chosen = set(_spread(list(measured.arg_true()), rows))
    chosen |= set(_spread([i for i in range(len(curves)) if i not in chosen], rows - len(chosen)))
    lines = ["  ".join(f"{head:>15}" for head, _ in TABLE.values())]
    for row in curves[sorted(chosen)].iter_rows(named=True):
        values = [(row.get(column), form) for column, (_, form) in TABLE.items()]
        shown = ["-" if value is None else format(value, form) for value, form in values]
        lines.append("  ".join(f"{text:>15}" for text in shown))
    return "\n".join(lines)


def _spread(items: list[int], count: int) -> list[int]:
    """At most ``count`` of ``items``, evenly from the first to the last."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]

"""Ways of doing the same work, timed in turn, and the tables that report them.

On a GPU a time is what the wall clock shows, on a CPU the processor time of the process: the benchmarks compute on
one thread, where both are the same on an idle machine, and only the wall clock counts other people's work.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import numpy as np
import torch

from socrates.reporting.markdown import markdown_table

Line = list[object]


def here() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def line(
    what: str, ours: object, unit: str = "", theirs: Sequence[object] = ("", ""), ratio: object = ""
) -> Line:
    """A line of a table; ``theirs``: the name of what ours is held against, and its figure."""
    return [what, *theirs, ours, unit, ratio]


def interleaved(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in each round.

    In a round each way runs once, in an order that rotates, so that a machine that slows down slows all of
    them. One round more is run first and forgotten.

    Args:
        ways: name -> what runs it once and returns its seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(rounds + 1):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            taken = ways[name]()
            if turn:
                seconds[name].append(taken)
    return seconds


def clocked(work: Callable[[], object], device: torch.device) -> Callable[[], float]:
    """``work`` as a way for :func:`interleaved`: the seconds it takes."""

    def run() -> float:
        started = clock(device)
        work()
        return clock(device) - started

    return run


def clock(device: torch.device) -> float:
    """Seconds of this process, once a GPU has done what it still had to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def ratio(seconds: Mapping[str, Sequence[float]], baseline: str, ours: str) -> float:
    """How many times faster ``ours`` is: the median over rounds of the ratio within a round."""
    return float(np.median(np.array(seconds[baseline]) / np.array(seconds[ours])))


def conditions(rounds: int) -> str:
    """One line: versions, threads, device, rounds."""
    names = ("torch", "transformers", "trl", "peft", "bitsandbytes")
    packages = ", ".join(f"{name} {version(name)}" for name in names)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return f"{packages}; {device}, {torch.get_num_threads()} thread(s); medians of {rounds} rounds in turn"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; floats with three significant digits."""
    return markdown_table(header, (list(map(_cell, row)) for row in rows))


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"

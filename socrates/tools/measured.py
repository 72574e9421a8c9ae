"""The speed that an earlier training reached on this machine, from its log."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from socrates.runs.log import history, read_lines
from socrates.tools.estimate import Shape, of_training


def cpu_rate(folder: Path, sections: Mapping[str, Any], form: Shape) -> float | None:
    """Operations per second of the last training logged in ``folder``, on a CPU, of a model of this shape.

    None where there is no such run: the log says nothing of the model, so the built-in one is believed to
    be the one that ``params.yaml`` names, and no other is.
    """
    if not sections["model"].builtin:
        return None
    lines = read_lines(folder / "runs/train.jsonl")
    run = history(lines)
    devices = [line["device"] for line in lines if line["event"] == "machine"]
    if not run.steps or not devices or not devices[-1].startswith("CPU"):
        return None
    speeds = [line["tokens"] / line["seconds"] for line in run.steps if line["seconds"] > 0]
    return of_training(form, sections["train"]) * statistics.median(speeds)

"""A figure of several runs against the setting in which they differ (``socrates curve``): learning curves, grids."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from ruamel.yaml import YAML

from socrates.core.errors import DataError
from socrates.core.params import flat
from socrates.reporting.figures import WIDTH, look, to_svg
from socrates.reporting.markdown import markdown_table
from socrates.tools.compare import read_at

COLUMNS = {  # of metrics/headline.json, for a predictor
    "wasserstein": "W",
    "log_likelihood": "log score",
    "crps": "CRPS",
    "effects.r": "effects r",
    "persona.log_shuffled": "own persona, nats",
}
ALIKE = 1.1  # times as many tokens are still about as many
Point = dict[str, Any]  # ``run``, the parameter's value under its key, ``tokens`` trained on, and COLUMNS


def read_point(revision: str, key: str, predictor: str) -> Point:
    """What a run found; DataError where there is no such run, parameter or predictor."""
    params = read_at(revision, Path("params.yaml"), lambda text: dict(flat(YAML(typ="safe").load(text))))
    headline = read_at(revision, Path("metrics/headline.json"), json.loads)
    trained = read_at(revision, Path("models/adapter/training.json"), json.loads)
    if key not in params:
        raise DataError(f"{key}: no such parameter in params.yaml of run {revision}")
    if f"{predictor}.wasserstein" not in headline:
        raise DataError(f"metrics/headline.json of run {revision} has no predictor {predictor}")
    found = {name: headline.get(f"{predictor}.{name}") for name in COLUMNS}
    ends = {end: headline.get(f"{predictor}.wasserstein_{end}") for end in ("low", "high")}
    return {"run": revision, key: params[key], "tokens": trained["tokens"], **found, **ends}


def markdown(points: Sequence[Point], key: str) -> str:
    """The runs as a table, in the order given."""
    rows = []
    for point in points:
        values = ["" if point[name] is None else f"{point[name]:.3f}" for name in COLUMNS]
        values[0] += f" ({point['low']:.3f} to {point['high']:.3f})" if point["low"] is not None else ""
        rows.append([point[key], f"{point['tokens']:,}", *values])
    return markdown_table([key, "tokens trained on", *COLUMNS.values()], rows)


@to_svg
def draw(points: Sequence[Point], key: str, predictor: str) -> Figure:
    """W with its interval, log score, CRPS and the persona's worth: over the tokens trained on where these differ, else
    over the values of ``key``."""
    by_tokens = max(point["tokens"] for point in points) > ALIKE * min(point["tokens"] for point in points)
    x = np.array([point["tokens"] if by_tokens else point[key] for point in points])
    shown = [name for name in COLUMNS if name != "effects.r"]
    canvas = Figure(figsize=(WIDTH, 1.5 * len(shown)))
    for axes, name in zip(canvas.subplots(len(shown), sharex=True), shown, strict=True):
        y = np.array([point[name] for point in points], dtype=float)  # NaN where there is none
        order = np.argsort(x)
        axes.plot(x[order], y[order], **look(predictor))
        for point, at, value in zip(points, x, y, strict=True):
            axes.annotate(str(point[key]), (at, value), (5, 3), textcoords="offset points")
        if name == "wasserstein":
            ends = np.array([[point["low"], point["high"]] for point in points], dtype=float).T
            axes.vlines(x, *ends, color=look(predictor)["color"], lw=1)
        if np.issubdtype(x.dtype, np.number) and x.min() > 0:
            axes.set_xscale("log")
        axes.set_xticks(x, [f"{at:.3g}" if by_tokens else str(at) for at in x])
        axes.minorticks_off()
        axes.margins(x=0.1, y=0.25)
        axes.set_title(COLUMNS[name], loc="left")
    axes.set_xlabel(f"tokens trained on; the labels are {key}" if by_tokens else key)
    return canvas

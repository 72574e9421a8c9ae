"""The figures, as SVG text that is equal for equal input. Each is as wide as a phone's screen."""

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec

import polars as pl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from socrates.evaluation.intervals import Estimate

P = ParamSpec("P")

WIDTH = 4.0  # inches, 384 CSS pixels
ROW = 0.19  # inches per row of a forest plot
STYLE: Any = {
    "svg.hashsalt": "socrates",  # otherwise the ids in the file are random
    "svg.fonttype": "path",  # the same on a machine without the font
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8,
    "axes.titlesize": 9,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.axisbelow", "axes.grid", "figure.constrained_layout.use"), True),
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.fontsize": 7.5,
}
# Okabe and Ito's colours, which colour-blind readers can tell apart; markers differ for print.
COLOURS = {
    "human": "#bdbdbd",
    "adapter": "#0072b2",
    "base": "#d55e00",
    "uniform": "#555555",
    "train_marginal": "#009e73",
    "paper": "#000000",
}
MARKERS = {"base": "s", "uniform": "|", "paper": "D"}
HOLLOW = ("base", "paper")
SHORT = {"human": "people", "adapter": "fine-tuned", "base": "base", "uniform": "uniform guess"}


def to_svg(draw: Callable[P, Canvas]) -> Callable[P, str]:
    """``draw`` with the common style, returning SVG text without date or version."""

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> str:
        with rc_context(STYLE):
            buffer = io.StringIO()
            draw(*args, **kwargs).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()

    return drawn


def _axes(height: float) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(WIDTH, height))
    return canvas, canvas.subplots()


def look(name: str, plain: bool = False) -> dict[str, Any]:
    """Colour and marker of a predictor for ``Axes.plot``; ``plain``: a filled circle for all but the paper."""
    plain = plain and name != "paper"
    colour, marker = COLOURS.get(name, "#777777"), "o" if plain else MARKERS.get(name, "o")
    face = "white" if name in HOLLOW and not plain else colour
    size = 9 if marker == "|" else 5  # a tall bar: it often lies where the base model does
    return {"color": colour, "marker": marker, "markersize": size, "markerfacecolor": face}


@to_svg
def forest(
    rows: Sequence[tuple[str, Mapping[str, Estimate]]], legend: Sequence[str] = (), plain: bool = False
) -> Canvas:
    """Points with their intervals, a row for each (label, predictor -> figure); one without a label is a gap.

    Later predictors are drawn above earlier ones; ``legend`` names some; ``plain``: those of a run share one marker.
    """
    canvas, axes = _axes(0.85 + 0.2 * bool(legend) + ROW * len(rows))
    for y, (_, points) in enumerate(rows):
        for name, point in points.items():
            if point.low is not None and point.high is not None:
                axes.plot([point.low, point.high], [y, y], color=look(name)["color"], linewidth=1.4)
            if point.value is not None:
                axes.plot([point.value], [y], linestyle="none", **look(name, plain))
    named = {y: text if len(text) < 50 else f"{text[:48]}…" for y, (text, _) in enumerate(rows) if text}
    axes.set_yticks([*named], [*named.values()])
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="W, share of the human range\n(lower is better)")
    axes.set_xlim(0)
    for name in legend:
        axes.plot([], [], linestyle="none", label=SHORT.get(name, name), **look(name))
    if legend:
        canvas.legend(loc="outside upper center", ncols=3, handletextpad=0.2, columnspacing=1)
    return canvas


@to_svg
def distribution(options: Sequence[int], sides: Mapping[str, Sequence[float]]) -> Canvas:
    """Share of each option (ascending) among people (bars) and as predicted (points); ``sides``: by predictor.

    Long scales are merged into at most 21 groups of 2, 5, 10, 20 ... neighbouring options, each named by its
    first: people prefer round numbers, and a group of six would hold two of those or one.
    """
    canvas, axes = _axes(1.9)
    sizes = (step * 10**power for power in range(10) for step in (1, 2, 5))
    size = next(size for size in sizes if size * 21 >= len(options))
    starts = range(0, len(options), size)
    x = range(len(starts))
    for name, values in sides.items():
        shares = [float(sum(values[start : start + size])) for start in starts]
        if name == "human":
            axes.bar(x, shares, color=COLOURS[name], label=SHORT[name], width=0.85)
        else:
            axes.plot(x, shares, linewidth=1.1, label=SHORT.get(name, name), **look(name) | {"markersize": 4})
    every = -(-len(starts) // 11)
    axes.set_xticks(x[::every], [f"{options[start]:,}" for start in starts[::every]])
    axes.grid(axis="x", visible=False)
    axes.set_ylim(bottom=0)
    axes.set(ylabel="share of answers", xlabel="answer" if size == 1 else f"answer, {size} options together")
    canvas.legend(loc="outside upper center", ncols=3, handletextpad=0.4, columnspacing=1)
    return canvas


@to_svg
def effects(table: pl.DataFrame, predictor: str) -> Canvas:
    """Effect of each condition as predicted (x) against people (y: columns human, with its standard error human_se)."""
    canvas, axes = _axes(3.0)
    known = table.drop_nulls([predictor, "human"])
    x, y, error = (known[name].to_numpy() for name in (predictor, "human", "human_se"))
    style = look(predictor) | {"markersize": 3.5, "markerfacecolor": None}
    axes.errorbar(x, y, yerr=error, elinewidth=0.6, alpha=0.75, linestyle="none", **style)
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.axvline(0, color="#999999", linewidth=0.8)
    reach = max([0.01, *abs(x).tolist(), *(abs(y) + error).tolist()]) * 1.05
    ends = -reach, reach
    axes.plot(ends, ends, color="#000000", linewidth=0.8, linestyle="--", label="equal")
    named = {"xlabel": "predicted effect, share of scale", "ylabel": "effect in people, share of scale"}
    axes.set(xlim=ends, ylim=ends, title=SHORT.get(predictor, predictor), **named)
    axes.legend(loc="upper left")
    return canvas


@to_svg
def curve(table: pl.DataFrame, columns: Mapping[str, str], ylabel: str, x: str, xlabel: str) -> Canvas:
    """Columns of a table over its column ``x``; ``columns`` maps them to labels."""
    canvas, axes = _axes(2.4)
    for (column, label), colour in zip(columns.items(), ("#0072b2", "#d55e00", "#009e73"), strict=False):
        known = table.select(x, column).drop_nulls()
        style = "s-" if column.startswith("validation") or x != "step" else "-"
        axes.plot(known[x], known[column], style, color=colour, label=label, markersize=4, linewidth=1.2)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend()
    return canvas

"""The figures, as SVG text that is equal for equal input. Each is as wide as a phone's screen."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import polars as pl
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from socrates.reporting.read import Estimate

P = ParamSpec("P")

WIDTH = 4.0  # inches, 384 CSS pixels
ROW = 0.19  # inches per row of a forest plot
STYLE: Any = {
    "svg.hashsalt": "socrates",  # otherwise the ids in the file are random
    "svg.fonttype": "path",  # the same on a machine without the font
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "figure.constrained_layout.use": True,
}
# Okabe and Ito's colours, which colour-blind readers can tell apart; markers differ for print.
COLOURS = {
    "human": "#bdbdbd",
    "adapter": "#0072b2",
    "base": "#d55e00",
    "uniform": "#555555",
    "train_marginal": "#009e73",
}
MARKERS = {"adapter": "o", "base": "s", "uniform": "|", "train_marginal": "D"}
_ROUND = [step * 10**power for power in range(10) for step in (1, 2, 5)]
NAMES = {"human": "people", "adapter": "fine-tuned", "base": "base", "uniform": "uniform guess"}


def drawn(make: Callable[P, Figure]) -> Callable[P, str]:
    """``make`` with the common style, returning SVG text without date or version."""

    @functools.wraps(make)
    def draw(*args: P.args, **kwargs: P.kwargs) -> str:
        with rc_context(STYLE):
            buffer = io.StringIO()
            make(*args, **kwargs).savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()

    return draw


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height))
    return figure, figure.subplots()


def _interval(
    axes: Axes, estimate: Estimate, y: float, colour: str, marker: str, filled: bool = True
) -> None:
    if estimate.value is None:
        return
    if estimate.low is not None and estimate.high is not None:
        axes.plot([estimate.low, estimate.high], [y, y], color=colour, linewidth=1.4)
    axes.plot(
        estimate.value, y, marker, color=colour, markersize=5, markerfacecolor=colour if filled else "white"
    )


@drawn
def headline(run: Sequence[tuple[str, str, Estimate]], paper: Sequence[tuple[str, Estimate]]) -> Figure:
    """W of every predictor with its interval, and the published figures below, hollow.

    Args:
        run: (predictor, label, W).
        paper: (label, W).
    """
    figure, axes = _axes(0.85 + ROW * 1.25 * (len(run) + len(paper) + 1))
    for y, (predictor, _, estimate) in enumerate(run):
        _interval(axes, estimate, y, COLOURS.get(predictor, "#777777"), "o")
    for y, (_, estimate) in enumerate(paper, len(run) + 1):
        _interval(axes, estimate, y, "#000000", "D", filled=False)
    labels = [label for _, label, _ in run], [f"paper: {label}" for label, _ in paper]
    axes.set_yticks(
        [*range(len(run)), *range(len(run) + 1, len(run) + 1 + len(paper))], [*labels[0], *labels[1]]
    )
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.set_xlabel("W, share of the human range\n(lower is better)")
    return figure


@drawn
def forest(studies: Sequence[tuple[str, dict[str, Estimate]]]) -> Figure:
    """W of each study: the fine-tuned model with its interval, base and uniform as points.

    Args:
        studies: (study, predictor -> W), in the order of the rows.
    """
    figure, axes = _axes(1.05 + ROW * len(studies))
    for y, (_, found) in enumerate(studies):
        base, uniform = (found.get(predictor, Estimate()).value for predictor in ("base", "uniform"))
        _interval(axes, Estimate(base), y, COLOURS["base"], MARKERS["base"], filled=False)
        if uniform is not None:  # taller than the others: it often lies where the base model does
            axes.plot(uniform, y, MARKERS["uniform"], color=COLOURS["uniform"], markersize=9)
        _interval(axes, found.get("adapter", Estimate()), y, COLOURS["adapter"], "o")
    axes.set_yticks(range(len(studies)), [study for study, _ in studies])
    axes.set_ylim(len(studies) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel("W, share of the human range\n(lower is better)")
    for predictor in ("adapter", "base", "uniform"):
        axes.plot(
            [],
            [],
            MARKERS[predictor],
            color=COLOURS[predictor],
            markerfacecolor=COLOURS[predictor] if predictor == "adapter" else "white",
            label=NAMES[predictor],
        )
    figure.legend(loc="outside upper center", ncols=3, handletextpad=0.2, columnspacing=1)
    return figure


@drawn
def distribution(options: Sequence[int], sides: dict[str, Sequence[float]]) -> Figure:
    """Share of each option among people (bars) and as predicted (points).

    Long scales are merged into at most 21 groups of 2, 5, 10, 20 ... neighbouring options, each named by its
    first: people prefer round numbers, and a group of six would hold two of those or one.

    Args:
        options: the allowed integers, ascending.
        sides: ``human``, ``adapter`` and ``base`` -> one probability per option.
    """
    figure, axes = _axes(1.9)
    size = next(size for size in _ROUND if size * 21 >= len(options))
    starts = range(0, len(options), size)
    place = range(len(starts))
    for name, values in sides.items():
        shares = [float(sum(values[start : start + size])) for start in starts]
        if name == "human":
            axes.bar(place, shares, color=COLOURS[name], label=NAMES[name], width=0.85)
        else:
            axes.plot(
                place,
                shares,
                f"{MARKERS[name]}-",
                color=COLOURS[name],
                label=NAMES[name],
                markersize=4,
                linewidth=1.1,
                markerfacecolor=COLOURS[name] if name == "adapter" else "white",
            )
    every = -(-len(starts) // 11)
    axes.set_xticks(place[::every], [f"{options[start]:,}" for start in starts[::every]])
    axes.grid(axis="x", visible=False)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of answers")
    axes.set_xlabel("answer" if size == 1 else f"answer, {size} options together")
    figure.legend(loc="outside upper center", ncols=3, handletextpad=0.4, columnspacing=1)
    return figure


@drawn
def effects(table: pl.DataFrame, predictor: str) -> Figure:
    """Effect of each condition as predicted (x) against people (y, with its standard error).

    Args:
        table: columns human, human_se and the predictor's.
    """
    figure, axes = _axes(3.0)
    known = table.drop_nulls([predictor, "human"])
    x, y, error = (known[name].to_numpy() for name in (predictor, "human", "human_se"))
    axes.errorbar(
        x,
        y,
        yerr=error,
        fmt=MARKERS[predictor],
        color=COLOURS[predictor],
        markersize=3.5,
        elinewidth=0.6,
        alpha=0.75,
        linestyle="none",
    )
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.axvline(0, color="#999999", linewidth=0.8)
    reach = max([0.01, *abs(x).tolist(), *(abs(y) + error).tolist()]) * 1.05
    axes.plot([-reach, reach], [-reach, reach], color="#000000", linewidth=0.8, linestyle="--", label="equal")
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach, reach)
    axes.set_title(NAMES[predictor])
    axes.set_xlabel("predicted effect, share of scale")
    axes.set_ylabel("effect in people, share of scale")
    axes.legend(loc="upper left")
    return figure


@drawn
def reliability(table: pl.DataFrame, predictors: Sequence[str]) -> Figure:
    """Share of right answers against confidence; the larger the point, the more answers.

    Args:
        table: columns predictor, confidence, correct, answers.
    """
    figure, axes = _axes(3.0)
    axes.plot([0, 1], [0, 1], color="#000000", linewidth=0.8, linestyle="--", label="calibrated")
    for predictor in predictors:
        rows = table.filter(pl.col("predictor") == predictor).sort("confidence")
        if rows.is_empty():
            continue
        share = (rows["answers"] / rows["answers"].sum()).to_numpy()
        x, y = rows["confidence"].to_numpy(), rows["correct"].to_numpy()
        axes.plot(x, y, color=COLOURS[predictor], linewidth=1)
        axes.scatter(
            x,
            y,
            s=12 + 140 * share,
            marker=MARKERS[predictor],
            facecolor=COLOURS[predictor] if predictor == "adapter" else "white",
            edgecolor=COLOURS[predictor],
            label=NAMES[predictor],
        )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence in the likeliest answer")
    axes.set_ylabel("share right")
    axes.legend(loc="upper left", markerscale=0.7)
    return figure


@drawn
def groups(table: pl.DataFrame, attribute: str) -> Figure:
    """Accuracy of fine-tuned (filled) and base model (hollow) in each group of an attribute.

    The axis is that of all attributes, so that the gaps of two figures can be compared by eye.

    Args:
        table: columns predictor, attribute, group, accuracy.
    """
    shown = table.filter(pl.col("predictor").is_in(["base", "adapter"]))["accuracy"].drop_nulls().to_list()
    rows = table.filter(pl.col("attribute") == attribute)
    names = rows["group"].unique(maintain_order=True).to_list()
    figure, axes = _axes(0.85 + ROW * len(names))
    for predictor in ("base", "adapter"):
        of = dict(rows.filter(pl.col("predictor") == predictor).select("group", "accuracy").iter_rows())
        for y, name in enumerate(names):
            point = Estimate(of.get(name))
            _interval(axes, point, y, COLOURS[predictor], MARKERS[predictor], filled=predictor == "adapter")
    axes.set_yticks(range(len(names)), [name if len(name) < 26 else f"{name[:24]}…" for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_title(attribute.replace("_", " "))
    if shown:
        axes.set_xlim(min(shown) - 0.02, max(shown) + 0.02)
    axes.set_xlabel("accuracy")
    return figure


@drawn
def curve(table: pl.DataFrame, columns: dict[str, str], ylabel: str) -> Figure:
    """Columns of the training curves over optimiser steps.

    Args:
        table: columns step and those of ``columns``, which maps them to labels.
    """
    figure, axes = _axes(2.4)
    for (column, label), colour in zip(columns.items(), ("#0072b2", "#d55e00", "#009e73"), strict=False):
        known = table.select("step", column).drop_nulls()
        axes.plot(
            known["step"].to_numpy(),
            known[column].to_numpy(),
            "s-" if column.startswith("validation") else "-",
            color=colour,
            label=label,
            markersize=4,
            linewidth=1.2,
        )
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(ylabel)
    axes.legend()
    return figure

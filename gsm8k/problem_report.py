"""The report on word problems, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from gsm8k.answer_format import is_correct
from socrates.evaluation.intervals import Estimate
from socrates.reporting.jinja import number, templates

Row = dict[str, Any]


def render(
    metrics: Mapping[str, Any],
    attempts: pl.DataFrame,
    problems: pl.DataFrame,
    transcripts: int,
    training: Mapping[str, Any],
) -> str:
    """The page.

    Args:
        metrics: from :func:`gsm8k.pass_rates.summary`.
        attempts, problems: as in :mod:`gsm8k.problems`.
        transcripts: how many problems to show.
        training: ``training.json``.
    """
    content = {
        "training": training,
        "headline": headline(metrics),
        "metrics": metrics,
        "transcripts": _transcripts(attempts, problems, transcripts),
        "is_correct": is_correct,
    }
    return templates(False, "gsm8k").get_template("report.md.j2").render(content)


def headline(metrics: Mapping[str, Any]) -> list[str]:
    """For each decoding, the share of right answers before and after, and whether the difference is established."""
    lines = []
    for decoding, rates in sorted(metrics.items()):
        base, trained, gain = (Estimate(**rates[side]["exact"]) for side in ("base", "trained", "difference"))
        verdict = {
            1: "training helped",
            -1: "training did harm",
            0: "no difference is established: the interval contains zero",
        }[gain.sign]
        lines.append(
            f"{decoding}: {number(base.value)} right before, {number(trained.value)} after "
            f"(difference {number(gain.value)}, {number(gain.low)} to {number(gain.high)}): {verdict}."
        )
    return lines


def _transcripts(attempts: pl.DataFrame, problems: pl.DataFrame, count: int) -> list[tuple[Row, list[Row]]]:
    """``count`` problems, evenly spaced, and the greedy completions of each."""
    greedy = attempts.filter(decoding="greedy").sort("model")
    tried = problems.join(greedy, on="problem_id", how="semi")
    rows = np.unique(np.linspace(0, tried.height - 1, min(count, tried.height)).round().astype(int))
    shown = tried[rows.tolist()].rows(named=True)
    return [(row, greedy.filter(problem_id=row["problem_id"]).rows(named=True)) for row in shown]

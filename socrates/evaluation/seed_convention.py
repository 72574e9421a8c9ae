"""The seed project's distance, kept only to show what it measured.

It put predictions and answers on [0, 1] *separately*, each by its own smallest and largest value, and
pooled all questions of a study's condition. A model that answers 1 where everybody answers 8 scores a
perfect 0, because two constants are the same constant after scaling; so does one that answers 1 and 2
where people answer 1 and 7. No headline of this project uses it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import polars as pl
from scipy.stats import wasserstein_distance

from socrates.evaluation.cells import Floats, Survey

MIN_GROUP = 2  # answers; the seed project skipped groups of one


def seed_distances(groups: Sequence[Hashable], predicted: Floats, truth: Floats) -> dict[Hashable, float]:
    """group -> Wasserstein-1 of its predictions and answers, each scaled by its own range.

    Args:
        groups: [N] (study, condition) of each row.
        predicted, truth: [N] drawn and human answers in points of their scales.
    """
    return {group: _seed_distance((predicted[rows], truth[rows])) for group, rows in _members(groups).items()}


def human_range_distances(
    groups: Sequence[Hashable], predicted: Floats, truth: Floats
) -> dict[Hashable, float]:
    """group -> Wasserstein-1 with the human range for both sides, predictions clipped into it.

    What the same groups score when predictions are not allowed a ruler of their own; groups in
    which everyone agreed have no range and are left out.
    """
    found = {}
    for group, rows in _members(groups).items():
        low, high = truth[rows].min(), truth[rows].max()
        if high > low:
            found[group] = float(
                wasserstein_distance(np.clip(predicted[rows], low, high), truth[rows]) / (high - low)
            )
    return found


def _members(groups: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = {}
    for row, group in enumerate(groups):
        members.setdefault(group, []).append(row)
    return {group: rows for group, rows in members.items() if len(rows) >= MIN_GROUP}


def _seed_distance(sides: tuple[Floats, Floats], weights: tuple[Floats, Floats] | None = None) -> float:
    """Of predictions and answers, each with its own range for a ruler."""
    return float(wasserstein_distance(*map(_own_scale, sides), *(weights or ())))


def _own_scale(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def seed_table(survey: Survey, drawn: dict[str, Floats]) -> pl.DataFrame:
    """One row per predictor: the seed distance of one drawn answer per respondent.

    Args:
        drawn: predictor -> [C, K] shares of drawn answers.
    """
    condition = survey.cells.select(pl.struct("study_id", "condition_num").rank("dense"))[
        "study_id"
    ].to_numpy()
    rows = []
    for name, shares in drawn.items():
        found = [
            _group_distance(survey, shares, np.flatnonzero(condition == group))
            for group in np.unique(condition)
        ]
        scored = [w for w in found if w is not None]
        rows.append((name, float(np.mean(scored)) if scored else None, len(scored)))
    kinds = {"predictor": pl.String, "seed_wasserstein": pl.Float64, "groups": pl.Int64}
    return pl.DataFrame(rows, kinds, orient="row")


def _group_distance(survey: Survey, shares: Floats, cells: np.ndarray) -> float | None:
    people = survey.respondents[cells, None]
    if people.sum() < MIN_GROUP:
        return None
    values = survey.grid[cells].ravel()
    predicted, truth = ((side[cells] * people).ravel() for side in (shares, survey.human))
    given, weights = (values[predicted > 0], values[truth > 0]), (predicted[predicted > 0], truth[truth > 0])
    return _seed_distance(given, weights)

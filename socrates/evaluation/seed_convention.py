"""The seed project's distance, kept only to show what it measured.

It put predictions and answers on [0, 1] *separately*, each by its own smallest and largest value, and
pooled all questions of a study's condition. A model that answers 1 where everybody answers 8 scores a
perfect 0, because two constants are the same constant after scaling; so does one that answers 1 and 2
where people answer 1 and 7. No headline of this project uses it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from scipy.stats import wasserstein_distance

from socrates.evaluation.cells import Floats, Survey

MIN_GROUP = 2  # answers; the seed project skipped groups of one


def seed_distance(predicted: Floats, truth: Floats, weights: tuple[Floats, Floats] | tuple[()] = ()) -> float:
    """Wasserstein-1 of predictions and answers in points, each scaled by its own range."""
    return float(wasserstein_distance(_own_scale(predicted), _own_scale(truth), *weights))


def _own_scale(values: Floats) -> Floats:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def seed_table(survey: Survey, drawn: Mapping[str, Floats]) -> pl.DataFrame:
    """One row per predictor: the seed distance of one drawn answer per respondent.

    Args:
        drawn: predictor -> [C, K] shares of drawn answers.
    """
    condition = survey.cells.select(pl.struct("study_id", "condition_num").rank("dense")).to_series()
    groups = [np.flatnonzero(condition == group) for group in condition.unique().sort()]
    groups = [cells for cells in groups if survey.respondents[cells].sum() >= MIN_GROUP]
    rows = []
    for name, shares in drawn.items():
        distances = [_group_distance(survey, shares, cells) for cells in groups]
        rows.append((name, float(np.mean(distances)) if distances else None, len(distances)))
    columns = {"predictor": pl.String, "seed_wasserstein": pl.Float64, "groups": pl.Int64}
    return pl.DataFrame(rows, columns, orient="row")


def _group_distance(survey: Survey, shares: Floats, cells: np.ndarray) -> float:
    people, values = survey.respondents[cells, None], survey.grid[cells].ravel()
    predicted, truth = ((side[cells] * people).ravel() for side in (shares, survey.human))
    weights = (predicted[predicted > 0], truth[truth > 0])
    return seed_distance(values[predicted > 0], values[truth > 0], weights)

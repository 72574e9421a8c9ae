"""Scores with their uncertainty: an interval for every figure, and for the difference of two predictors."""

from __future__ import annotations

from socrates.evaluation.cells import Survey
from socrates.evaluation.intervals import (
    Estimate,
    confidence_interval,
    generator,
    median_interval,
    sign_flip_interval,
    study_mean,
)
from socrates.evaluation.metrics import METRICS
from socrates.evaluation.params import Evaluate
from socrates.evaluation.scoring import Scores


def estimates(survey: Survey, scores: Scores, params: Evaluate) -> dict[str, Estimate]:
    """metric -> figure of one predictor with its interval over studies."""
    figures = {}
    for key, values in scores.studies.items():
        rng = generator(params.seed, key)
        if METRICS[key].median:
            figures[key] = median_interval(scores.cells[key], survey.study, params.bootstrap, rng)
        else:
            figures[key] = confidence_interval(study_mean(values), params.bootstrap, rng)
    for key, statistic in scores.statistics.items():
        figures[key] = confidence_interval(statistic, params.bootstrap, generator(params.seed, key))
    if scores.gaps is not None and scores.gaps.height:
        for key, column in (("accuracy_gap", "accuracy_gap"), ("accuracy_gap_chance", "chance")):
            figures[f"groups.{key}"] = Estimate(scores.gaps[column].mean())  # type: ignore[arg-type]
    return figures


def differences(first: Scores, second: Scores, params: Evaluate) -> dict[str, Estimate]:
    """metric -> first minus second, paired by study (and so by cell), with its own interval.

    Means of study values are tested by flipping signs; figures of sums over studies, such as correlations,
    have the interval of :func:`intervals.confidence_interval`.
    """
    figures = {}
    for key, values in first.studies.items():
        if key in second.studies and not METRICS[key].median:
            rng = generator(params.seed, "difference", key)
            figures[key] = sign_flip_interval(values - second.studies[key], params.bootstrap, rng)
    for key, statistic in first.statistics.items():
        other = second.statistics.get(key)
        if other is not None and len(other.sums) == len(statistic.sums):
            rng = generator(params.seed, "difference", key)
            figures[key] = confidence_interval(statistic.minus(other), params.bootstrap, rng)
    return figures

"""Scores with their uncertainty: an interval for every figure, and for the difference of two predictors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from socrates.evaluation import effects
from socrates.evaluation.cells import Floats, Survey
from socrates.evaluation.intervals import (
    Estimate,
    confidence_interval,
    generator,
    quantile_intervals,
    sign_flip_interval,
    study_mean,
)
from socrates.evaluation.metrics import METRICS, QUARTILES
from socrates.evaluation.params import Evaluate
from socrates.evaluation.scoring import Scores


def estimates(
    survey: Survey, scores: Scores, errors: Mapping[str, Floats], params: Evaluate
) -> dict[str, Estimate]:
    """metric -> figure of one predictor with its interval over studies.

    Args:
        errors: metric -> [S] standard errors from respondents, as of :func:`respondents.respondent_errors`.
    """
    figures = {} if scores.drawn is None else {"drawn.wasserstein_sd": Estimate(scores.drawn.sd)}
    for key, values in scores.studies.items():
        if METRICS[key].of_quartiles:
            continue
        rng = generator(params.seed, key)
        figures[key] = confidence_interval(study_mean(values), params.bootstrap, rng)
        if key in errors:
            known = errors[key][~np.isnan(errors[key])]
            error = float(np.sqrt((known**2).sum()) / len(known)) if len(known) else None
            figures[f"{key}_respondents_se"] = Estimate(error)
    for key in (key for key in scores.studies if METRICS[key].of_quartiles):
        rng = generator(params.seed, key)
        percents = tuple(QUARTILES.values())
        quartiles = quantile_intervals(scores.cells[key], survey.study, percents, params.bootstrap, rng)
        figures |= {key + ending: figure for ending, figure in zip(QUARTILES, quartiles, strict=True)}
    for key, statistic in scores.statistics.items():
        figures[key] = confidence_interval(statistic, params.bootstrap, generator(params.seed, key))
    if scores.effects is not None:
        rng = generator(params.seed, "effects")
        figures["effects.p"] = Estimate(effects.permutation_p(scores.effects, params.permutations, rng))
        for key in effects.KEYS:
            figures.setdefault(f"effects.{key}", Estimate())
    if scores.groups:
        figures["groups.accuracy_gap"] = Estimate(float(np.mean([part.gap for part in scores.groups])))
        chance = [part.chance for part in scores.groups if part.chance is not None]
        figures["groups.accuracy_gap_chance"] = Estimate(float(np.mean(chance)) if chance else None)
    return figures


def differences(first: Scores, second: Scores, params: Evaluate) -> dict[str, Estimate]:
    """metric -> first minus second, paired by study (and so by cell), with its own interval.

    Means of study values are tested by flipping signs; figures of sums over studies, such as correlations,
    have the interval of :func:`intervals.confidence_interval`.
    """
    figures = {}
    for key, values in first.studies.items():
        if key in second.studies and not METRICS[key].of_quartiles:
            rng = generator(params.seed, "difference", key)
            figures[key] = sign_flip_interval(values - second.studies[key], params.bootstrap, rng)
    for key, statistic in first.statistics.items():
        other = second.statistics.get(key)
        if other is not None and len(other.sums) == len(statistic.sums):
            rng = generator(params.seed, "difference", key)
            figures[key] = confidence_interval(statistic.minus(other), params.bootstrap, rng)
    return figures

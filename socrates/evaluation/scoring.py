"""One predictor's scores: its values by cell and by study, and the figures that pool them.

Nothing here has an interval: ``resampling`` makes those from what is returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from socrates.evaluation import distance, individual
from socrates.evaluation.cells import Floats, Ints, Predictor, Survey
from socrates.evaluation.effects import Effects, condition_effects, effect_statistics, worth
from socrates.evaluation.groups import GroupMetrics, group_metrics
from socrates.evaluation.intervals import (
    StudyStatistic,
    angle,
    angle_back,
    correlation,
    fisher,
    generator,
    moments,
    root_share,
    share,
    study_mean,
    sums_by,
)
from socrates.evaluation.metrics import ANSWER_METRICS, CELL_METRICS, METRICS, cell_scores
from socrates.evaluation.params import Evaluate
from socrates.evaluation.references import perfect_samples, uniform

SHARES = {"cells_w_zero": 1e-9, "cells_w_below_0_1": 0.1, "cells_w_below_0_3": 0.3}
SMALLEST_RATIO = 0.05  # of predicted over human effects, for a slope to be given
# Values of each answer that are no metric themselves; figures are made of them.
PARTS = {
    "truth": individual.truth,
    "below": individual.below,
    "mean": individual.mean,
    "confidence": individual.confidence,
    "correct": individual.correct,
}


@dataclass(frozen=True)
class Drawn:
    """One drawn answer per respondent, as the paper's models gave.

    Attributes:
            wasserstein: [C] mean W over the repetitions.
        sd: standard deviation of W over the repetitions, a mean over studies each time.
        studies: metric -> [S] expected score of a drawn answer.
    """

    wasserstein: Floats
    sd: float | None
    studies: dict[str, Floats]


@dataclass(frozen=True)
class Scores:
    """One predictor's scores; what people against people do not have is None or empty.

    Attributes:
        name: the predictor.
        cells: metric -> [C], NaN where a cell is not scored.
        studies: metric -> [S], NaN where a study has no scored cell.
        statistics: metric -> the figures that are not means of study values.
        pmf: [C, K] its cell distributions.
        drawn: what one drawn answer per respondent scores.
        reliability: [BINS, 3] as :func:`individual.reliability`, over all studies.
        pit: [BINS] answers in each bin of :func:`individual.pit`, over all studies.
        effects: effects of conditions.
        groups: how well it serves the groups of each attribute.
    """

    name: str
    cells: Mapping[str, Floats]
    studies: Mapping[str, Floats]
    statistics: Mapping[str, StudyStatistic]
    pmf: Floats | None = None
    drawn: Drawn | None = None
    reliability: Floats | None = None
    pit: Floats | None = None
    effects: Effects | None = None
    groups: list[GroupMetrics] = field(default_factory=list)


def score(survey: Survey, predictor: Predictor, params: Evaluate) -> Scores:
    """All scores of one predictor."""
    pmf = predictor.cells(survey)
    answers = individual.answer_scores(survey, predictor, ANSWER_METRICS | PARTS)
    drawn = _drawn(survey, predictor, params)
    by_cell = cell_scores(pmf, survey, params) | {"drawn.wasserstein": drawn.wasserstein}
    studies = _study_means(survey, by_cell) | drawn.studies
    for key in ANSWER_METRICS:
        studies[key] = survey.mean_by_study(answers[key])
        means = np.bincount(survey.cell_of_answer, answers[key]) / survey.respondents
        by_cell[key] = np.where(survey.respondents < params.min_cell_size, np.nan, means)
    if predictor.allowed_mass is not None:
        studies["format_validity"] = survey.mean_by_study(predictor.allowed_mass)
    s = len(survey.studies)
    bins = individual.reliability(answers["confidence"], answers["correct"], survey.study_of_answer, s)
    pit = individual.pit(answers["below"], answers["exact_match"], survey.study_of_answer, s)
    effects = condition_effects(survey, pmf, params.min_cell_size)
    groups = group_metrics(survey, predictor.name, answers, params)
    x, y = answers["mean"].astype(np.float64), answers["truth"].astype(np.float64)
    squared = survey.mean_by_study((answers["mean"] - answers["truth"]) ** 2)
    statistics = {
        **_cell_statistics(survey, by_cell, studies, params),
        "pearson": StudyStatistic(correlation, moments(x, y, survey.study_of_answer, s), fisher, np.tanh),
        "rmse": replace(study_mean(squared), statistic=root_share),
        "calibration_error": StudyStatistic(individual.calibration_error, bins.reshape(s, -1)),
        "cell_respondents": _cell_worth(survey, by_cell),
        "pit_deviation": StudyStatistic(individual.pit_deviation, pit),
        **{f"effects.{key}": figure for key, figure in _fitted(effect_statistics(effects)).items()},
    }
    return Scores(
        predictor.name,
        by_cell,
        studies,
        statistics,
        pmf,
        drawn,
        bins.sum(axis=0),
        pit.sum(axis=0),
        effects,
        groups,
    )


def _cell_worth(survey: Survey, by_cell: Mapping[str, Floats]) -> StudyStatistic:
    """The sample of people that is as close: E of the Cramer distance of n people is sum F (1 - F) gap / n."""
    cumulative = np.cumsum(survey.human, axis=1)[:, :-1]
    n = survey.respondents[:, None]
    variance = cumulative * (1 - cumulative) * n / np.maximum(n - 1, 1)
    spread = np.sum(variance * distance.gaps(survey.human, survey.grid, "stated"), axis=1)
    spread = np.where(np.isnan(by_cell["cramer"]), np.nan, spread)
    means = _study_means(survey, {"spread": spread, "error": by_cell["cramer"]})
    sums = np.column_stack([means["spread"], means["error"]])
    return worth(sums[~np.isnan(sums).any(axis=1)], lambda t: t[..., 0], lambda t: t[..., 1])


def _fitted(statistics: dict[str, StudyStatistic]) -> dict[str, StudyStatistic]:
    """Without the slope where the predictor hardly moves: a ratio over about nothing says nothing."""
    hardly = "size_ratio" in statistics and statistics["size_ratio"].value < SMALLEST_RATIO
    return {key: figure for key, figure in statistics.items() if not (hardly and key == "slope")}


def perfect_prediction(survey: Survey, params: Evaluate) -> Scores:
    """What the truth itself would score at these cell sizes, whose people are but a sample of it."""
    rng = generator(params.seed, "empirical_best")
    truth, samples = perfect_samples(survey, params.draws, rng)
    scored = [cell_scores(truth, replace(survey, human=human), params) for human in samples]
    by_cell = {key: _mean_of_known([part[key] for part in scored]) for key in CELL_METRICS}
    # people's own: what the spread of a prediction is held against
    by_cell["sigma"] = cell_scores(survey.human, survey, params)["sigma"]
    studies = _study_means(survey, by_cell)
    return Scores("empirical_best", by_cell, studies, _cell_statistics(survey, by_cell, studies, params))


def _mean_of_known(values: list[Floats]) -> Floats:
    """[C] mean over repetitions, of those in which the cell has a value."""
    known = np.sum([~np.isnan(part) for part in values], axis=0)
    return distance.ratio(np.nansum(values, axis=0), known.astype(np.float64))


def _study_means(survey: Survey, by_cell: Mapping[str, Floats]) -> dict[str, Floats]:
    s = len(survey.studies)
    return {key: distance.study_means(values, survey.study, s) for key, values in by_cell.items()}


def _drawn(survey: Survey, predictor: Predictor, params: Evaluate) -> Drawn:
    tempered = individual.tempered_predictor(predictor, params.temperature, params.top_p)
    rng = generator(params.seed, "drawn", predictor.name)
    draws = individual.draw_answers(survey, tempered, params.draws, rng)
    per_draw = {
        str(i): cell_scores(p, survey, params, ["wasserstein"])["wasserstein"] for i, p in enumerate(draws)
    }
    sd = None
    if params.draws > 1 and not np.isnan(per_draw["0"]).all():
        sd = float(np.std([np.nanmean(means) for means in _study_means(survey, per_draw).values()], ddof=1))
    keys = ("accuracy", "exact_match")
    expected = individual.answer_scores(survey, tempered, {key: ANSWER_METRICS[key] for key in keys})
    studies = {f"drawn.{key}": survey.mean_by_study(expected[key]) for key in keys}
    return Drawn(np.mean(list(per_draw.values()), axis=0), sd, studies)


def _cell_statistics(
    survey: Survey, by_cell: Mapping[str, Floats], studies: Mapping[str, Floats], params: Evaluate
) -> dict[str, StudyStatistic]:
    """Flat means over cells, shares of good cells, and total variation against that of a uniform guess."""
    s = len(survey.studies)
    statistics = {
        f"{key}_cells": _flat_mean(by_cell[key], survey.study, s)
        for key in CELL_METRICS
        if "_cells" in METRICS[key].variants
    }
    w = by_cell["wasserstein"]
    for key, limit in SHARES.items():
        # cells of 20 people often lie on a limit itself, and the last bits must not say on which side
        below = _flat_mean(np.where(np.isnan(w), np.nan, w.round(9) < limit), survey.study, s)
        statistics[key] = replace(below, forward=angle, back=angle_back)
    uninformed = cell_scores(uniform(survey).cells(survey), survey, params, ["tvd"])
    guess = _study_means(survey, uninformed)["tvd"]
    tvd = np.stack([studies["tvd"], guess], axis=-1)
    statistics["simbench"] = StudyStatistic(_simbench, tvd[~np.isnan(tvd[:, 0])])
    return statistics


def _flat_mean(values: Floats, study: Ints, studies: int) -> StudyStatistic:
    """The mean over scored cells, whatever their study."""
    known = ~np.isnan(values)
    sums = sums_by(study[known], studies, values[known], np.ones(known.sum()))
    return StudyStatistic(share, sums[sums[:, 1] > 0])


def _simbench(sums: Floats) -> Floats:
    """100 x (1 - TVD / TVD of uniform), of the means over studies; NaN if uniform is perfect."""
    return 100 * (1 - share(sums))

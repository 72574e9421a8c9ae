"""Every metric, declared once: what it is, in which range, which direction is better, and how it is computed.

A new metric of cells or of answers is one entry of :data:`METRICS` with its function; means over studies,
intervals, differences, tables and the report follow from the entry. Figures that are computed
otherwise (correlations, effects, gaps between groups) have an entry without a function.

Keys are those of metrics/evaluate.json below a predictor: ``adapter.stated.wasserstein`` is the
metric ``stated.wasserstein`` of the predictor ``adapter``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from socrates.evaluation import distance, individual
from socrates.evaluation.cells import Floats, Survey
from socrates.evaluation.individual import AnswerMetric
from socrates.evaluation.params import Evaluate

CellMetric = Callable[[Floats, Survey, Evaluate], Floats]


@dataclass(frozen=True)
class Metric:
    """What a figure is.

    Attributes:
        label: for a table's head.
        unit: in words; "1" for a pure number.
        low, high: the range it cannot leave; None is unbounded.
        higher_is_better: None where neither direction is (a ratio that should be 1).
        definition: one line; docs/measurement.md has the formula and an example.
        target: the best value where neither direction is better.
        cell: from predicted distributions [C, K] to [C]; NaN where a cell has no value.
        answer: from a block of answers to a value for each, as in ``individual``.
        median: whether the figure is the median over cells, and not the mean over studies.
    """

    label: str
    unit: str
    low: float | None
    high: float | None
    higher_is_better: bool | None
    definition: str
    target: float | None = None
    cell: CellMetric | None = None
    answer: AnswerMetric | None = None
    median: bool = False


def _wasserstein(pmf: Floats, survey: Survey, params: Evaluate) -> Floats:
    gaps = distance.gaps(survey.human, survey.grid, "paper", params.constant_cells)
    return distance.wasserstein(pmf, survey.human, gaps)


def _stated_wasserstein(pmf: Floats, survey: Survey, params: Evaluate) -> Floats:
    return distance.wasserstein(pmf, survey.human, distance.gaps(survey.human, survey.grid, "stated"))


def _cramer(pmf: Floats, survey: Survey, params: Evaluate) -> Floats:
    gaps = distance.gaps(survey.human, survey.grid, "stated")
    return distance.cramer(pmf, survey.human, survey.respondents, gaps)


def _entropy_ratio(pmf: Floats, survey: Survey, params: Evaluate) -> Floats:
    return distance.ratio(distance.entropy(pmf), distance.entropy(survey.human))


_HUMAN, _STATED = "share of the cell's human range", "share of the stated scale"
_LOWER, _HIGHER = False, True
METRICS = {
    "wasserstein": Metric(
        "W", _HUMAN, 0, None, _LOWER,
        "Wasserstein-1 on the human range of each cell, both sides, no clipping; mean over cells, then studies",
        cell=_wasserstein),
    "stated.wasserstein": Metric(
        "W, stated scale", _STATED, 0, 1, _LOWER, "Wasserstein-1 on the range the question allows",
        cell=_stated_wasserstein),
    "drawn.wasserstein": Metric(
        "W, drawn answers", _HUMAN, 0, None, _LOWER,
        "as W, of one drawn answer per respondent, mean over repetitions"),
    "drawn.accuracy": Metric(
        "accuracy, drawn as the paper", "share", 0, 1, _HIGHER,
        "1 - |drawn - answer| / range, answers drawn at the paper's temperature and top-p"),
    "cramer": Metric(
        "Cramer distance, corrected", _STATED, None, None, _LOWER,
        "squared distance of cumulative distributions less people's sampling noise: the truth scores 0",
        cell=_cramer),
    "tvd": Metric(
        "total variation", "share", 0, 1, _LOWER, "half the sum of absolute differences in probability",
        cell=lambda pmf, survey, _: distance.total_variation(pmf, survey.human)),
    "entropy_ratio": Metric(
        "entropy ratio", "1", 0, None, None, "median of predicted over human entropy", 1.0,
        cell=_entropy_ratio, median=True),
    "accuracy": Metric(
        "accuracy", "share", 0, 1, _HIGHER,
        "1 - |drawn - answer| / range, expectation over the predicted distribution",
        answer=individual.accuracy),
    "accuracy_median": Metric(
        "accuracy of the median", "share", 0, 1, _HIGHER, "1 - |median - answer| / range",
        answer=lambda p, answers, positions: 1 - individual.absolute_error(p, answers, positions)),
    "exact_match": Metric(
        "exact match", "share", 0, 1, _HIGHER, "probability on the respondent's answer",
        answer=individual.exact_match),
    "within_one": Metric(
        "within one", "share", 0, 1, _HIGHER, "probability on it and its neighbouring options",
        answer=individual.within_one),
    "log_likelihood": Metric(
        "log-likelihood", "nats per answer", None, 0, _HIGHER,
        "mean log probability of the answer, floored at log 1e-6", answer=individual.log_likelihood),
    "crps": Metric(
        "CRPS", "share of range", 0, 1, _LOWER,
        "ranked probability score of the respondent's answer, as a share of the range", answer=individual.crps),
    "persona.log_shuffled": Metric(
        "log score, own persona - another's", "nats per answer", None, None, _HIGHER,
        "gain over the personas of the others of the cell, mean over all shuffles",
        answer=individual.gain_over_shuffled(individual.log_likelihood)),
    "persona.log_mean": Metric(
        "log score, own persona - cell's mean", "nats per answer", None, None, _HIGHER,
        "gain over the mean prediction of the cell", answer=individual.gain_over_mean(individual.log_likelihood)),
    "persona.crps_shuffled": Metric(
        "CRPS, own persona - another's", "share of range", None, None, _LOWER,
        "the same in CRPS: below 0 where the persona helps",
        answer=individual.gain_over_shuffled(individual.crps)),
    "persona.crps_mean": Metric(
        "CRPS, own persona - cell's mean", "share of range", None, None, _LOWER,
        "the same in CRPS: below 0 where the persona helps", answer=individual.gain_over_mean(individual.crps)),
    "mae": Metric(
        "mean absolute error", "share of range", 0, 1, _LOWER, "|median - answer| / range",
        answer=individual.absolute_error),
    "pearson": Metric(
        "Pearson r", "1", -1, 1, _HIGHER,
        "predicted mean against answer, on the stated scale, over respondents"),
    "rmse": Metric(
        "root mean squared error", "share of range", 0, 1, _LOWER,
        "of the predicted mean, on the stated scale"),
    "pit_deviation": Metric(
        "PIT deviation", "share", 0, 0.9, _LOWER,
        "share of answers out of place in the histogram of the probability integral transform, ten bins"),
    "format_validity": Metric(
        "format validity", "share", 0, 1, _HIGHER, "probability the model put on allowed answers"),
    "effects.r": Metric(
        "effect correlation", "1", -1, 1, _HIGHER,
        "condition means centred in their task, predicted against human"),
    "effects.slope": Metric(
        "effect slope", "1", None, None, None, "human effect per predicted effect", 1.0),
    "effects.size_ratio": Metric(
        "effect size ratio", "1", 0, None, None,
        "root mean square of predicted over human effects", 1.0),
    "effects.sign_accuracy_sure": Metric(
        "effect sign accuracy, |z| >= 3", "share", 0, 1, _HIGHER,
        "pairs of conditions that surely differ, put in the right order"),
    "effects.reliability": Metric(
        "reliability of human effects", "1", None, 1, None,
        "correlation of the human effects of two samples of these sizes; its root is the ceiling of the correlation",
        1.0),
    "effects.r_disattenuated": Metric(
        "effect correlation, people's noise removed", "1", None, None, _HIGHER,
        "correlation over the root of the reliability"),
    "effects.skill": Metric(
        "skill over no effect", "share", None, None, _HIGHER,
        "1 - squared error / squared effect, people's noise removed from both: 0 is predicting no effect"),
    "effects.captured_gain": Metric(
        "captured gain", "share", -1, 1, _HIGHER,
        "human effect of the condition chosen by prediction, over that of the condition that people show best"),
    "effects.respondents": Metric(
        "worth of an effect", "respondents of an arm", None, None, _HIGHER,
        "people of each arm whose sampling error is as large as the model's, after the slope"),
    "cell_respondents": Metric(
        "worth of a cell", "respondents", None, None, _HIGHER,
        "people whose sample is as close to the cell's population as the prediction is, in Cramer distance"),
    "groups.accuracy_gap": Metric(
        "accuracy gap", "share", 0, 1, _LOWER,
        "accuracy of the best served demographic group minus that of the worst, each against the mean of its "
        "cells; mean over attributes"),
    "groups.accuracy_gap_chance": Metric(
        "accuracy gap by chance", "share", 0, 1, None,
        "the same where respondents of the same cells exchange places: median of the permutations"),
}  # fmt: skip
CELL_METRICS = {key: entry.cell for key, entry in METRICS.items() if entry.cell}
ANSWER_METRICS = {key: entry.answer for key, entry in METRICS.items() if entry.answer}
ENDINGS = ("_low", "_high", "_p", "_sign")  # of an interval, a p-value and a sign, beside their figure


def metric(key: str) -> Metric:
    """The entry of a key below a predictor, without ``_low`` or another ending that qualifies it."""
    for name in (key, *(key.removesuffix(ending) for ending in ENDINGS)):
        if name in METRICS:
            return METRICS[name]
    raise KeyError(f"{key}: not in socrates/evaluation/metrics.py")


def cell_scores(pmf: Floats, survey: Survey, params: Evaluate) -> dict[str, Floats]:
    """metric -> [C] of the metrics of cells; NaN where a cell is not scored.

    Cells of fewer than ``min_cell_size`` people are scored by none; where everyone agreed, the
    convention on the human range follows ``constant_cells``.
    """
    small = survey.respondents < params.min_cell_size
    return {key: np.where(small, np.nan, of(pmf, survey, params)) for key, of in CELL_METRICS.items()}

"""Every metric, declared once: what it is, in which range, which direction is better, and how it is computed.

A new metric of cells or of answers is one entry of :data:`METRICS` with its function; means over studies,
intervals, differences, tables and the report follow from the entry. Figures that are computed
otherwise (correlations, effects, gaps between groups) have an entry without a function.
docs/measurement.md has the definition, unit and an example of each.

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
        low, high: the range it cannot leave; None is unbounded.
        higher_is_better: None where neither direction is (a ratio that should be 1).
        target: the best value where neither direction is better.
        cell: from predicted distributions [C, K] to [C]; NaN where a cell has no value.
        answer: from a block of answers to a value for each, as in ``individual``.
        median: whether the figure is the median over cells, and not the mean over studies.
    """

    label: str
    low: float | None
    high: float | None
    higher_is_better: bool | None
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


_LOWER, _HIGHER = False, True
METRICS = {
    "wasserstein": Metric("W", 0, None, _LOWER, cell=_wasserstein),
    "stated.wasserstein": Metric("W, stated scale", 0, 1, _LOWER, cell=_stated_wasserstein),
    "drawn.wasserstein": Metric("W, drawn answers", 0, None, _LOWER),
    "drawn.accuracy": Metric("accuracy, drawn as the paper", 0, 1, _HIGHER),
    "cramer": Metric("Cramer distance, corrected", None, None, _LOWER, cell=_cramer),
    "entropy_ratio": Metric("entropy ratio", 0, None, None, 1.0, cell=_entropy_ratio, median=True),
    "accuracy": Metric("accuracy", 0, 1, _HIGHER, answer=individual.accuracy),
    "exact_match": Metric("exact match", 0, 1, _HIGHER, answer=individual.exact_match),
    "within_one": Metric("within one", 0, 1, _HIGHER, answer=individual.within_one),
    "log_likelihood": Metric("log-likelihood", None, 0, _HIGHER, answer=individual.log_likelihood),
    "crps": Metric("CRPS", 0, 1, _LOWER, answer=individual.crps),
    "persona.log_shuffled": Metric(
        "log score, own persona - another's", None, None, _HIGHER,
        answer=individual.gain_over_shuffled(individual.log_likelihood)),
    "persona.log_mean": Metric(
        "log score, own persona - cell's mean", None, None, _HIGHER,
        answer=individual.gain_over_mean(individual.log_likelihood)),
    "persona.crps_mean": Metric(
        "CRPS, own persona - cell's mean", None, None, _LOWER, answer=individual.gain_over_mean(individual.crps)),
    "mae": Metric("mean absolute error", 0, 1, _LOWER, answer=individual.absolute_error),
    "pearson": Metric("Pearson r", -1, 1, _HIGHER),
    "rmse": Metric("root mean squared error", 0, 1, _LOWER),
    "pit_deviation": Metric("PIT deviation", 0, 0.9, _LOWER),
    "format_validity": Metric("format validity", 0, 1, _HIGHER),
    "effects.r": Metric("effect correlation", -1, 1, _HIGHER),
    "effects.slope": Metric("effect slope", None, None, None, 1.0),
    "effects.size_ratio": Metric("effect size ratio", 0, None, None, 1.0),
    "effects.sign_accuracy_sure": Metric("effect sign accuracy, |z| >= 3", 0, 1, _HIGHER),
    "effects.reliability": Metric("reliability of human effects", None, 1, None, 1.0),
    "effects.r_disattenuated": Metric("effect correlation, people's noise removed", None, None, _HIGHER),
    "effects.skill": Metric("skill over no effect", None, None, _HIGHER),
    "effects.captured_gain": Metric("captured gain", -1, 1, _HIGHER),
    "effects.respondents": Metric("worth of an effect, people", None, None, _HIGHER),
    "cell_respondents": Metric("worth of a cell, people", None, None, _HIGHER),
    "groups.accuracy_gap": Metric("accuracy gap", 0, 1, _LOWER),
    "groups.accuracy_gap_chance": Metric("accuracy gap by chance", 0, 1, None),
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

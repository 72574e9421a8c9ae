"""Every metric, declared once: what it is, in which range, which direction is better, and how it is computed.

A new metric of cells or of answers is one entry of :data:`METRICS` with its function; means over studies, intervals,
differences, tables and the report follow from it. Figures that are computed otherwise (correlations, effects, gaps
between groups) have an entry without a function. docs/measurement.md has the definition, unit and an example of each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from socrates.evaluation import individual
from socrates.evaluation.cells import Survey
from socrates.evaluation.distance import Floats, cramer, entropy, human_gaps, ratio, stated_gaps, wasserstein
from socrates.evaluation.individual import AnswerMetric, Gain, gain_over_mean, gain_over_shuffled
from socrates.evaluation.params import Evaluate

CellMetric = Callable[[Floats, Survey, Evaluate], Floats]


@dataclass(frozen=True)
class Metric:
    label: str  # for a table's head
    low: float | None  # the range it cannot leave; None is unbounded
    high: float | None
    higher_is_better: bool | None  # None where neither direction is (a ratio that should be 1)
    target: float | None = None  # the best value where neither direction is better
    cell: CellMetric | None = None  # from distributions [C, K] to [C]; NaN where a cell has no value
    answer: AnswerMetric | None = None  # from a block of answers to a value for each, as in ``individual``
    median: bool = False  # whether the figure is the median over cells, and not the mean over studies


def scored_gaps(survey: Survey, params: Evaluate) -> Floats:
    """[C, K-1] gaps on the human range, NaN for cells that are not scored."""
    gaps = human_gaps(survey.human, survey.grid, params.constant_cells == "one_level")
    return np.where((survey.respondents < params.min_cell_size)[:, None], np.nan, gaps)


_LOWER, _HIGHER = False, True
METRICS = {  # by their key in metrics/evaluate.json below a predictor
    "wasserstein": Metric(
        "W", 0, None, _LOWER,
        cell=lambda p, survey, params: wasserstein(p, survey.human, scored_gaps(survey, params))),
    "stated.wasserstein": Metric(
        "W, stated scale", 0, 1, _LOWER,
        cell=lambda p, survey, _: wasserstein(p, survey.human, stated_gaps(survey.grid))),
    "drawn.wasserstein": Metric("W, drawn answers", 0, None, _LOWER),
    "drawn.accuracy": Metric("accuracy, drawn as the paper", 0, 1, _HIGHER),
    "cramer": Metric(
        "Cramer distance, corrected", None, None, _LOWER,
        cell=lambda p, survey, _: cramer(p, survey.human, survey.respondents, stated_gaps(survey.grid))),
    "entropy_ratio": Metric(
        "entropy ratio", 0, None, None, 1.0, median=True,
        cell=lambda p, survey, _: ratio(entropy(p), entropy(survey.human))),
    "accuracy": Metric("accuracy", 0, 1, _HIGHER, answer=individual.accuracy),
    "exact_match": Metric("exact match", 0, 1, _HIGHER, answer=individual.exact_match),
    "within_one": Metric("within one", 0, 1, _HIGHER, answer=individual.within_one),
    "log_likelihood": Metric("log-likelihood", None, 0, _HIGHER, answer=individual.log_likelihood),
    "crps": Metric("CRPS", 0, 1, _LOWER, answer=individual.crps),
    "persona.log_shuffled": Metric(
        "log score, own persona - another's", None, None, _HIGHER,
        answer=Gain(gain_over_shuffled, individual.log_likelihood)),
    "persona.log_mean": Metric(
        "log score, own persona - cell's mean", None, None, _HIGHER,
        answer=Gain(gain_over_mean, individual.log_likelihood)),
    "persona.crps_mean": Metric(
        "CRPS, own persona - cell's mean", None, None, _LOWER, answer=Gain(gain_over_mean, individual.crps)),
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


def cell_scores(pmf: Floats, survey: Survey, params: Evaluate) -> dict[str, Floats]:
    """metric -> [C] of the metrics of cells; NaN in those of fewer than ``min_cell_size`` people."""
    small = survey.respondents < params.min_cell_size
    return {key: np.where(small, np.nan, of(pmf, survey, params)) for key, of in CELL_METRICS.items()}

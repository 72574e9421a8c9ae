"""Every metric's name, unit, range and direction, once: the report and the tests read them here.

Keys are those of metrics/evaluate.json below a predictor: ``adapter.stated.wasserstein`` is the
metric ``stated.wasserstein`` of the predictor ``adapter``. The endings in ``PARTS`` qualify a metric
and share its entry.
"""

from __future__ import annotations

from dataclasses import dataclass


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
    """

    label: str
    unit: str
    low: float | None
    high: float | None
    higher_is_better: bool | None
    definition: str
    target: float | None = None


_RANGE = "share of range"
METRICS: dict[str, Metric] = {
    "wasserstein": Metric(
        "W",
        "share of the cell's human range",
        0,
        None,
        False,
        "Wasserstein-1 on the human range of each cell, both sides, no clipping; mean over cells, then studies",
    ),
    "wasserstein_cells": Metric(
        "W, flat",
        "share of the cell's human range",
        0,
        None,
        False,
        "the same, mean over cells whatever their study",
    ),
    "wasserstein_respondents_se": Metric(
        "standard error of W from respondents",
        "share of the cell's human range",
        0,
        None,
        False,
        "what other respondents of the same studies would move it: the smaller part of the interval",
    ),
    "stated.wasserstein_respondents_se": Metric(
        "standard error of stated W from respondents",
        "share of the stated scale",
        0,
        None,
        False,
        "the same, on the stated scale",
    ),
    "clipped.wasserstein": Metric(
        "W, clipped",
        "share of the cell's human range",
        0,
        1,
        False,
        "as W, predictions moved to the nearest end of the human range first",
    ),
    "clipped.wasserstein_cells": Metric(
        "W, clipped, flat", "share of the cell's human range", 0, 1, False, "the same, mean over cells"
    ),
    "stated.wasserstein": Metric(
        "W, stated scale",
        "share of the stated scale",
        0,
        1,
        False,
        "Wasserstein-1 on the range the question allows",
    ),
    "stated.wasserstein_cells": Metric(
        "W, stated, flat", "share of the stated scale", 0, 1, False, "the same, mean over cells"
    ),
    "drawn.wasserstein": Metric(
        "W, drawn answers",
        "share of the cell's human range",
        0,
        None,
        False,
        "as W, of one drawn answer per respondent, mean over repetitions",
    ),
    "drawn.wasserstein_sd": Metric(
        "sd of W over draws",
        "share of the cell's human range",
        0,
        None,
        False,
        "standard deviation of drawn W over the repetitions",
    ),
    "drawn.accuracy": Metric(
        "accuracy, drawn as the paper",
        "share",
        0,
        1,
        True,
        "1 - |drawn - answer| / range, answers drawn at the paper's temperature and top-p",
    ),
    "drawn.exact_match": Metric(
        "exact match, drawn as the paper",
        "share",
        0,
        1,
        True,
        "share of drawn answers equal to the respondent's",
    ),
    "split_half.wasserstein": Metric(
        "W, split halves",
        "share of the cell's human range",
        0,
        None,
        False,
        "W between two random halves of the people, divided by sqrt 2: two samples of the cell's own size",
    ),
    "tvd": Metric(
        "total variation", "share", 0, 1, False, "half the sum of absolute differences in probability"
    ),
    "jensen_shannon": Metric("Jensen-Shannon", "bits", 0, 1, False, "divergence to the mean of both, base 2"),
    "simbench": Metric(
        "SimBench score",
        "points",
        None,
        100,
        True,
        "100 (1 - mean TVD / mean TVD of the uniform guess): 0 is guessing, 100 is perfect",
    ),
    "entropy_ratio": Metric(
        "entropy ratio", "1", 0, None, None, "median of predicted over human entropy", 1.0
    ),
    "entropy_ratio_q1": Metric(
        "entropy ratio, first quartile", "1", 0, None, None, "its first quartile", 1.0
    ),
    "entropy_ratio_q3": Metric(
        "entropy ratio, third quartile", "1", 0, None, None, "its third quartile", 1.0
    ),
    "spread_ratio": Metric(
        "spread ratio", "1", 0, None, None, "median of predicted over human standard deviation", 1.0
    ),
    "spread_ratio_q1": Metric("spread ratio, first quartile", "1", 0, None, None, "its first quartile", 1.0),
    "spread_ratio_q3": Metric("spread ratio, third quartile", "1", 0, None, None, "its third quartile", 1.0),
    "sigma": Metric(
        "spread", "share of the stated scale", 0, 0.5, None, "mean standard deviation of a cell's answers"
    ),
    "cells_w_zero": Metric("cells with W = 0", "share", 0, 1, True, "share of cells with W below 1e-9"),
    "cells_w_below_0_1": Metric("cells with W < 0.1", "share", 0, 1, True, "share of cells with W below 0.1"),
    "cells_w_below_0_3": Metric("cells with W < 0.3", "share", 0, 1, True, "share of cells with W below 0.3"),
    "accuracy": Metric(
        "accuracy",
        "share",
        0,
        1,
        True,
        "1 - |drawn - answer| / range, expectation over the predicted distribution",
    ),
    "accuracy_median": Metric("accuracy of the median", "share", 0, 1, True, "1 - |median - answer| / range"),
    "pearson": Metric(
        "Pearson r", "1", -1, 1, True, "predicted mean against answer, on the stated scale, over respondents"
    ),
    "mae": Metric("mean absolute error", _RANGE, 0, 1, False, "|median - answer| / range"),
    "rmse": Metric(
        "root mean squared error", _RANGE, 0, 1, False, "of the predicted mean, on the stated scale"
    ),
    "exact_match": Metric("exact match", "share", 0, 1, True, "probability on the respondent's answer"),
    "within_one": Metric("within one", "share", 0, 1, True, "probability on it and its neighbouring options"),
    "log_likelihood": Metric(
        "log-likelihood",
        "nats per answer",
        None,
        0,
        True,
        "mean log probability of the answer, floored at log 1e-6",
    ),
    "brier": Metric("Brier score", "1", 0, 2, False, "sum over options of (probability - chosen)^2"),
    "calibration_error": Metric(
        "expected calibration error",
        "share",
        0,
        1,
        False,
        "|confidence - share correct| of the likeliest option, ten bins",
    ),
    "format_validity": Metric(
        "format validity", "share", 0, 1, True, "probability the model put on allowed answers"
    ),
    "effects.r": Metric(
        "effect correlation",
        "1",
        -1,
        1,
        True,
        "condition means centred in their task, predicted against human",
    ),
    "effects.slope": Metric("effect slope", "1", None, None, None, "human effect per predicted effect", 1.0),
    "effects.residual_sd": Metric(
        "effect residual",
        "share of the stated scale",
        0,
        None,
        False,
        "standard deviation of human effects around slope x predicted effect",
    ),
    "effects.sign_accuracy": Metric(
        "effect sign accuracy",
        "share",
        0,
        1,
        True,
        "credibly different pairs of conditions put in the right order",
    ),
    "effects.size_ratio": Metric(
        "effect size ratio", "1", 0, None, None, "root mean square of predicted over human effects", 1.0
    ),
    "effects.p": Metric(
        "effect p-value", "probability", 0, 1, False, "permutation of conditions within studies, one-sided"
    ),
    "groups.accuracy_gap": Metric(
        "accuracy gap",
        "share",
        0,
        1,
        False,
        "accuracy of the best served demographic group minus that of the worst, mean over attributes",
    ),
    "groups.accuracy_gap_max": Metric(
        "largest accuracy gap", "share", 0, 1, False, "the same for the attribute where it is largest"
    ),
    "groups.wasserstein_gap": Metric(
        "W gap",
        "share of the stated scale",
        0,
        1,
        False,
        "stated W of the worst served group minus that of the best, mean over attributes",
    ),
    "groups.wasserstein_gap_max": Metric(
        "largest W gap",
        "share of the stated scale",
        0,
        1,
        False,
        "the same for the attribute where it is largest",
    ),
}

PARTS = ("_low", "_high", "_se", "_p", "_sign")

PREDICTORS: dict[str, str] = {
    "adapter": "fine-tuned model",
    "base": "base model",
    "uniform": "uniform guess",
    "train_marginal": "training-study average for the scale length",
    "pooled": "people, conditions merged (oracle)",
    "empirical_best": "people against people (floor)",
    "planted": "the planted truth (floor)",
}
MODELS = ("adapter", "base")
DIFFERENCES = (  # the first minus the second, paired by cell
    ("adapter", "base"),
    ("adapter", "uniform"),
    ("adapter", "train_marginal"),
    ("base", "uniform"),
)


def metric(key: str) -> Metric:
    """The entry of a key below a predictor, without its ``_low`` or other qualifying part."""
    if key in METRICS:
        return METRICS[key]
    for part in PARTS:
        if key.endswith(part) and key.removesuffix(part) in METRICS:
            return METRICS[key.removesuffix(part)]
    raise KeyError(f"{key}: not in socrates/evaluation/metrics.py")

"""A model's predictions, corrected by two numbers that the validation studies say: a predictor of its own.

p'(option) = (1 - w) p(option)^(1/T) / sum of p^(1/T) + w m(option), with m the training studies' average for a scale of
that length. The temperature T (Guo et al. 2017, arXiv 1706.04599) and the weight w maximise the log score of the
validation answers, mean of the studies' means as in the report. Where that gains no more than its standard error over
the studies the predictions stay as they are (T = 1, w = 0): a gain that small need not be found again in other studies.
"""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import minimize

from socrates.survey.marginals import train_marginals
from socrates.survey.scales import nearest, scale
from socrates.survey.tables import CELL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PEOPLE = 10  # of each validation cell that are predicted: two numbers need no more
FLOOR = 1e-6  # of a probability, as in the report's log score
LOG_TEMPERATURES = (-2.0, 2.0)  # natural logs


def some_of_each_cell(table: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
    """At most :data:`PEOPLE` rows of each cell, spread evenly over it, and no rows lost."""
    every = (pl.len() / PEOPLE).ceil()
    return table.filter((pl.int_range(pl.len()) % every == 0).over(CELL)), {}


def calibrate(
    validation: pl.DataFrame, predicted: pl.DataFrame, train: pl.DataFrame, max_options: int
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """A model's predictions of test rows corrected by those of ``validation``, and what was chosen, for the manifest.

    ``train``: study_id, scale and response of the training rows. Scales beyond ``max_options`` are thinned.
    """
    marginals = train_marginals(train.drop_nulls(), max_options)
    study = validation["study_id"].rank("dense").to_numpy().astype(np.int64) - 1
    answered = np.maximum(np.bincount(study), 1)
    blocks = _blocks(validation, marginals)

    def log_scores(settings: Floats) -> Floats:
        """Of each study, for a temperature (its log) and a weight."""
        total = np.zeros(len(answered))
        for rows, p, marginal, answers in blocks:
            own = corrected(p, marginal, *settings)[np.arange(len(p)), answers]
            np.add.at(total, study[rows], np.log(np.maximum(own, FLOOR)))
        return total / answered

    best = np.zeros(2)
    before, average = log_scores(best), log_scores(np.array([0.0, 1.0]))
    if len(answered) > 1:
        found = minimize(
            lambda settings: -log_scores(settings).mean(), [0.0, 0.05],
            method="Nelder-Mead", bounds=[LOG_TEMPERATURES, (0, 1)],
        ).x  # fmt: skip
        gain = log_scores(found) - before
        if gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain)):
            best = found
    about = {
        "temperature": float(np.exp(best[0])),
        "marginal_weight": float(best[1]),
        "validation_answers": validation.height,
    }
    for of, scores in {"": log_scores(best), "_uncorrected": before, "_average": average}.items():
        about[f"validation_log_score{of}"] = float(scores.mean()) if len(answered) else 0.0
    about = {key: round(value, 9) for key, value in about.items()}
    if not best.any():
        return predicted, about
    lists: list[Floats] = [np.empty(0)] * predicted.height
    for rows, p, marginal, _ in _blocks(predicted, marginals):
        for row, values in zip(rows, corrected(p, marginal, *best), strict=True):
            lists[row] = values
    column = pl.Series("probabilities", lists).cast(pl.List(pl.Float32))
    return predicted.with_columns(column), about


def corrected(p: Floats, marginal: Floats, log_temperature: float, weight: float) -> Floats:
    """p' of the module's formula for distributions ``[rows, options]`` and ``marginal`` ``[options]``."""
    logits = np.log(np.maximum(p, np.finfo(np.float32).tiny)) / np.exp(log_temperature)
    sharpened = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (1 - weight) * sharpened / sharpened.sum(axis=1, keepdims=True) + weight * marginal


def _blocks(table: pl.DataFrame, marginals: dict[int, Floats]) -> list[tuple[Ints, Floats, Floats, Ints]]:
    """Of each scale: positions of its rows, their distributions, the training average, indices of their answers."""
    found = []
    for (notation,), part in table.with_row_index("row").group_by("scale", maintain_order=True):
        options = scale(str(notation))
        size = len(options.options)
        p = part["probabilities"].explode().to_numpy().reshape(-1, size).astype(np.float64)
        answers = np.searchsorted(options.options, nearest(options, part["response"].to_numpy()))
        marginal = marginals.get(size, np.full(size, 1 / size))
        found.append((part["row"].to_numpy().astype(np.int64), p, marginal, answers))
    return found

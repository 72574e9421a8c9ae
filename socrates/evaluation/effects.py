"""Does the prediction move with the experiment as people do?

A condition's effect is its mean answer minus the mean over the conditions of the same study and
task, on the stated scale. Level errors cancel: only the difference that the treatment makes is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from socrates.evaluation import distance
from socrates.evaluation.cells import Floats, Ints, Survey
from socrates.evaluation.intervals import (
    StudyStatistic,
    angle,
    angle_back,
    correlation,
    fisher,
    moments,
    share,
    sums_by,
)

SMALLEST_MOVE = 1e-6  # largest effect, as a share of the scale, of a predictor that does not move
CREDIBLE = 1.959964  # |z| from which a human difference counts as credible


@dataclass(frozen=True)
class Effects:
    """Condition effects, one entry per comparable cell (M of them).

    Attributes:
        cell: [M] index of the cell.
        group: [M] index of its study and task.
        study: [M] index of its study.
        condition: [M] its condition, numbered within the whole survey.
        human, predicted: [M] centred mean answers, shares of the stated scale.
        error: [M] standard error of the human mean.
    """

    cell: Ints
    group: Ints
    study: Ints
    condition: Ints
    human: Floats
    predicted: Floats
    error: Floats

    @property
    def moves(self) -> bool:
        """Whether any prediction differs between conditions."""
        return bool(len(self.predicted)) and bool(np.abs(self.predicted).max() > SMALLEST_MOVE)


def condition_effects(survey: Survey, pmf: Floats, min_cell_size: int) -> Effects:
    """Centred condition means of the studies and tasks with two or more conditions on one scale.

    Args:
        pmf: [C, K] the predictor's cell distributions.
        min_cell_size: respondents below which a cell's mean is not used.
    """
    table = survey.cells.with_columns(
        pl.struct("study_id", "task_num", "scale").rank("dense").alias("group"),
        pl.struct("study_id", "condition_num").rank("dense").alias("condition"),
    )
    group = table["group"].to_numpy().astype(np.int64)
    group = np.where(survey.respondents >= min_cell_size, group, -1)
    _, index, count = np.unique(group, return_inverse=True, return_counts=True)
    cell = np.flatnonzero((count[index] >= 2) & (group >= 0))
    _, group = np.unique(group[cell], return_inverse=True)
    positions = survey.positions[cell]
    human, n = survey.human[cell], survey.respondents[cell]
    variance = distance.deviation(human, positions) ** 2 / np.maximum(n - 1, 1)
    return Effects(
        cell,
        group,
        survey.study[cell],
        table["condition"].to_numpy().astype(np.int64)[cell],
        _centred(distance.mean(human, positions), group),
        _centred(distance.mean(pmf[cell], positions), group),
        np.sqrt(variance),
    )


def _centred(values: Floats, group: Ints) -> Floats:
    """[M] values minus the mean of their group."""
    return values - (np.bincount(group, values) / np.bincount(group))[group] if len(values) else values


KEYS = ("r", "slope", "residual_sd", "sign_accuracy", "size_ratio")


def effect_statistics(effects: Effects) -> dict[str, StudyStatistic]:
    """How the predicted condition effects agree with those of people, as functions of sums over studies.

    ``r`` is Pearson's correlation. ``slope`` is of human on predicted effects, through the origin (both are
    centred): 1 is right, below 1 the prediction exaggerates, above 1 it understates. ``residual_sd`` is
    what is left of a human effect beside slope x prediction, a standard deviation as a share of the
    scale; each task's centring and the slope take a degree of freedom. ``sign_accuracy`` is the share of
    the credibly different pairs of conditions (|z| >= 1.96 in people) that the prediction puts in the
    right order, a tie counting one half. ``size_ratio`` is the root mean square of predicted effects
    over that of people.

    A predictor that gives every condition the same mean has nothing to correlate: it gets no figures,
    not whatever rounding noise would fit.
    """
    x, y = effects.predicted, effects.human
    if not effects.moves or not np.abs(y).max() > SMALLEST_MOVE:
        return {}
    studies = int(effects.study.max()) + 1
    compared = np.bincount(effects.study, minlength=studies) > 0
    tasks = np.bincount(effects.study[np.unique(effects.group, return_index=True)[1]], minlength=studies)
    sums = np.column_stack([moments(x, y, effects.study, studies), tasks])[compared]
    statistics = {
        "r": StudyStatistic(lambda t: correlation(t[..., :6]), sums, fisher, np.tanh),
        "slope": StudyStatistic(lambda t: share(t[..., [3, 4]]), sums),
        "residual_sd": StudyStatistic(_residual_sd, sums, np.log, np.exp),
        "size_ratio": StudyStatistic(lambda t: np.sqrt(share(t[..., [4, 5]])), sums, np.log, np.exp),
    }
    left, right = credible_pairs(effects)
    if len(left):
        agree = (np.sign(x[left] - x[right]) * np.sign(y[left] - y[right]) + 1) / 2
        both = sums_by(effects.study[left], studies, agree, np.ones(len(left)))
        statistics["sign_accuracy"] = StudyStatistic(share, both[both[:, 1] > 0], angle, angle_back)
    return statistics


def _residual_sd(sums: Floats) -> Floats:
    cells, _, _, xy, xx, yy, tasks = np.moveaxis(sums, -1, 0)
    left = yy - xy * np.nan_to_num(share(np.stack([xy, xx], axis=-1)))
    freedom = cells - tasks - 1
    variance = np.divide(left, freedom, out=np.full(np.shape(left), np.nan), where=freedom > 0)
    return np.sqrt(np.maximum(variance, 1e-18))  # a perfect fit: its logarithm stays finite


def credible_pairs(effects: Effects) -> tuple[Ints, Ints]:
    """Indices of the pairs of conditions of one study and task that differ credibly in people."""
    left, right = np.nonzero(np.triu(effects.group[:, None] == effects.group, 1))
    gap = np.abs(effects.human[left] - effects.human[right])
    credible = gap > CREDIBLE * np.hypot(effects.error[left], effects.error[right])
    return left[credible], right[credible]


def permutation_p(effects: Effects, permutations: int, rng: np.random.Generator) -> float | None:
    """Share of shuffles whose r is at least the one found, both counted (Phipson and Smyth 2010).

    The conditions of a study are shuffled once for all its tasks, because its tasks are answered by
    the same people and are not independent evidence.
    """
    if permutations == 0 or not effects.moves:
        return None
    x, y = effects.predicted, effects.human
    order = np.argsort(effects.group, kind="stable")
    observed, extreme = float(x @ y), 0
    for _ in range(permutations):
        key = rng.random(effects.condition.max() + 1)[effects.condition]
        shuffled = np.empty_like(x)
        shuffled[order] = x[np.lexsort((key, effects.group))]
        extreme += float(shuffled @ y) >= observed - 1e-15
    return (extreme + 1) / (permutations + 1)

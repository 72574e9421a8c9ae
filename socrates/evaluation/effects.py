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
from socrates.evaluation.intervals import Interval, correlation, fisher, jackknife_interval, moments

STILL = 1e-6  # largest effect, as a share of the scale, of a predictor that does not move
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
        return bool(len(self.predicted)) and bool(np.abs(self.predicted).max() > STILL)


def effects(survey: Survey, pmf: Floats, min_cell_size: int) -> Effects:
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
    low, high = survey.grid[:, 0], survey.grid[:, -1]
    place = ((survey.grid - low[:, None]) / (high - low)[:, None])[cell]
    human, n = survey.human[cell], survey.respondents[cell]
    variance = distance.deviation(human, place) ** 2 / np.maximum(n - 1, 1)
    return Effects(
        cell,
        group,
        survey.study[cell],
        table["condition"].to_numpy().astype(np.int64)[cell],
        _centred(distance.mean(human, place), group),
        _centred(distance.mean(pmf[cell], place), group),
        np.sqrt(variance),
    )


def _centred(values: Floats, group: Ints) -> Floats:
    return values - (np.bincount(group, values) / np.bincount(group))[group] if len(values) else values


@dataclass(frozen=True)
class EffectScores:
    """What :func:`score` finds; None where the data or the predictor do not define it.

    Attributes:
        r: Pearson correlation of predicted and human effects, over studies and tasks.
        slope: of human on predicted effects through the origin (both are centred): 1 is right,
            below 1 the prediction exaggerates, above 1 it understates.
        sign_accuracy: share of the credibly different pairs of conditions (|z| >= 1.96 in people)
            that the prediction puts in the right order; a tie counts one half.
        size_ratio: root mean square of predicted effects over that of people.
        p: one-sided permutation p-value of r, conditions shuffled within each study.
        comparisons: cells compared; pairs: credible pairs among them.
    """

    r: Interval
    slope: float | None
    sign_accuracy: float | None
    size_ratio: float | None
    p: float | None
    comparisons: int
    pairs: int


def score(found: Effects, permutations: int, rng: np.random.Generator) -> EffectScores:
    """How the predicted condition effects agree with those of people.

    A predictor that gives every condition the same mean has no correlation to report: its figures
    are None, not whatever rounding noise would fit.
    """
    x, y = found.predicted, found.human
    left, right = _credible_pairs(found)
    if not found.moves or not np.abs(y).max() > STILL:
        return EffectScores(
            Interval(None, None, None, None, None, 0), None, None, None, None, len(x), len(left)
        )
    parts = moments(x, y, found.study, int(found.study.max()) + 1)
    r = jackknife_interval(correlation, parts[parts[:, 0] > 0], fisher, np.tanh)
    xy, xx, yy = parts[:, 3:].sum(axis=0)
    agree = np.sign(x[left] - x[right]) * np.sign(y[left] - y[right])
    return EffectScores(
        r,
        float(xy / xx),
        float((agree + 1).mean() / 2) if len(left) else None,
        float(np.sqrt(xx / yy)),
        permutation_p(found, permutations, rng),
        len(x),
        len(left),
    )


def _credible_pairs(found: Effects) -> tuple[Ints, Ints]:
    """Indices of the pairs of conditions of one study and task that differ credibly in people."""
    pairs = (
        [
            (i, j)
            for members in np.split(
                np.argsort(found.group, kind="stable"), np.cumsum(np.bincount(found.group))[:-1]
            )
            for a, i in enumerate(members)
            for j in members[a + 1 :]
        ]
        if len(found.group)
        else []
    )
    left, right = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    gap = np.abs(found.human[left] - found.human[right])
    credible = gap > CREDIBLE * np.hypot(found.error[left], found.error[right])
    return left[credible], right[credible]


def permutation_p(found: Effects, permutations: int, rng: np.random.Generator) -> float | None:
    """Share of shuffles whose r is at least the one found, both counted (Phipson and Smyth 2010).

    The conditions of a study are shuffled once for all its tasks, because its tasks are answered by
    the same people and are not independent evidence.
    """
    if permutations == 0:
        return None
    x, y = found.predicted, found.human
    order = np.argsort(found.group, kind="stable")
    observed, extreme = float(x @ y), 0
    for _ in range(permutations):
        key = rng.random(found.condition.max() + 1)[found.condition]
        shuffled = np.empty_like(x)
        shuffled[order] = x[np.lexsort((key, found.group))]
        extreme += float(shuffled @ y) >= observed - 1e-15
    return (extreme + 1) / (permutations + 1)

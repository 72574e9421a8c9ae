"""Does the prediction move with the experiment as people do?

A condition's effect is its mean answer minus the mean over the conditions of the same study and
task, on the stated scale. Level errors cancel: only the difference that the treatment makes is left.
"""

from __future__ import annotations

from collections.abc import Callable
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
SMALLEST_RATIO = 0.05  # of predicted over human effects, for a slope to be given
SURE = 3.0  # |z| from which a human difference counts as sure
MOST = 10_000.0  # respondents that a prediction is said to be worth at most


@dataclass(frozen=True)
class Effects:
    """Condition effects, one entry per comparable cell (M of them).

    Attributes:
        cell: [M] index of the cell.
        group: [M] index of its study and task.
        study: [M] index of its study.
        human, predicted: [M] centred mean answers, shares of the stated scale.
        error: [M] standard error of the human mean.
        respondents: [M] people behind the human mean.
    """

    cell: Ints
    group: Ints
    study: Ints
    human: Floats
    predicted: Floats
    error: Floats
    respondents: Ints

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
    ranks = survey.cells.select(pl.struct("study_id", "task_num", "scale").rank("dense").cast(pl.Int64))
    question = ranks.to_series().to_numpy()
    group = np.where(survey.respondents >= min_cell_size, question, -1)
    _, index, count = np.unique(group, return_inverse=True, return_counts=True)
    cell = np.flatnonzero((count[index] >= 2) & (group >= 0))
    _, group = np.unique(group[cell], return_inverse=True)
    positions = survey.positions[cell]
    error, people = human_errors(survey, question)
    return Effects(
        cell,
        group,
        survey.study[cell],
        _centred(distance.mean(survey.human[cell], positions), group),
        _centred(distance.mean(pmf[cell], positions), group),
        error[cell],
        people[cell],
    )


def human_errors(survey: Survey, group: Ints) -> tuple[Floats, Ints]:
    """[C] standard errors of human means in contrasts within a question, and the people behind each mean.

    Repeated answers of one person in a cell are one cluster (their sum counts, Liang and Zeger 1986). Who answered
    under several conditions of a question counts with what is left beside their own mean over them, which cancels in
    contrasts: the paired error. For one answer a person this is the standard error of the mean.

    Args:
        group: [C] the question of each cell.
    """
    place = np.empty(len(survey.rows))
    for block in survey.blocks:
        place[block.rows] = survey.positions[block.cell, block.columns][block.answers]
    of = survey.cell_of_answer
    deviation = place - (np.bincount(of, place) / survey.respondents)[of]
    count = int(survey.person.max()) + 1
    key, index = np.unique(of * count + survey.person, return_inverse=True)
    total, cell = np.bincount(index, deviation), key // count
    _, pair = np.unique(group[cell] * count + key % count, return_inverse=True)
    conditions = np.bincount(pair)
    own = total - np.where(conditions > 1, np.bincount(pair, total) / conditions, 0)[pair]
    own = own * np.sqrt(conditions / np.maximum(conditions - 1, 1))[pair]
    people = np.bincount(cell, minlength=len(group))
    variance = np.bincount(cell, own**2, len(group)) / survey.respondents**2
    return np.sqrt(variance * people / np.maximum(people - 1, 1)), people


def _centred(values: Floats, group: Ints) -> Floats:
    """[M] values minus the mean of their group."""
    return values - (np.bincount(group, values) / np.bincount(group))[group] if len(values) else values


def effect_statistics(effects: Effects) -> dict[str, StudyStatistic]:
    """How the predicted condition effects agree with those of people, as functions of sums over studies.

    With x predicted and y human effects, both centred, and people's sampling noise in y^2 known (N):

    - ``r``: Pearson's correlation; ``reliability``: 1 - N / sum y^2, the correlation of two samples of these sizes
      (split halves stepped up after Spearman and Brown); ``r_disattenuated``: r / sqrt(reliability).
    - ``slope``: human on predicted effects, through the origin: below 1 the prediction exaggerates. Not given where
      the predictor hardly moves: a ratio over about nothing says nothing.
    - ``skill``: 1 - (sum (y - x)^2 - N) / (sum y^2 - N): 0 is predicting no effect, 1 is right.
    - ``respondents``: people of an arm whose sampling error is as large as the error of slope x, see ``worth``.
    - ``captured_gain``: y of the condition predicted highest minus that of the lowest, over the largest difference.
    - ``sign_accuracy_sure``: the share of the pairs of conditions that differ in people with |z| >= 3 which the
      prediction puts in the right order, a tie counting one half.
    - ``size_ratio``: root mean square of predicted over human effects.

    A predictor that gives every condition the same mean has nothing to correlate: it gets a skill and a gain of 0,
    and not whatever rounding noise would fit.
    """
    x, y = effects.predicted, effects.human
    if not len(x) or not np.abs(y).max() > SMALLEST_MOVE:
        return {}
    x = x if effects.moves else np.zeros_like(x)  # rounding noise has an order, too
    studies = int(effects.study.max()) + 1
    compared = np.bincount(effects.study, minlength=studies) > 0
    free = 1 - 1 / np.bincount(effects.group)[effects.group]  # a question of k conditions has k - 1
    noise = effects.error**2 * free
    known = sums_by(effects.study, studies, noise, noise * effects.respondents)
    sums = np.column_stack([moments(x, y, effects.study, studies), known])[compared]
    statistics = {
        "skill": StudyStatistic(_skill, sums),
        "captured_gain": StudyStatistic(share, _gain(effects, x)),
    }
    if not effects.moves:
        return statistics
    left, right = sure_pairs(effects)
    if len(left):
        agree = (np.sign(x[left] - x[right]) * np.sign(y[left] - y[right]) + 1) / 2
        both = sums_by(effects.study[left], studies, agree, np.ones(len(left)))
        statistics["sign_accuracy_sure"] = StudyStatistic(share, both[both[:, 1] > 0], angle, angle_back)
    size = StudyStatistic(lambda t: np.sqrt(distance.ratio(t[..., 4], t[..., 5])), sums, np.log, np.exp)
    if size.value >= SMALLEST_RATIO:
        statistics["slope"] = StudyStatistic(lambda t: distance.ratio(t[..., 3], t[..., 4]), sums)
    return statistics | {
        "r": StudyStatistic(lambda t: correlation(t[..., :6]), sums, fisher, np.tanh),
        "reliability": StudyStatistic(_reliability, sums),
        "r_disattenuated": StudyStatistic(
            lambda t: correlation(t[..., :6]) / np.sqrt(np.maximum(_reliability(t), 1e-3)), sums
        ),
        "size_ratio": size,
        "respondents": worth(sums, lambda t: t[..., 7], lambda t: _left(t) - t[..., 6]),
    }


def worth(
    sums: Floats, spread: Callable[[Floats], Floats], error: Callable[[Floats], Floats]
) -> StudyStatistic:
    """How many people's sample errs as much as a prediction: variance of an answer over squared error.

    ``MOST`` where the error cannot be told from none; the interval is that of the inverse.

    Args:
        spread, error: both from [..., M] sums to [...].
    """

    def people(total: Floats) -> Floats:
        top, bottom = spread(total), error(total)
        return np.divide(top, bottom, out=np.full(np.shape(top), MOST), where=bottom > top / MOST)

    return StudyStatistic(people, sums, lambda n: -1 / n, lambda inverse: -1 / np.minimum(inverse, -1 / MOST))


def _reliability(sums: Floats) -> Floats:
    return 1 - distance.ratio(sums[..., 6], sums[..., 5])


def _left(sums: Floats) -> Floats:
    """Squares of human effects beside slope x predicted ones."""
    xy, xx, yy = np.moveaxis(sums[..., 3:6], -1, 0)
    return yy - xy * np.nan_to_num(distance.ratio(xy, xx))


def _skill(sums: Floats) -> Floats:
    xy, xx, yy, noise = np.moveaxis(sums[..., 3:7], -1, 0)
    return distance.ratio(2 * xy - xx, yy - noise)


def _gain(effects: Effects, x: Floats) -> Floats:
    """[S, 2] by study: what choosing by x wins in people, and what choosing by people themselves does."""
    rows = []
    for group in np.unique(effects.group):
        of = effects.group == group
        px, py = x[of], effects.human[of]
        won = py[px == px.max()].mean() - py[px == px.min()].mean()
        rows.append((effects.study[of][0], won, py.max() - py.min()))
    study, won, most = np.array(rows).T
    sums = sums_by(study.astype(np.int64), int(study.max()) + 1, won, most)
    return sums[sums[:, 1] > 0]


def sure_pairs(effects: Effects) -> tuple[Ints, Ints]:
    """Indices of the pairs of conditions of one study and task whose human means differ by three standard errors."""
    left, right = np.nonzero(np.triu(effects.group[:, None] == effects.group, 1))
    gap = np.abs(effects.human[left] - effects.human[right])
    sure = gap > SURE * np.hypot(effects.error[left], effects.error[right])
    return left[sure], right[sure]

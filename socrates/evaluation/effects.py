"""Does the prediction move with the experiment as people do?

A condition's effect is its mean answer minus the mean over the conditions of the same study and
task, on the stated scale. Level errors cancel: only the difference that the treatment makes is left.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from socrates.evaluation import intervals
from socrates.evaluation.cells import Survey
from socrates.evaluation.distance import Floats, Ints, ratio
from socrates.evaluation.intervals import Function, StudyStatistic, Transform, centred, moments, sums_by

SMALLEST_MOVE = 1e-6  # largest effect, as a share of the scale, of a predictor that does not move
SMALLEST_RATIO = 0.05  # of predicted over human effects, for a slope to be given
SURE = 3.0  # |z| from which a human difference counts as sure
MOST = 10_000.0  # respondents that a prediction is said to be worth at most


@dataclass(frozen=True)
class Effects:
    """Condition effects, one entry per comparable cell (M of them)."""

    cell: Ints  # [M] index of the cell
    group: Ints  # [M] index of its study and task
    study: Ints  # [M] index of its study
    human: Floats  # [M] centred mean answers, shares of the stated scale
    predicted: Floats
    error: Floats  # [M] standard error of the human mean
    respondents: Ints  # [M] people behind the human mean


def condition_effects(survey: Survey, pmf: Floats, min_cell_size: int) -> Effects:
    """Centred condition means of the studies and tasks with two or more conditions on one scale.

    ``pmf`` [C, K] are the predictor's cell distributions; smaller cells than ``min_cell_size`` are not used.
    """
    group = np.where(survey.respondents >= min_cell_size, survey.question, -1)
    _, index, count = np.unique(group, return_inverse=True, return_counts=True)
    cell = np.flatnonzero((count[index] >= 2) & (group >= 0))
    _, group = np.unique(group[cell], return_inverse=True)
    means = ((shares[cell] * survey.positions[cell]).sum(axis=1) for shares in (survey.human, pmf))
    human, predicted = (centred(group, mean) for mean in means)
    error, people = human_errors(survey, survey.question)
    return Effects(cell, group, survey.study[cell], human, predicted, error[cell], people[cell])


def human_errors(survey: Survey, group: Ints) -> tuple[Floats, Ints]:
    """[C] standard errors of human means in contrasts within a question, and the people behind each mean.

    Repeated answers of one person in a cell are one cluster (their sum counts, Liang and Zeger 1986). Who answered
    under several conditions of a question (``group`` [C]) counts with what is left beside their own mean over them,
    which cancels in contrasts: the paired error. For one answer a person this is the standard error of the mean.
    """
    place, positions = np.empty(len(survey.rows)), survey.positions
    for block in survey.blocks:
        place[block.rows] = positions[block.cell, block.columns][block.answers]
    of = survey.cell_of_answer
    count = int(survey.person.max()) + 1
    key, index = np.unique(of * count + survey.person, return_inverse=True)
    total, cell = np.bincount(index, centred(of, place)), key // count
    _, pair = np.unique(group[cell] * count + key % count, return_inverse=True)
    conditions = np.bincount(pair)
    own = total - np.where(conditions > 1, np.bincount(pair, total) / conditions, 0)[pair]
    own = own * np.sqrt(conditions / np.maximum(conditions - 1, 1))[pair]
    people = np.bincount(cell, minlength=len(group))
    variance = np.bincount(cell, own**2, len(group)) / survey.respondents**2
    return np.sqrt(variance * people / np.maximum(people - 1, 1)), people


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
    moves = np.abs(x).max() > SMALLEST_MOVE
    x = x if moves else np.zeros_like(x)  # rounding noise has an order, too
    names, study = np.unique(effects.study, return_inverse=True)
    free = 1 - 1 / np.bincount(effects.group)[effects.group]  # a question of k conditions has k - 1
    noise = effects.error**2 * free
    known = sums_by(study, len(names), noise, noise * effects.respondents)
    sums = np.column_stack([moments(x, y, study, len(names)), known])

    def of(formula: Callable[..., Floats], transform: Transform = intervals.PLAIN) -> StudyStatistic:
        """A formula of the sums xy, xx, yy and N."""
        return StudyStatistic(lambda t: formula(*np.moveaxis(t[..., 3:7], -1, 0)), sums, transform)

    statistics = {
        "skill": of(lambda xy, xx, yy, noise: ratio(2 * xy - xx, yy - noise)),
        "captured_gain": StudyStatistic(intervals.share, _gain(effects, x)),
    }
    if not moves:
        return statistics
    left, right = sure_pairs(effects)
    if len(left):
        agree = (np.sign(x[left] - x[right]) * np.sign(y[left] - y[right]) + 1) / 2
        both = sums_by(study[left], len(names), agree, np.ones(len(left)))
        statistics["sign_accuracy_sure"] = StudyStatistic(
            intervals.share, both[both[:, 1] > 0], intervals.ANGLE
        )
    size = of(lambda xy, xx, yy, noise: np.sqrt(ratio(xx, yy)), intervals.LOGARITHM)
    if size.value >= SMALLEST_RATIO:
        statistics["slope"] = of(lambda xy, xx, yy, noise: ratio(xy, xx))
    r = StudyStatistic(lambda t: intervals.correlation(t[..., :6]), sums, intervals.FISHER)
    root = of(lambda xy, xx, yy, noise: np.sqrt(np.maximum(1 - ratio(noise, yy), 1e-3))).statistic
    beside = of(lambda xy, xx, yy, noise: yy - xy * np.nan_to_num(ratio(xy, xx)) - noise)  # slope x
    return statistics | {
        "r": r,
        "reliability": of(lambda xy, xx, yy, noise: 1 - ratio(noise, yy)),
        "r_disattenuated": StudyStatistic(lambda t: r.statistic(t) / root(t), sums),
        "size_ratio": size,
        "respondents": worth(lambda t: t[..., 7], beside.statistic, sums),
    }


def worth(spread: Function, error: Function, sums: Floats) -> StudyStatistic:
    """How many people's sample errs as much as a prediction: variance of an answer over squared error.

    Both are functions of [..., M] sums. ``MOST`` where the error cannot be told from none; the interval is that of
    the inverse.
    """

    def people(total: Floats) -> Floats:
        top, bottom = spread(total), error(total)
        return np.divide(top, bottom, out=np.full(np.shape(top), MOST), where=bottom > top / MOST)

    inverse = (lambda n: -1 / n, lambda of_n: -1 / np.minimum(of_n, -1 / MOST))
    return StudyStatistic(people, sums, inverse)


def _gain(effects: Effects, x: Floats) -> Floats:
    """[S, 2] by study: what choosing by x wins in people, and what choosing by people themselves does."""
    sums = np.zeros((effects.study.max() + 1, 2))
    for group in np.unique(effects.group):
        of = effects.group == group
        px, py = x[of], effects.human[of]
        won = py[px == px.max()].mean() - py[px == px.min()].mean()
        sums[effects.study[of][0]] += won, py.max() - py.min()
    return sums[sums[:, 1] > 0]


def sure_pairs(effects: Effects) -> tuple[Ints, Ints]:
    """Indices of the pairs of conditions of one study and task whose human means differ by three standard errors."""
    left, right = np.nonzero(np.triu(effects.group[:, None] == effects.group, 1))
    gap = np.abs(effects.human[left] - effects.human[right])
    sure = gap > SURE * np.hypot(effects.error[left], effects.error[right])
    return left[sure], right[sure]

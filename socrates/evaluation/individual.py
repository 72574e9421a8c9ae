"""How well each respondent's own answer is predicted.

A metric of answers takes one block of them, and gives [n]:

    p          [n, k] probabilities, or [1, k] where all respondents get the same
    answers    [n] index of each human answer
    positions  [k] the options, as shares of the question's own range, so that a slip on a 0-100 question and on a
               yes/no question weigh the same and no error exceeds 1

Sums are numpy's own, not a matrix product's, whose last bits depend on the CPU.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from socrates.evaluation.cells import Floats, Ints, Predictor, Survey
from socrates.evaluation.intervals import sums_by

Reals = NDArray[np.floating]
AnswerMetric = Callable[[Reals, Ints, Reals], Reals]
AnswerMetrics = Mapping[str, AnswerMetric]
PROBABILITY_FLOOR = 1e-6  # an answer held impossible would otherwise make the mean infinite
BINS = 10


def _at(values: Reals, answers: Ints) -> Reals:
    """[n] the value of each answer, from [n, k] or [1, k]."""
    return values[np.arange(len(answers)) % len(values), answers]


# Values of each answer that are no metric themselves; figures are made of them.
PARTS: dict[str, AnswerMetric] = {
    "truth": lambda p, answers, positions: positions[answers],
    "below": lambda p, answers, positions: _at(np.cumsum(p, axis=1) - p, answers),  # on lower options
    "mean": lambda p, answers, positions: np.broadcast_to((p * positions).sum(axis=1), len(answers)),
}


def accuracy(p: Reals, answers: Ints, positions: Reals) -> Reals:
    """1 - |drawn - answer|, the expectation over a draw from the prediction."""
    return 1 - (p * np.abs(positions - positions[answers][:, None])).sum(axis=1)


def absolute_error(p: Reals, answers: Ints, positions: Reals) -> Reals:
    """|median - answer|, for the prediction's (lower) median."""
    median = np.argmax(np.cumsum(p, axis=1) >= 0.5 - 1e-6, axis=1)
    return np.abs(positions[median] - positions[answers])


def exact_match(p: Reals, answers: Ints, positions: Reals) -> Reals:
    """Probability on the human answer."""
    return _at(p, answers)


def within_one(p: Reals, answers: Ints, positions: Reals) -> Reals:
    """Probability on the human answer and its neighbours on the scale."""
    padded = np.pad(p, ((0, 0), (1, 1)))
    return _at(padded, answers) + _at(padded, answers + 1) + _at(padded, answers + 2)


def log_likelihood(p: Reals, answers: Ints, positions: Reals) -> Reals:
    """Natural log of the probability on the human answer, which is floored at 1e-6."""
    return np.log(np.maximum(_at(p, answers).astype(np.float32), PROBABILITY_FLOOR))


def crps(p: Reals, answers: Ints, positions: Reals) -> Reals:
    """Ranked probability score (Epstein 1969): squared error of the cumulative distribution, over the range."""
    above = np.arange(len(positions) - 1) >= answers[:, None]
    return ((np.cumsum(p, axis=1)[:, :-1] - above) ** 2 * np.diff(positions)).sum(axis=1)


class Gain(partial[Reals]):
    """A metric that holds a respondent against the others of the cell who read the same text."""


def gain_over_shuffled(score: AnswerMetric, p: Reals, answers: Ints, positions: Reals) -> Reals:
    """How much ``score`` gains by each respondent's own persona, over the personas of the others of the cell.

    The mean over all ways to shuffle the personas within the cell, exactly: who reads the same text with another's
    persona gets the other's prediction, so that nothing is predicted again. Who alone read a text gains 0.
    """
    n = len(answers)
    if len(p) == 1 or n == 1:
        return np.zeros(n, dtype=np.float32)
    own = score(p, answers, positions)
    by_answer = {int(y): score(p, np.full(n, y), positions).sum() for y in np.unique(answers)}
    others = (np.array([by_answer[int(y)] for y in answers]) - own) / (n - 1)
    return own - others


def gain_over_mean(score: AnswerMetric, p: Reals, answers: Ints, positions: Reals) -> Reals:
    """How much ``score`` gains by each respondent's own prediction, over the mean prediction of the cell."""
    return score(p, answers, positions) - score(p.mean(axis=0, keepdims=True), answers, positions)


def answer_scores(survey: Survey, predictor: Predictor, metrics: AnswerMetrics) -> dict[str, Reals]:
    """metric -> [N]. A block with one shared distribution costs as much as a row of it."""
    scores = {key: np.empty(len(survey.rows), dtype=np.float32) for key in metrics}
    for block, p in zip(survey.blocks, predictor.blocks, strict=True):
        positions = block.positions.astype(np.float32)
        for key, metric in metrics.items():
            values = scores[key][block.rows]
            parts = block.texts if isinstance(metric, Gain) and len(p) > 1 else ()
            for part in parts or (slice(None),):
                values[part] = metric(p[part], block.answers[part], positions)
    return scores


def pit(below: Reals, exact: Reals, study: Ints, studies: int) -> Floats:
    """[S, BINS] answers by their probability integral transform, in ten equal bins from 0 to 1.

    The transform of an answer with probability q (``exact`` [N]) above options of probability F (``below`` [N]) is
    uniform on [F, F + q] (randomised for discrete answers, Brockwell 2007); each answer is spread evenly over that
    stretch, which is the mean over the randomisation (Czado, Gneiting and Held 2009). Answers that follow the
    predictions fill all bins alike; full outer bins are predictions that are too narrow, full upper bins ones that
    are too low. ``study`` [N] is the index of each answer's.
    """
    edges = np.linspace(0, 1, BINS + 1)[1:-1]
    reached = np.clip((edges - below[:, None]) / np.maximum(exact, 1e-9)[:, None], 0, 1)
    shares = np.diff(reached, axis=1, prepend=0, append=1)
    return sums_by(study, studies, *shares.T)


def pit_deviation(sums: Floats) -> Floats:
    """The share of answers that would have to move for :func:`pit` to be flat: half the sum of |share - 1/10|."""
    return np.abs(sums / sums.sum(axis=-1, keepdims=True) - 1 / BINS).sum(axis=-1) / 2


def apply_temperature_top_p(p: Reals, temperature: float, top_p: float) -> Reals:
    """[n, k] probabilities sharpened and cut as a sampler does.

    Probabilities are raised to 1 / temperature and renormalised; then the likeliest options are kept until their sum
    reaches ``top_p`` (Holtzman et al. 2020), with all that are as likely as the last of them, and renormalised again.
    This is done on whole answers, which for one-token answers is what a token sampler does.
    """
    sharp = (p / p.max(axis=1, keepdims=True)) ** (1 / temperature)
    sharp /= sharp.sum(axis=1, keepdims=True)
    if top_p >= 1:
        return sharp
    ranked = -np.sort(-sharp, axis=1)
    outside = np.cumsum(ranked, axis=1) - ranked >= top_p
    last = np.where(outside, np.inf, ranked).min(axis=1, keepdims=True)
    sharp[sharp < last * (1 - 1e-6)] = 0
    return sharp / sharp.sum(axis=1, keepdims=True)


def draw_answers(survey: Survey, predictor: Predictor, draws: int, rng: np.random.Generator) -> list[Floats]:
    """``draws`` arrays [C, K], the shares of one drawn answer per respondent."""
    cells = [np.zeros_like(survey.human) for _ in range(draws)]
    for block, p in zip(survey.blocks, predictor.blocks, strict=True):
        cumulative = np.cumsum(p, axis=1)[:, :-1]
        for shares in cells:
            u = rng.random((len(block.answers), 1), dtype=np.float32)
            chosen = np.bincount((u >= cumulative).sum(axis=1), minlength=len(block.positions))
            shares[block.cell, block.columns] += chosen
    return [counts / survey.respondents[:, None] for counts in cells]

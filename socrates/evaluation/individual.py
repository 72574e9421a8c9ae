"""How well each respondent's own answer is predicted.

An answer's place is its share of the question's own range (0 at the low end, 1 at the high end), so
that a slip on a 0-100 question and on a yes/no question weigh the same and no error exceeds 1.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from socrates.evaluation.cells import Floats, Ints, Predictor, Survey

PROBABILITY_FLOOR = 1e-6  # an answer held impossible would otherwise make the mean infinite


@dataclass(frozen=True)
class Individual:
    """One value per row, each [N] float32.

    Attributes:
        truth: place of the human answer on its scale, 0 to 1.
        mean: predicted mean place.
        accuracy: 1 - |drawn - answer| / range, the expectation over a draw from the prediction.
        accuracy_median: 1 - |median - answer| / range, for the prediction's (lower) median.
        squared_error: (mean - truth)^2.
        exact_match: probability on the human answer.
        within_one: probability on it and its neighbours on the scale.
        log_likelihood: natural log of ``exact_match``, which is floored at 1e-6.
        brier: sum over options of (probability - 1 if chosen)^2 (Brier 1950), 0 to 2.
        confidence: the largest probability.
        correct: 1 where the option of that probability is the human answer.
    """

    truth: NDArray[np.float32]
    mean: NDArray[np.float32]
    accuracy: NDArray[np.float32]
    accuracy_median: NDArray[np.float32]
    squared_error: NDArray[np.float32]
    exact_match: NDArray[np.float32]
    within_one: NDArray[np.float32]
    log_likelihood: NDArray[np.float32]
    brier: NDArray[np.float32]
    confidence: NDArray[np.float32]
    correct: NDArray[np.float32]


def individual(survey: Survey, predictor: Predictor) -> Individual:
    """Every row's scores. A block with one shared distribution costs as much as a row of it."""
    out = {field.name: np.empty(len(survey.rows), dtype=np.float32) for field in fields(Individual)}
    for block, p in zip(survey.blocks, predictor.blocks, strict=True):
        rows, answers, place = block.rows, block.answers, block.positions.astype(np.float32)
        which = np.arange(len(answers)) if len(p) == len(answers) else np.zeros(len(answers), dtype=np.int64)
        # distance[i, j]: between options, so one small product serves all respondents of the block
        distance = np.abs(place[:, None] - place[None, :])
        padded = np.pad(p, ((0, 0), (1, 1)))
        median = np.argmax(np.cumsum(p, axis=1) >= 0.5 - 1e-6, axis=1)
        mode = p.argmax(axis=1)
        match = p[which, answers]
        out["truth"][rows] = place[answers]
        out["mean"][rows] = (p @ place)[which]
        out["accuracy"][rows] = 1 - (p @ distance)[which, answers]
        out["accuracy_median"][rows] = 1 - distance[median[which], answers]
        out["exact_match"][rows] = match
        out["within_one"][rows] = sum(padded[which, answers + step] for step in (0, 1, 2))
        out["brier"][rows] = np.einsum("nk,nk->n", p, p)[which] - 2 * match + 1
        out["confidence"][rows] = p[which, mode[which]]
        out["correct"][rows] = mode[which] == answers
    out["squared_error"] = (out["mean"] - out["truth"]) ** 2
    out["log_likelihood"] = np.log(np.maximum(out["exact_match"], PROBABILITY_FLOOR))
    return Individual(**out)


BINS = 10


def reliability(scores: Individual, study: Ints, studies: int) -> Floats:
    """[S, BINS, 3] answers, summed confidence and summed correctness in ten equal bins of confidence.

    They show how often the option held likeliest is the human answer, by how likely it was held.

    Args:
        study: [N] index of each row's study.
    """
    index = np.minimum((scores.confidence.astype(np.float64) * BINS).astype(np.int64), BINS - 1)
    place = study * BINS + index
    parts = (np.ones(len(place)), scores.confidence, scores.correct)
    sums = [np.bincount(place, part, studies * BINS).reshape(studies, BINS) for part in parts]
    return np.stack(sums, axis=-1)


def calibration_error(sums: Floats) -> Floats:
    """Expected calibration error (Guo et al. 2017): |confidence - correct| by bin, weighted by answers.

    Args:
        sums: [..., BINS * 3] as from :func:`reliability`, summed over studies.
    """
    count, confidence, correct = np.moveaxis(sums.reshape(*sums.shape[:-1], BINS, 3), -1, 0)
    return np.abs(confidence - correct).sum(axis=-1) / count.sum(axis=-1)


def temper(p: NDArray[np.floating], temperature: float, top_p: float) -> NDArray[np.floating]:
    """[n, k] probabilities sharpened and cut as a sampler does.

    Probabilities are raised to 1 / temperature and renormalised; then the likeliest options are
    kept until their sum reaches ``top_p`` (Holtzman et al. 2020), and renormalised again. This is
    done on whole answers, which for one-token answers is what a token sampler does.
    """
    sharp = (p / p.max(axis=1, keepdims=True)) ** (1 / temperature)
    sharp /= sharp.sum(axis=1, keepdims=True)
    if top_p >= 1:
        return sharp
    order = np.argsort(-sharp, axis=1, kind="stable")
    ranked = np.take_along_axis(sharp, order, axis=1)
    ranked[np.cumsum(ranked, axis=1) - ranked >= top_p] = 0
    np.put_along_axis(sharp, order, ranked, axis=1)
    return sharp / sharp.sum(axis=1, keepdims=True)


def spoken(predictor: Predictor, temperature: float, top_p: float) -> Predictor:
    """The distributions that a predictor's drawn answers come from: a language model's are tempered and cut."""
    if not predictor.sampled:
        return predictor
    return replace(predictor, blocks=[temper(p, temperature, top_p) for p in predictor.blocks])


def drawn(survey: Survey, predictor: Predictor, draws: int, rng: np.random.Generator) -> list[Floats]:
    """``draws`` arrays [C, K], the shares of one drawn answer per respondent (:func:`spoken`)."""
    cells = [np.zeros_like(survey.human) for _ in range(draws)]
    for block, p in zip(survey.blocks, predictor.blocks, strict=True):
        cumulative = np.cumsum(p, axis=1)[:, :-1]
        for shares in cells:
            u = rng.random((len(block.answers), 1), dtype=np.float32)
            chosen = np.bincount((u >= cumulative).sum(axis=1), minlength=len(block.options))
            shares[block.cell, block.columns] += chosen
    return [counts / survey.respondents[:, None] for counts in cells]

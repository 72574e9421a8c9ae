"""How far each study's figures could move with other respondents of the same study.

This is the smaller part of a headline's uncertainty (the larger is which studies were drawn), and all
of it for a single study: it gives the bars of the forest plot.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from socrates.evaluation.cells import Floats, Predictor, Survey

CHUNK = 250  # draws at a time: bounds the [respondents, draws] weights of a study
# Poisson(1) by table: the share of 65,536 equally likely integers that falls on each count.
_POISSON = np.searchsorted(stats.poisson.cdf(np.arange(12), 1), (np.arange(65536) + 0.5) / 65536).astype(
    np.float32
)


def poisson_weights(people: int, draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[people, draws] how often each respondent enters each resample: independent Poisson(1).

    The bootstrap of a sample whose size is itself random (Hanley and MacGibbon 2006); for means it
    has the same standard errors as drawing with replacement, without its bookkeeping.
    """
    return _POISSON[rng.integers(0, 65536, size=(people, draws), dtype=np.uint16)]


def study_errors(
    survey: Survey, predictors: list[Predictor], gaps: dict[str, Floats], draws: int, rng: np.random.Generator
) -> dict[str, dict[str, Floats]]:
    """Bootstrap standard errors of each study's mean W.

    A respondent is drawn with all their answers. The human range of a cell stays as observed: it
    defines the unit of the convention, and letting it shrink with the resample would rescale W.
    People and prediction are resampled together, since a prediction is that of the same people.

    Args:
        gaps: metric -> [C, K-1] as from :func:`distance.gaps`; a NaN row leaves its cell out.
        draws: resamples; 2 or more.

    Returns:
        predictor -> metric -> [S]; NaN for a study without a scored cell.
    """
    found = {p.name: {key: np.full(len(survey.studies), np.nan) for key in gaps} for p in predictors}
    participants = survey.rows["participant"].to_numpy()
    by_study = np.array([survey.study[block.cell] for block in survey.blocks])
    for study in range(len(survey.studies)):
        members = np.flatnonzero(by_study == study)
        first, last = survey.blocks[members[0]].rows.start, survey.blocks[members[-1]].rows.stop
        _, person = np.unique(participants[first:last], return_inverse=True)
        parts: dict[tuple[str, str], list[Floats]] = {(p.name, key): [] for p in predictors for key in gaps}
        for start in range(0, draws, CHUNK):
            weights = poisson_weights(int(person.max()) + 1, min(CHUNK, draws - start), rng)
            w = _study_w(survey, predictors, gaps, members, person, first, weights)
            for pair, drawn in w.items():
                parts[pair].append(drawn)
        for (name, key), chunks in parts.items():
            found[name][key][study] = np.concatenate(chunks).std(ddof=1)
    return found


def _study_w(
    survey: Survey,
    predictors: list[Predictor],
    gaps: dict[str, Floats],
    members: NDArray[np.int64],
    person: NDArray[np.int64],
    first: int,
    weights: NDArray[np.float32],
) -> dict[tuple[str, str], Floats]:
    """(predictor, metric) -> [draws] the study's mean W under each resample."""
    totals: dict[tuple[str, str], Floats] = {}
    scored: dict[str, int] = dict.fromkeys(gaps, 0)
    cells: dict[int, list[int]] = {}
    for index in members:
        cells.setdefault(survey.blocks[index].cell, []).append(int(index))
    draws = weights.shape[1]
    for cell, indices in cells.items():
        k = int(survey.options[cell])
        sums = np.zeros((1 + len(predictors), k, draws), dtype=np.float32)  # people, then each predictor
        for index in indices:
            block = survey.blocks[index]
            w = weights[person[block.rows.start - first : block.rows.stop - first]]
            total = w.sum(axis=0)
            chosen = np.zeros((len(w), len(block.options)), dtype=np.float32)
            chosen[np.arange(len(chosen)), block.answers] = 1
            own = [i for i, p in enumerate(predictors) if len(p.blocks[index]) > 1]
            # one product for everything that differs between respondents
            sides = np.hstack([chosen, *(predictors[i].blocks[index].astype(np.float32) for i in own)])
            summed = (sides.T @ w).reshape(-1, len(block.options), draws)
            sums[np.ix_(np.array([0, *(1 + i for i in own)]), block.columns)] += summed
            for i, p in enumerate(predictors):
                if i not in own:
                    sums[1 + i, block.columns] += p.blocks[index][0][:, None].astype(np.float32) * total
        size = np.maximum(sums[0].sum(axis=0), 1e-9)  # a resample without anyone counts as W = 0
        for p, predicted in zip(predictors, sums[1:], strict=True):
            difference = np.abs(np.cumsum(predicted - sums[0], axis=0)[:-1])
            for key, gap in gaps.items():
                if not np.isnan(gap[cell, 0]):
                    value = gap[cell, : k - 1].astype(np.float32) @ difference / size
                    totals[p.name, key] = totals.get((p.name, key), np.zeros(draws)) + value
        for key, gap in gaps.items():
            scored[key] += not np.isnan(gap[cell, 0])
    return {
        (p.name, key): totals[p.name, key] / scored[key] if scored[key] else np.full(draws, np.nan)
        for p in predictors
        for key in gaps
    }

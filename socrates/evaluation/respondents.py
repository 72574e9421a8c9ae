"""How far other respondents of the same studies would move each study's W: the error bars of a study.

This is the smaller part of a headline's uncertainty (the larger is which studies were drawn) and all of
it for a single study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from socrates.evaluation.cells import Floats, Ints, Predictor, Survey

CHUNK = 250  # replicates at a time: bounds the [respondents, replicates] weights of a study
# Poisson(1) by table: the share of 65,536 equally likely integers that falls on each count.
_POISSON = np.searchsorted(stats.poisson.cdf(np.arange(12), 1), (np.arange(65536) + 0.5) / 65536).astype(
    np.float32
)


def poisson_weights(people: int, replicates: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """[people, R] how often each respondent enters each replicate: independent Poisson(1).

    The bootstrap of a sample whose size is itself random (Hanley and MacGibbon 2006); for means it
    has the same standard errors as drawing with replacement, without its bookkeeping.
    """
    return _POISSON[rng.integers(0, 65536, size=(people, replicates), dtype=np.uint16)]


def respondent_errors(
    survey: Survey,
    predictors: Sequence[Predictor],
    gaps: Mapping[str, Floats],
    draws: int,
    rng: np.random.Generator,
) -> dict[str, dict[str, Floats]]:
    """predictor -> metric -> [S] standard error of W over bootstrap replicates of the study's respondents.

    A respondent is drawn with all their answers, people and prediction together, since a prediction is
    that of the same people. The human range of a cell stays as observed: it defines the unit of the
    convention, and letting it shrink with the replicate would rescale W.

    Args:
        gaps: metric -> [C, K-1] as from :func:`distance.gaps`; a NaN row leaves its cell out of the metric.
        draws: replicates; with fewer than 2 there is no error, and an empty mapping is returned.
    """
    if draws < 2:
        return {}
    errors = np.full((len(predictors), len(gaps), len(survey.studies)), np.nan)
    by_cell = survey.blocks_by_cell()
    participants = survey.rows["participant"].to_numpy()
    for study in range(len(survey.studies)):
        cells = np.flatnonzero(survey.study == study)
        rows = slice(
            survey.blocks[by_cell[cells[0]][0]].rows.start, survey.blocks[by_cell[cells[-1]][-1]].rows.stop
        )
        person = np.zeros(rows.stop, dtype=np.int64)
        person[rows] = np.unique(participants[rows], return_inverse=True)[1]
        people = int(person.max()) + 1
        sizes = [min(CHUNK, draws - start) for start in range(0, draws, CHUNK)]
        replicates = np.concatenate(
            [
                _study_replicates(
                    survey, predictors, gaps, cells, by_cell, person, poisson_weights(people, size, rng)
                )
                for size in sizes
            ],
            axis=-1,
        )
        errors[:, :, study] = replicates.std(axis=-1, ddof=1, dtype=np.float64)
    return {p.name: dict(zip(gaps, part, strict=True)) for p, part in zip(predictors, errors, strict=True)}


def _study_replicates(
    survey: Survey,
    predictors: Sequence[Predictor],
    gaps: Mapping[str, Floats],
    cells: Ints,
    by_cell: list[list[int]],
    person: Ints,
    weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """[P, metrics, R] mean over a study's scored cells of W between their resampled distributions.

    Args:
        person: [N] index of each answer's respondent within the study.
        weights: [people, R].
    """
    scored = {key: ~np.isnan(gap[cells, 0]) for key, gap in gaps.items()}
    means = np.zeros((len(predictors), len(gaps), weights.shape[1]), dtype=np.float32)
    for i, cell in enumerate(cells):
        k = int(survey.options[cell])
        human, predicted = _cell_sums(survey, predictors, by_cell[cell], k, person, weights)
        size = np.maximum(human.sum(axis=0), 1e-9)  # a replicate without anyone counts as W = 0
        further = np.abs(np.cumsum((predicted - human) / size, axis=1)[:, :-1])
        for j, (key, gap) in enumerate(gaps.items()):
            if scored[key][i]:
                means[:, j] += gap[cell, : k - 1].astype(np.float32) @ further / scored[key].sum()
    means[:, [not any(used) for used in scored.values()]] = np.nan
    return means


def _cell_sums(
    survey: Survey,
    predictors: Sequence[Predictor],
    blocks: list[int],
    k: int,
    person: Ints,
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """[k, R] summed answers of people, and [P, k, R] summed probabilities of each predictor."""
    human = np.zeros((k, weights.shape[1]), dtype=np.float32)
    predicted = np.zeros((len(predictors), *human.shape), dtype=np.float32)
    for index in blocks:
        block = survey.blocks[index]
        w = weights[person[block.rows]]
        chosen = np.eye(len(block.options), dtype=np.float32)[block.answers]
        human[block.columns] += chosen.T @ w
        for sums, p in zip(predicted, (p.blocks[index].astype(np.float32) for p in predictors), strict=True):
            sums[block.columns] += p.T @ (w.sum(axis=0, keepdims=True) if len(p) == 1 else w)
    return human, predicted

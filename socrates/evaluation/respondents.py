"""Every study's figures again, with other respondents of the same study.

This is the smaller part of a headline's uncertainty (the larger is which studies were drawn), and all
of it for a single study: it gives the second level of the bootstrap and the bars of the forest plot.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from socrates.evaluation.cells import Floats, Ints, Predictor, Survey
from socrates.evaluation.individual import Individual

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


@dataclass
class Resampled:
    """Figures of one predictor with the respondents of each study resampled, R times.

    Attributes:
        means: metric -> [S, R] study means; NaN for a study without a scored cell. ``wasserstein`` and the
            like as asked for, ``tvd``, ``format_validity`` and every field of :class:`individual.Individual`.
        moments: [S, R, 6] the sums of predicted mean place and answer (:func:`intervals.moments`).
        places: [C, R] predicted mean place of each cell.
        human: [C, R] the same of people; one array for all predictors.
    """

    means: dict[str, NDArray[np.float32]]
    moments: NDArray[np.float32]
    places: NDArray[np.float32]
    human: NDArray[np.float32]


def resample(
    survey: Survey,
    predictors: list[tuple[Predictor, Individual]],
    gaps: dict[str, Floats],
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Resampled]:
    """Bootstrap each study's respondents: a respondent is drawn with all their answers.

    People and prediction are resampled together, since a prediction is that of the same people, and
    all predictors on the same resamples, so that their differences stay paired. The human range of a
    cell stays as observed: it defines the unit of the convention, and letting it shrink with the
    resample would rescale W.

    Args:
        predictors: each with its scores by row.
        gaps: metric -> [C, K-1] as from :func:`distance.gaps`; a NaN row leaves its cell out of the metric.
            ``tvd`` leaves out the cells that all of them leave out.
        draws: resamples; 2 or more.
    """
    s, c = len(survey.studies), len(survey.cells)
    names = [*gaps, "tvd", "format_validity", *(field.name for field in fields(Individual))]
    human = np.zeros((c, draws), dtype=np.float32)
    found = {
        p.name: Resampled(
            {name: np.full((s, draws), np.nan, dtype=np.float32) for name in names},
            np.zeros((s, draws, 6), dtype=np.float32),
            np.zeros_like(human),
            human,
        )
        for p, _ in predictors
    }
    participants = survey.rows["participant"].to_numpy()
    by_study = np.array([survey.study[block.cell] for block in survey.blocks])
    for study in range(s):
        members = np.flatnonzero(by_study == study)
        rows = slice(survey.blocks[members[0]].rows.start, survey.blocks[members[-1]].rows.stop)
        _, person = np.unique(participants[rows], return_inverse=True)
        for start in range(0, draws, CHUNK):
            part = slice(start, min(start + CHUNK, draws))
            weights = poisson_weights(int(person.max()) + 1, part.stop - start, rng)
            _individuals(found, predictors, study, rows, person, weights, part)
            _distributions(survey, found, predictors, gaps, study, members, person, weights, part)
    return found


def _individuals(
    found: dict[str, Resampled],
    predictors: list[tuple[Predictor, Individual]],
    study: int,
    rows: slice,
    person: Ints,
    weights: NDArray[np.float32],
    part: slice,
) -> None:
    """Means over answers: one product of each person's sums and their weights."""
    answers = np.maximum(np.bincount(person).astype(np.float32) @ weights, 1e-9)
    for predictor, scores in predictors:
        columns = {field.name: getattr(scores, field.name)[rows] for field in fields(Individual)}
        if predictor.allowed_mass is not None:
            columns["format_validity"] = predictor.allowed_mass[rows]
        x, y = columns["mean"], columns["truth"]
        products = (x, y, x * y, x * x, y * y)
        sums = np.stack([np.bincount(person, column) for column in (*columns.values(), *products)])
        drawn = sums.astype(np.float32) @ weights
        to = found[predictor.name]
        for name, values in zip(columns, drawn, strict=False):
            to.means[name][study, part] = values / answers
        to.moments[study, part] = np.stack([answers, *drawn[len(columns) :]], axis=1)


def _distributions(
    survey: Survey,
    found: dict[str, Resampled],
    predictors: list[tuple[Predictor, Individual]],
    gaps: dict[str, Floats],
    study: int,
    members: Ints,
    person: Ints,
    weights: NDArray[np.float32],
    part: slice,
) -> None:
    """Distances of the cells' resampled distributions, averaged over the study's scored cells."""
    cells: dict[int, list[int]] = {}
    for index in members:
        cells.setdefault(survey.blocks[index].cell, []).append(int(index))
    first = survey.blocks[members[0]].rows.start
    scored = {key: sum(not np.isnan(gap[cell, 0]) for cell in cells) for key, gap in gaps.items()}
    scored["tvd"] = sum(any(not np.isnan(gap[cell, 0]) for gap in gaps.values()) for cell in cells)
    for name in found:
        for key, count in scored.items():
            found[name].means[key][study, part] = 0 if count else np.nan
    for cell, indices in cells.items():
        k = int(survey.options[cell])
        sums = _cell_sums(survey, [p for p, _ in predictors], indices, person, first, weights)
        size = np.maximum(sums[0].sum(axis=0), 1e-9)  # a resample without anyone counts as W = 0
        grid = survey.grid[cell, :k]
        place = ((grid - grid[0]) / (grid[-1] - grid[0])).astype(np.float32)
        means = place @ sums / size
        next(iter(found.values())).human[cell, part] = means[0]
        usable = {key: gap[cell, : k - 1].astype(np.float32) for key, gap in gaps.items()}
        usable = {key: gap for key, gap in usable.items() if not np.isnan(gap[0])}
        for i, (p, _) in enumerate(predictors, 1):
            to = found[p.name]
            to.places[cell, part] = means[i]
            moved = (sums[i] - sums[0]) / size
            further = np.abs(np.cumsum(moved, axis=0)[:-1])
            for key, gap in usable.items():
                to.means[key][study, part] += gap @ further / scored[key]
            if usable:
                to.means["tvd"][study, part] += 0.5 * np.abs(moved).sum(axis=0) / scored["tvd"]


def _cell_sums(
    survey: Survey,
    predictors: list[Predictor],
    indices: list[int],
    person: Ints,
    first: int,
    weights: NDArray[np.float32],
) -> NDArray[np.float32]:
    """[1 + predictors, k, draws] summed answers of people, then summed probabilities of each predictor."""
    k, draws = int(survey.options[survey.blocks[indices[0]].cell]), weights.shape[1]
    sums = np.zeros((1 + len(predictors), k, draws), dtype=np.float32)
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
    return sums

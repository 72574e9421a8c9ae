"""How far other respondents of the same studies would move each study's W: the error bars of a study.

This is the smaller part of a headline's uncertainty (the larger is which studies were drawn) and all of
it for a single study.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from socrates.evaluation import distance
from socrates.evaluation.cells import Floats, Predictor, Survey

GROUPS = 20  # of each study's respondents


def respondent_errors(
    survey: Survey, predictors: Sequence[Predictor], gaps: Mapping[str, Floats]
) -> dict[str, dict[str, Floats]]:
    """predictor -> metric -> [S] standard error of W, leaving out a twentieth of each study's respondents at a time.

    The delete-a-group jackknife (Kott 2001). Respondents are left out with all their answers, people and
    prediction together, since a prediction is that of the same people. The human range of a cell stays as observed:
    it defines the unit of the convention.

    Args:
        gaps: metric -> [C, K-1] as from :func:`distance.gaps`; a NaN row leaves its cell out of the metric.
    """
    person = survey.rows.select(pl.struct("study_id", "participant").rank("dense")).to_series().to_numpy()
    member = np.eye(GROUPS)[person.astype(np.int64) % GROUPS]
    return {
        predictor.name: _errors(_excess(survey, predictor, member), survey, gaps) for predictor in predictors
    }


def _excess(survey: Survey, predictor: Predictor, member: Floats) -> list[Floats]:
    """Of each cell [GROUPS, k] |predicted - human| cumulative share with one group left out; ``member`` [N, GROUPS]."""
    cells = []
    for cell, blocks in enumerate(survey.blocks_by_cell()):
        sums, sizes = np.zeros((GROUPS, survey.options[cell])), np.zeros(GROUPS)
        for block, p in ((survey.blocks[i], predictor.blocks[i]) for i in blocks):
            own = member[block.rows]
            sums[:, block.columns] += own.T @ (p - np.eye(len(block.options))[block.answers])
            sizes += own.sum(axis=0)
        left = np.maximum(sizes.sum() - sizes, 1)[:, None]
        cells.append(np.abs(np.cumsum((sums.sum(axis=0) - sums) / left, axis=1)))
    return cells


def _errors(excess: list[Floats], survey: Survey, gaps: Mapping[str, Floats]) -> dict[str, Floats]:
    errors = {}
    for key, gap in gaps.items():
        w = np.array([part[:, :-1] @ gap[cell, : part.shape[1] - 1] for cell, part in enumerate(excess)])
        studies = [distance.study_means(column, survey.study, len(survey.studies)) for column in w.T]
        errors[key] = np.sqrt((GROUPS - 1) * np.var(studies, axis=0))
    return errors

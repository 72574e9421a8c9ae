"""Copying what the people of a study already said: the opponents where its other answers are in training.

``other_conditions`` copies the answers to the same question under the study's other conditions, ``other_tasks`` the
answers to its other questions on the same scale under the same condition, ``other_participants`` the answers of the
other people of the cell. Only training rows are copied, so that a test cell's own answers never enter.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.survey.scales import nearest, scale

Floats = NDArray[np.float64]

COPIES = {  # what a training row has in common with the row that it is copied to
    "other_conditions": ["study_id", "task_num", "scale"],
    "other_tasks": ["study_id", "condition_num", "scale"],
    "other_participants": ["study_id", "condition_num", "task_num", "scale"],
}
PRIOR = 1.0  # answers that the training average of the scale counts for


def fit_copy(name: str, train: pl.DataFrame) -> Callable[[pl.DataFrame], list[Floats]]:
    """A predictor of answer distributions, one entry per option, from the counts of the training rows in common.

    With counts c of n rows and a the training average of all scales of that length (uniform where there is none), the
    distribution is (c + PRIOR a) / (n + PRIOR): a row that has none in common gets a.
    """
    key = COPIES[name]
    counts: dict[tuple[str | int, ...], Floats] = {}
    average: dict[int, Floats] = {}
    for *common, response, number in train.group_by(*key, "response").len().sort(pl.all()).iter_rows():
        options = scale(str(common[-1]))
        size = len(options.options)
        answer = int(np.searchsorted(options.options, nearest(options, np.array([response])))[0])
        counts.setdefault(tuple(common), np.zeros(size))[answer] += number
        average.setdefault(size, np.zeros(size))[answer] += number

    def distribution(common: tuple[str | int, ...]) -> Floats:
        size = len(scale(str(common[-1])).options)
        mean = average.get(size, np.ones(size))
        counted = counts.get(common, np.zeros(size)) + PRIOR * mean / mean.sum()
        return counted / counted.sum()

    def predict(rows: pl.DataFrame) -> list[Floats]:
        known = {common: distribution(common) for common in rows.select(key).unique().iter_rows()}
        return [known[common] for common in rows.select(key).iter_rows()]

    return predict

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
    "other_conditions": ["study_id", "task_num", "stated"],
    "other_tasks": ["study_id", "condition_num", "scale"],
    "other_participants": ["study_id", "condition_num", "task_num", "stated"],
}
# Of one question the scale, or that it states none: what people answered differs between training and test.
STATED = pl.when(pl.col("scale_rule").str.contains("observed")).then(pl.lit("observed")).otherwise("scale")
PRIOR = 1.0  # answers that the training average of the scale counts for


def fit_copy(name: str, train: pl.DataFrame) -> Callable[[pl.DataFrame], list[Floats]]:
    """A predictor of answer distributions, one entry per option, from the counts of the training rows in common.

    With counts c of n rows and a the training average of all scales of that length (uniform where there is none), the
    distribution is (c + PRIOR a) / (n + PRIOR): a row that has none in common gets a.
    """
    key = COPIES[name]
    train = train.with_columns(stated=STATED)
    answers = train.group_by(key).agg("response")
    known = {tuple(common): np.array(given) for *common, given in answers.iter_rows()}
    average: dict[int, Floats] = {}
    for notation, given in train.group_by("scale").agg("response").sort("scale").iter_rows():
        counted = _counts(notation, np.array(given))
        average[len(counted)] = average.get(len(counted), np.zeros(len(counted))) + counted

    def distribution(notation: str, common: tuple[str | int, ...]) -> Floats:
        counted = _counts(notation, known.get(common, np.empty(0, np.int64)))
        mean = average.get(len(counted), np.ones(len(counted)))
        counted += PRIOR * mean / mean.sum()
        return counted / counted.sum()

    def predict(rows: pl.DataFrame) -> list[Floats]:
        asked = rows.with_columns(stated=STATED).select(pl.col("scale").alias("on"), *key).rows()
        found = {row: distribution(row[0], row[1:]) for row in set(asked)}
        return [found[row] for row in asked]

    return predict


def _counts(notation: str, responses: NDArray[np.int64]) -> Floats:
    """How many answers lie at each option of a scale, or nearest to it."""
    options = scale(notation)
    index = np.searchsorted(options.options, nearest(options, responses))
    return np.bincount(index, minlength=len(options.options)).astype(np.float64)

"""The predictors that give a number its meaning: guesses that a model must beat, and what no model can."""

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.evaluation.cells import KEY, Predictor, Survey
from socrates.evaluation.distance import Floats


def uniform(survey: Survey) -> Predictor:
    """Every option of a respondent's scale equally likely: the guess of one who knows nothing."""
    return Predictor("uniform", [np.full((1, len(b.positions)), 1 / len(b.positions)) for b in survey.blocks])


def train_marginal(survey: Survey, marginals: dict[int, Floats]) -> Predictor:
    """How people of the training studies used scales of the same length; uniform where there is none."""
    lengths = (len(block.positions) for block in survey.blocks)
    return Predictor("train_marginal", [marginals.get(k, np.full(k, 1 / k))[None] for k in lengths])


def pooled(survey: Survey) -> Predictor:
    """The people of all conditions of the same question, on the same scale, as one: an oracle, which has seen them.

    A model that does not beat it has not been shown to know what a condition does.
    """
    counts = survey.human * survey.respondents[:, None]
    groups = np.zeros((survey.question.max() + 1, counts.shape[1]))
    np.add.at(groups, survey.question, counts)
    shares = (groups / groups.sum(axis=1, keepdims=True))[survey.question]
    parts = [shares[block.cell, block.columns] for block in survey.blocks]
    return Predictor("pooled", [(part / part.sum())[None] for part in parts])


def planted(survey: Survey, truth: pl.DataFrame) -> Predictor:
    """The distribution that a synthetic world drew each respondent's answer from: nothing can be better.

    ``truth`` has the columns of ``tables.PERSON_TRUTH``, one row an answer of the world. Raises :class:`DataError`
    where an answer has no truth, or one on another scale.
    """
    known = truth.select(*KEY, "probabilities", known="scale")
    rows = survey.rows.select(*KEY, "scale").join(known, on=KEY, how="left", maintain_order="left")
    wrong = rows.filter(pl.col("known").ne_missing(pl.col("scale")))
    if wrong.height:
        study, sample, notation, _, other = wrong.row(0)
        raise DataError(
            f"person truth of study {study}, sample_id {sample}: its scale is {other}, that of the predictions "
            f"{notation}; run download again"
        )
    return Predictor("planted", [np.array(rows["probabilities"][b.rows].to_list()) for b in survey.blocks])

"""The predictors that give a number its meaning: guesses that a model must beat, and what no model can."""

from __future__ import annotations

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.evaluation.cells import KEY, Floats, Predictor, Survey


def reference_predictors(
    survey: Survey, marginals: dict[int, Floats], truth: pl.DataFrame | None
) -> list[Predictor]:
    """Every predictor that needs no file of its own; ``truth`` is None where the data are real."""
    made = [uniform(survey), train_marginal(survey, marginals), pooled(survey)]
    return made if truth is None else [*made, planted(survey, truth)]


def uniform(survey: Survey) -> Predictor:
    """Every option of a respondent's scale equally likely: the guess of one who knows nothing."""
    return Predictor("uniform", [np.full((1, len(b.options)), 1 / len(b.options)) for b in survey.blocks])


def train_marginal(survey: Survey, marginals: dict[int, Floats]) -> Predictor:
    """How people of the training studies used scales of the same length; uniform where there is none.

    The honest predictor without a language model: it knows that people avoid the ends of a
    7-point scale, and nothing of the question.
    """
    lengths = (len(block.options) for block in survey.blocks)
    return Predictor("train_marginal", [marginals.get(k, np.full(k, 1 / k))[None] for k in lengths])


def pooled(survey: Survey) -> Predictor:
    """The people of all conditions of the same study and task, on the same scale, as one.

    An oracle: it has seen the test answers. A model that does not beat it has not been shown to
    know what a condition does.
    """
    table = survey.cells.select("study_id", "task_num", "scale")
    index = table.with_columns(pl.struct(pl.all()).rank("dense").alias("group"))["group"].to_numpy() - 1
    counts = survey.human * survey.respondents[:, None]
    groups = np.zeros((index.max() + 1, counts.shape[1]))
    np.add.at(groups, index, counts)
    shares = (groups / groups.sum(axis=1, keepdims=True))[index]
    parts = [shares[block.cell, block.columns] for block in survey.blocks]
    return Predictor("pooled", [(part / part.sum())[None] for part in parts])


def planted(survey: Survey, truth: pl.DataFrame) -> Predictor:
    """The distribution that a synthetic world drew each respondent's answer from: nothing can be better.

    Args:
        truth: columns of ``tables.PERSON_TRUTH``, one row an answer of the world.

    Raises:
        DataError: an answer has no truth, or one on another scale.
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
    blocks = []
    for block in survey.blocks:
        values = rows["probabilities"][block.rows].explode().to_numpy()
        blocks.append(values.reshape(-1, len(block.options)))
    return Predictor("planted", blocks)


def perfect_samples(survey: Survey, draws: int, rng: np.random.Generator) -> tuple[Floats, list[Floats]]:
    """A stand-in for the truth of each cell [C, K], and ``draws`` samples of the cell's own size from it [C, K].

    The truth's own score at these cell sizes is what no predictor can expect to beat. The stand-in is the cell's
    people and one more answer, spread evenly over the options (Perks 1947): a sample can then miss an option that
    the truth has, as people's own do. The larger the cell, the less that answer weighs.
    """
    real = np.arange(survey.human.shape[1]) < survey.options[:, None]
    counts = survey.human * survey.respondents[:, None] + real / survey.options[:, None]
    truth = counts / counts.sum(axis=1, keepdims=True)
    return truth, [
        rng.multinomial(survey.respondents, truth) / survey.respondents[:, None] for _ in range(draws)
    ]

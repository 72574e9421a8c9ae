"""The predictors that give a number its meaning: guesses that a model must beat, and what no model can."""

from __future__ import annotations

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.evaluation.cells import Floats, Predictor, Survey, constant_predictor
from socrates.survey.scales import nearest
from socrates.survey.scales import scale as parse_scale
from socrates.survey.tables import CELL


def reference_predictors(
    survey: Survey, marginals: dict[int, Floats], truth: pl.DataFrame | None
) -> list[Predictor]:
    """Every predictor that needs no file of its own."""
    made = [uniform(survey), train_marginal(survey, marginals), pooled(survey)]
    return made if truth is None else [*made, planted(survey, truth)]


def uniform(survey: Survey) -> Predictor:
    """Every option of a respondent's scale equally likely: the guess of one who knows nothing."""
    return Predictor("uniform", [np.full((1, len(b.options)), 1 / len(b.options)) for b in survey.blocks])


def train_marginals(train: pl.DataFrame, longest: int) -> dict[int, Floats]:
    """Scale length -> mean distribution of the training studies over scales of that length.

    Answers are averaged within a training study, then over studies, so that a large study does not
    speak for all.

    Args:
        train: study_id, scale (notation) and response of the training rows.
        longest: scales of more options are passed over.
    """
    shares: dict[int, list[Floats]] = {}
    for (_, length), counts in _training_counts(train, longest).items():
        shares.setdefault(length, []).append(counts / counts.sum())
    return {length: np.mean(parts, axis=0) for length, parts in shares.items()}


def train_marginal(survey: Survey, marginals: dict[int, Floats]) -> Predictor:
    """How people of the training studies used scales of the same length; uniform where there is none.

    The honest predictor without a language model: it knows that people avoid the ends of a
    7-point scale, and nothing of the question.
    """
    lengths = (len(block.options) for block in survey.blocks)
    return Predictor("train_marginal", [marginals.get(k, np.full(k, 1 / k))[None] for k in lengths])


def _training_counts(train: pl.DataFrame, longest: int) -> dict[tuple[str, int], Floats]:
    """(study, scale length) -> answer counts by option, of the training rows in order.

    Scales longer than ``longest`` are passed over: an open question may allow sixty million integers.
    """
    counted = train.group_by("study_id", "scale", "response").len().sort("study_id", "scale", "response")
    totals: dict[tuple[str, int], Floats] = {}
    for (study, notation), part in counted.group_by(["study_id", "scale"], maintain_order=True):
        known = parse_scale(str(notation))
        if len(known.options) > longest:
            continue
        inside = part.filter(pl.col("response").is_between(known.low, known.high))
        index = np.searchsorted(known.options, nearest(known, inside["response"].to_numpy()))
        counts = np.bincount(index, inside["len"].to_numpy(), len(known.options))
        if counts.sum():
            key = (str(study), len(known.options))
            totals[key] = totals.get(key, np.zeros(len(counts))) + counts
    return dict(sorted(totals.items()))


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
    return constant_predictor("pooled", survey, (groups / groups.sum(axis=1, keepdims=True))[index])


def planted(survey: Survey, truth: pl.DataFrame) -> Predictor:
    """The distribution that a synthetic world drew each cell's answers from: the best possible.

    Args:
        truth: columns of ``tables.TRUTH``.

    Raises:
        DataError: a cell has no truth, or its truth has an option that its scale has not.
    """
    known = {tuple(row[:3]): row[3:] for row in truth.select(*CELL, "scale", "probabilities").iter_rows()}
    pmf = np.zeros_like(survey.human)
    for cell, key in enumerate(survey.cells.select(CELL).iter_rows()):
        name = f"truth of study {key[0]}, condition {key[1]}, task {key[2]}"
        if key not in known:
            raise DataError(f"{name} is missing; run download again")
        notation, probabilities = known[key]
        options = np.array(parse_scale(notation).options, dtype=np.float64)
        grid = survey.grid[cell, : survey.options[cell]]
        columns = np.searchsorted(grid, options).clip(0, len(grid) - 1)
        if len(options) != len(probabilities) or (grid[columns] != options).any():
            raise DataError(
                f"{name}: its scale {notation} is not that of the predictions, {survey.cells['scale'][cell]}"
            )
        pmf[cell, columns] = probabilities
    return constant_predictor("planted", survey, pmf)


def human_resamples(survey: Survey, draws: int, rng: np.random.Generator) -> list[Floats]:
    """``draws`` arrays [C, K]: each cell's people, drawn again with replacement at the same number.

    The distance of a resample to its cell is what a sample of this size differs from the truth it
    came from: the least W that any predictor can expect (the paper's empirical best).
    """
    return [_share(rng.multinomial(survey.respondents, survey.human)) for _ in range(draws)]


def split_halves(survey: Survey, draws: int, rng: np.random.Generator) -> list[tuple[Floats, Floats]]:
    """``draws`` pairs of [C, K]: the people of each cell dealt at random into two halves.

    A half of n/2 people against the other differs sqrt(2) times as much as two samples of n do,
    which callers divide by. Cells of one person give NaN.
    """
    counts = np.rint(survey.human * survey.respondents[:, None]).astype(np.int64)
    pairs = []
    with np.errstate(invalid="ignore"):
        for _ in range(draws):
            half = np.stack(
                [
                    rng.multivariate_hypergeometric(c, n // 2, method="marginals")
                    for c, n in zip(counts, survey.respondents, strict=True)
                ]
            )
            pairs.append((_share(half), _share(counts - half)))
    return pairs


def _share(counts: np.ndarray) -> Floats:
    return counts / counts.sum(axis=1, keepdims=True)

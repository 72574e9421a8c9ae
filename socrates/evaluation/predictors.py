"""The predictors that give a number its meaning: guesses below a model, and the floor above it."""

from __future__ import annotations

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.evaluation.cells import Floats, Predictor, Survey, constant_predictor, nearest
from socrates.survey.scales import scale as parse_scale
from socrates.survey.tables import CELL


def uniform(survey: Survey) -> Predictor:
    """Every option of a respondent's scale equally likely: the guess of one who knows nothing."""
    return Predictor("uniform", [np.full((1, len(b.options)), 1 / len(b.options)) for b in survey.blocks])


def train_marginal(survey: Survey, train: pl.DataFrame) -> tuple[Predictor, int]:
    """The mean distribution of the training studies over scales of the same length.

    The honest predictor without a language model: it knows that people avoid the ends of a
    7-point scale, and nothing of the question. Answers are averaged within a training study,
    then over studies, so that a large study does not speak for all.

    Args:
        train: study_id, scale (notation) and response of the training rows.

    Returns:
        The predictor, and the number of cells whose scale length no training study has; those
        get a uniform distribution.
    """
    tables: dict[int, list[Floats]] = {}
    longest = max(len(block.options) for block in survey.blocks)
    for (_, length), counts in _training_counts(train, longest):
        tables.setdefault(length, []).append(counts / counts.sum())
    mean = {length: np.mean(parts, axis=0) for length, parts in tables.items()}
    blocks, unknown = [], set()
    for block in survey.blocks:
        size = len(block.options)
        if size not in mean:
            unknown.add(block.cell)
        blocks.append(mean.get(size, np.full(size, 1 / size))[None])
    return Predictor("train_marginal", blocks), len(unknown)


def _training_counts(train: pl.DataFrame, longest: int) -> list[tuple[tuple[str, int], Floats]]:
    """((study, scale length), answer counts by option) of the training rows, sorted.

    Scales longer than ``longest`` are passed over: an open question may allow sixty million integers.
    """
    counted = train.group_by("study_id", "scale", "response").len().sort("study_id", "scale", "response")
    found: dict[tuple[str, int], Floats] = {}
    for (study, notation), part in counted.group_by(["study_id", "scale"], maintain_order=True):
        if len(parse_scale(str(notation)).options) > longest:
            continue
        options = np.array(parse_scale(str(notation)).options, dtype=np.float64)
        inside = part.filter(pl.col("response").is_between(int(options[0]), int(options[-1])))
        index = nearest(options, inside["response"].to_numpy().astype(np.float64))
        counts = np.bincount(index, inside["len"].to_numpy(), len(options))
        if counts.sum():
            key = (str(study), len(options))
            found[key] = found.get(key, np.zeros(len(options))) + counts
    return sorted(found.items(), key=lambda item: item[0])


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
    for cell, key in enumerate(survey.keys()):
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

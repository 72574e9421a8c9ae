"""Prediction tables as arrays: the human side once, and each predictor's probabilities beside it.

Vocabulary of the shapes used throughout ``socrates.evaluation``:

    N  rows (answers of test respondents), sorted by study, condition, task, scale, sample_id
    C  cells (study, condition, task)
    S  studies
    K  options of a cell, padded to the largest; a padded option has probability 0 and gap 0
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.core.errors import DataError
from socrates.survey.scales import scale as parse_scale
from socrates.survey.tables import CELL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KEY = ["study_id", "sample_id"]
SUM_TOLERANCE = 1e-3  # float32 probabilities over up to about 1,000 options


@dataclass(frozen=True)
class Block:
    """Rows of one cell that share one scale. Most cells are one block.

    Attributes:
        rows: where they stand among the N rows.
        cell: index of the cell.
        options: [k] the scale's integers, ascending.
        columns: [k] where those options stand in the cell's grid.
        answers: [n] index of each human answer in ``options``.
    """

    rows: slice
    cell: int
    options: Floats
    columns: Ints
    answers: Ints

    @property
    def positions(self) -> Floats:
        """[k] the options on the question's own scale, 0 at its low and 1 at its high end."""
        return (self.options - self.options[0]) / (self.options[-1] - self.options[0])


@dataclass(frozen=True)
class Survey:
    """What people answered: the side every predictor is measured against.

    Attributes:
        rows: N rows of the predictions table without the probabilities.
        cells: C rows: study_id, condition_num, task_num, scale, scale_rule, respondents.
        studies: S names, sorted.
        study: [C] index of each cell's study.
        grid: [C, K] the cell's options (union over its scales), the last one repeated as padding.
        options: [C] options of the cell.
        human: [C, K] share of people per option.
        blocks: the rows, by cell and scale.
        off_grid: answers inside a scale but between its options, moved to the nearest option.
    """

    rows: pl.DataFrame
    cells: pl.DataFrame
    studies: list[str]
    study: Ints
    grid: Floats
    options: Ints
    human: Floats
    blocks: list[Block]
    off_grid: int

    @property
    def respondents(self) -> Ints:
        """[C] answers in each cell."""
        return self.cells["respondents"].to_numpy()

    @property
    def places(self) -> Floats:
        """[C, K] the options on each cell's own scale, 0 at its low and 1 at its high end."""
        low, high = self.grid[:, :1], self.grid[:, -1:]
        return (self.grid - low) / (high - low)

    def keys(self) -> list[tuple[str, int, int]]:
        """(study, condition, task) of each cell."""
        return list(self.cells.select(CELL).iter_rows())


@dataclass(frozen=True)
class Predictor:
    """The answer distributions of one predictor, aligned with a :class:`Survey`.

    Attributes:
        name: its key in metrics/evaluate.json.
        blocks: one array per block of the survey, [n, k], or [1, k] where every respondent of the
            block gets the same distribution. Rows sum to 1.
        sampled: whether drawn answers are tempered and cut (a language model) or drawn as they are.
        allowed_mass: [N] probability put on allowed answers in all; None where it is 1 by design.
    """

    name: str
    blocks: list[NDArray[np.floating]]
    sampled: bool = False
    allowed_mass: NDArray[np.float32] | None = None

    def cells(self, survey: Survey) -> Floats:
        """[C, K] the mean distribution over the respondents of each cell."""
        pmf = np.zeros_like(survey.human)
        for block, probabilities in zip(survey.blocks, self.blocks, strict=True):
            rows = block.rows.stop - block.rows.start
            mean = probabilities.mean(axis=0, dtype=np.float64)
            pmf[block.cell, block.columns] += mean * rows
        return pmf / survey.respondents[:, None]


def read_predictions(table: pl.DataFrame, path: Path, name: str) -> tuple[Survey, Predictor]:
    """The human side and the predictor of one predictions table.

    Args:
        table: columns of ``tables.PREDICTIONS``, in any row order.
        path: named in errors.

    Raises:
        DataError: no rows; a null; a respondent's answer twice; probabilities that are not as many
            as the scale's options, not finite, negative, or do not sum to 1; an answer outside the
            scale. The message names the first such row.
    """
    if table.is_empty():
        raise DataError(
            f"{path}: no rows; nothing can be evaluated (see its manifest.json for what was excluded)"
        )
    for column in [*KEY, "condition_num", "task_num", "participant", "response", "scale", "probabilities"]:
        _refuse(table, pl.col(column).is_null(), path, f"{column} is null")
    table = table.sort([*CELL, "scale", "sample_id"])
    _refuse(table, pl.struct(KEY).is_duplicated(), path, "appears more than once")

    scales = {notation: parse_scale(notation) for notation in table["scale"].unique().sort()}
    lengths = table["probabilities"].list.len().to_numpy().astype(np.int64)
    counts = pl.col("scale").replace_strict({k: len(s.options) for k, s in scales.items()})
    _refuse(
        table,
        pl.col("probabilities").list.len() != counts,
        path,
        "as many probabilities as its scale has options are needed",
    )
    flat = table["probabilities"].explode().to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)])
    _refuse_rows(table, ~_every(np.isfinite(flat), starts), path, "a probability is NaN or infinite")
    _refuse_rows(table, ~_every(flat >= -1e-6, starts), path, "a probability is negative")
    sums = np.add.reduceat(flat, starts[:-1], dtype=np.float64)
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    _refuse_rows(table, wrong, path, "its probabilities do not sum to 1", sums)
    mass = table["allowed_mass"].to_numpy()
    outside = ~((mass >= 0) & (mass <= 1 + SUM_TOLERANCE))  # catches NaN too
    _refuse_rows(table, outside, path, "allowed_mass is not between 0 and 1", mass)
    low = pl.col("scale").replace_strict({k: s.low for k, s in scales.items()})
    high = pl.col("scale").replace_strict({k: s.high for k, s in scales.items()})
    _refuse(
        table,
        ~pl.col("response").is_between(low, high),
        path,
        "its response is outside its scale",
        "response",
    )

    survey = _survey(table, {k: np.array(s.options, dtype=np.float64) for k, s in scales.items()})
    blocks = []
    for block in survey.blocks:
        first, last = starts[block.rows.start], starts[block.rows.stop]
        probabilities = np.maximum(flat[first:last].reshape(-1, len(block.options)), 0)
        blocks.append(probabilities / probabilities.sum(axis=1, keepdims=True))
    return survey, Predictor(name, blocks, sampled=True, allowed_mass=np.minimum(mass, 1))


def check_same(first: Survey, first_path: Path, second: Survey, second_path: Path) -> None:
    """Two predictors must have answered the same respondents, or they cannot be compared.

    Raises:
        DataError: names the first cell, respondent or value that differs.
    """
    for left, right, path in ((first, second, second_path), (second, first, first_path)):
        missing = left.cells.join(right.cells, on=CELL, how="anti", maintain_order="left")
        if not missing.is_empty():
            raise DataError(
                f"{path}: {_cell_name(missing.row(0, named=True))} is missing; "
                "predict both models on the same test split"
            )
        absent = left.rows.join(right.rows, on=KEY, how="anti", maintain_order="left")
        if not absent.is_empty():
            raise DataError(
                f"{path}: {_row_name(absent.row(0, named=True))} is missing; "
                "predict both models on the same test split"
            )
    for column in ("scale", "response"):
        differs = (first.rows[column] != second.rows[column]).arg_true()
        if len(differs):
            row = second.rows.row(differs[0], named=True)
            raise DataError(
                f"{second_path}: {_row_name(row)} has {column} {row[column]}, "
                f"but {first.rows[column][differs[0]]} in {first_path}; predict both models on the same test split"
            )


def constant_predictor(name: str, survey: Survey, pmf: Floats) -> Predictor:
    """A predictor that gives everyone of a cell the same distribution.

    Args:
        pmf: [C, K] over each cell's grid. In a cell of several scales each block gets the part on
            its own options, renormalised (uniform where nothing is left).
    """
    blocks: list[NDArray[np.floating]] = []
    for block in survey.blocks:
        part = pmf[block.cell, block.columns]
        total = part.sum()
        blocks.append((part / total if total > 0 else np.full(len(part), 1 / len(part)))[None])
    return Predictor(name, blocks)


def _survey(table: pl.DataFrame, options: dict[str, Floats]) -> Survey:
    rows = table.drop("probabilities", "allowed_mass")
    runs = rows.group_by([*CELL, "scale"], maintain_order=True).agg(
        pl.len().alias("n"), pl.col("scale_rule").first()
    )
    cells = runs.group_by(CELL, maintain_order=True).agg(
        pl.col("scale").str.join(" | "),
        pl.col("scale_rule").first(),
        pl.col("n").sum().cast(pl.Int64).alias("respondents"),
        pl.col("scale").alias("scales"),
    )
    grids = [np.unique(np.concatenate([options[s] for s in scales])) for scales in cells["scales"]]
    sizes = np.array([len(grid) for grid in grids])
    grid = np.array([np.pad(g, (0, sizes.max() - len(g)), mode="edge") for g in grids])
    human = np.zeros_like(grid)
    responses = rows["response"].to_numpy().astype(np.float64)
    blocks, start, cell, off_grid, previous = [], 0, -1, 0, None
    for *key, notation, count, _ in runs.iter_rows():
        cell += key != previous
        previous = key
        part = slice(start, start + count)
        start += count
        allowed = options[notation]
        answers = nearest(allowed, responses[part])
        off_grid += int((allowed[answers] != responses[part]).sum())
        columns = np.searchsorted(grids[cell], allowed)
        human[cell] += np.bincount(columns[answers], minlength=grid.shape[1])
        blocks.append(Block(part, cell, allowed, columns, answers))
    studies = sorted(set(cells["study_id"]))
    study = np.searchsorted(studies, cells["study_id"].to_list())
    human /= human.sum(axis=1, keepdims=True)
    return Survey(rows, cells.drop("scales"), studies, study, grid, sizes, human, blocks, off_grid)


def nearest(options: Floats, values: Floats) -> Ints:
    """[n] index of the option nearest to each value; a tie goes to the lower option."""
    above = np.searchsorted(options, values).clip(1, len(options) - 1)
    return above - (values - options[above - 1] <= options[above] - values)


def _every(true: NDArray[np.bool_], starts: Ints) -> NDArray[np.bool_]:
    return np.logical_and.reduceat(true, starts[:-1])


def _refuse(table: pl.DataFrame, bad: pl.Expr, path: Path, problem: str, value: str | None = None) -> None:
    first = table.filter(bad).head(1)
    if not first.is_empty():
        row = first.row(0, named=True)
        raise DataError(
            f"{path}: {_row_name(row)}: {problem}"
            + (f" ({row[value]} on {row['scale']})" if value else "")
            + "; run predict again"
        )


def _refuse_rows(
    table: pl.DataFrame, bad: NDArray[np.bool_], path: Path, problem: str, value: NDArray | None = None
) -> None:
    index = int(bad.argmax())
    if bad[index]:
        shown = f" ({value[index]:.6g})" if value is not None else ""
        raise DataError(
            f"{path}: {_row_name(table.row(index, named=True))}: {problem}{shown}; run predict again"
        )


def _cell_name(row: dict) -> str:
    return f"cell (study {row['study_id']}, condition {row['condition_num']}, task {row['task_num']})"


def _row_name(row: dict) -> str:
    return f"row study {row['study_id']}, sample_id {row['sample_id']}"

"""Reading predictions tables: what cannot be scored stops the stage with its row named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.core.errors import DataError
from socrates.evaluation.cells import KEY, Predictor, Survey, make_survey
from socrates.survey.scales import scale as parse_scale
from socrates.survey.tables import CELL

NEEDED = (
    *KEY, "condition_num", "task_num", "participant", "response", "scale", "probabilities", "allowed_mass",
)  # fmt: skip
SUM_TOLERANCE = 1e-3  # float32 probabilities over up to about 1,000 options


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
    for column in NEEDED:
        _refuse(table, table[column].is_null().to_numpy(), path, f"{column} is null")
    table = table.sort([*CELL, "scale", "sample_id"])
    scales = {notation: parse_scale(notation) for notation in table["scale"].unique().sort()}
    low, high, options = (
        table["scale"].replace_strict({n: of(s) for n, s in scales.items()}, return_dtype=pl.Int64).to_numpy()
        for of in (lambda s: s.low, lambda s: s.high, lambda s: len(s.options))
    )
    lengths = table["probabilities"].list.len().to_numpy().astype(np.int64)
    _refuse(table, table.select(pl.struct(KEY).is_duplicated()).to_series().to_numpy(), path, "appears twice")
    _refuse(table, lengths != options, path, "as many probabilities as its scale has options are needed")

    flat = table["probabilities"].explode().to_numpy()
    starts = np.concatenate([[0], np.cumsum(lengths)])
    sums = np.add.reduceat(flat, starts[:-1], dtype=np.float64)
    mass, response = table["allowed_mass"].to_numpy(), table["response"].to_numpy()
    named = table.with_columns(sum=sums)
    _refuse(named, ~np.isfinite(sums), path, "a probability is NaN or infinite")
    _refuse(named, np.minimum.reduceat(flat, starts[:-1]) < -1e-6, path, "a probability is negative")
    _refuse(named, np.abs(sums - 1) > SUM_TOLERANCE, path, "its probabilities sum to {sum:.6g}, not to 1")
    unlikely = ~((mass >= 0) & (mass <= 1 + SUM_TOLERANCE))  # true for NaN too
    _refuse(named, unlikely, path, "allowed_mass is not between 0 and 1 ({allowed_mass:.6g})")
    outside = (response < low) | (response > high)
    _refuse(named, outside, path, "its response {response} is outside its scale {scale}")

    survey = make_survey(table.drop("probabilities", "allowed_mass"))
    blocks = []
    for block in survey.blocks:
        first, last = starts[block.rows.start], starts[block.rows.stop]
        probabilities = np.maximum(flat[first:last].reshape(-1, len(block.options)), 0)
        blocks.append(probabilities / probabilities.sum(axis=1, keepdims=True))
    return survey, Predictor(name, blocks, allowed_mass=np.minimum(mass, 1))


def check_same(first: Survey, first_path: Path, second: Survey, second_path: Path) -> None:
    """Two predictors must have answered the same respondents, or they cannot be compared.

    Raises:
        DataError: names the first cell, respondent or value that differs.
    """
    advice = "predict both on the same test split"
    for left, right, path in ((first, second, second_path), (second, first, first_path)):
        missing = left.cells.join(right.cells, on=CELL, how="anti", maintain_order="left")
        if not missing.is_empty():
            study, condition, task = missing.select(CELL).row(0)
            raise DataError(
                f"{path}: cell (study {study}, condition {condition}, task {task}) is missing; {advice}"
            )
        absent = left.rows.join(right.rows, on=KEY, how="anti", maintain_order="left")
        if not absent.is_empty():
            raise DataError(f"{path}: {_row_name(absent.row(0, named=True))} is missing; {advice}")
    for column in ("scale", "response"):
        differs = (first.rows[column] != second.rows[column]).arg_true()
        if len(differs):
            row = second.rows.row(differs[0], named=True)
            raise DataError(
                f"{second_path}: {_row_name(row)} has {column} {row[column]}, "
                f"but {first.rows[column][differs[0]]} in {first_path}; {advice}"
            )


def _refuse(table: pl.DataFrame, bad: NDArray[np.bool_], path: Path, problem: str) -> None:
    """Raise for the first bad row; ``problem`` may name its columns in braces."""
    if bad.any():
        row = table.row(int(bad.argmax()), named=True)
        raise DataError(f"{path}: {_row_name(row)}: {problem.format(**row)}; run predict again")


def _row_name(row: dict) -> str:
    return f"row study {row['study_id']}, sample_id {row['sample_id']}"

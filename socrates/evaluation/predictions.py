"""Reading predictions tables: what cannot be scored stops the stage with its row named."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.evaluation.cells import KEY, Predictor, Survey, make_survey
from socrates.survey.scales import scale as parse_scale
from socrates.survey.tables import CELL

SUM_TOLERANCE = 1e-3  # float32 probabilities over up to about 1,000 options


def read_predictions(table: pl.DataFrame, path: Path, name: str) -> tuple[Survey, Predictor]:
    """The human side and the predictor of one predictions table (columns of ``tables.PREDICTIONS``, in any row order).

    Raises :class:`DataError` with the first row that has a null, stands twice, has an answer outside its scale, or
    probabilities that are not as many as the scale's options, not finite, negative, or do not sum to 1.
    """
    if table.is_empty():
        raise DataError(
            f"{path}: no rows; nothing can be evaluated (see its manifest.json for what was excluded)"
        )

    def refuse(bad: pl.Expr, problem: str) -> None:
        """Raise for the first bad row; ``problem`` may name its columns in braces."""
        rows = table.filter(bad)
        if rows.height:
            row = rows.row(0, named=True)
            raise DataError(f"{path}: {_row_name(row)}: {problem.format(**row)}; run predict again")

    for column in (*KEY, *CELL[1:], "participant", "response", "scale", "probabilities", "allowed_mass"):
        refuse(pl.col(column).is_null(), f"{column} is null")
    scales = [(name, parse_scale(name)) for name in table["scale"].unique().sort()]
    ends = [(name, scale.low, scale.high, len(scale.options)) for name, scale in scales]
    known = pl.DataFrame(ends, ["scale", "low", "high", "options"], orient="row")
    table = table.sort([*CELL, "scale", "sample_id"]).join(known, on="scale", maintain_order="left")
    refuse(pl.struct(KEY).is_duplicated(), "appears twice")
    given = pl.col("probabilities").list
    refuse(given.len() != pl.col("options"), "as many probabilities as its scale has options are needed")

    flat = table["probabilities"].explode().to_numpy()
    starts = np.concatenate([[0], np.cumsum(table["options"].to_numpy())])
    table = table.with_columns(sum=np.add.reduceat(flat, starts[:-1], dtype=np.float64))
    refuse(~pl.col("sum").is_finite(), "a probability is NaN or infinite")
    refuse(given.min() < -1e-6, "a probability is negative")
    refuse((pl.col("sum") - 1).abs() > SUM_TOLERANCE, "its probabilities sum to {sum:.6g}, not to 1")
    unlikely = ~pl.col("allowed_mass").is_between(0, 1 + SUM_TOLERANCE)  # true for NaN
    refuse(unlikely, "allowed_mass is not between 0 and 1 ({allowed_mass:.6g})")
    refuse(
        ~pl.col("response").is_between("low", "high"), "its response {response} is outside its scale {scale}"
    )

    survey = make_survey(table.drop("probabilities", "allowed_mass", "sum", *known.columns[1:]))
    blocks = []
    for block in survey.blocks:
        first, last = starts[block.rows.start], starts[block.rows.stop]
        probabilities = np.maximum(flat[first:last].reshape(-1, len(block.positions)), 0)
        blocks.append(probabilities / probabilities.sum(axis=1, keepdims=True))
    return survey, Predictor(name, blocks, np.minimum(table["allowed_mass"].to_numpy(), 1))


def check_same(first: Survey, first_path: Path, second: Survey, second_path: Path) -> None:
    """Two predictors must have answered the same respondents, or they cannot be compared.

    Raises :class:`DataError` with the first respondent that one of them lacks, or of whom they say different things.
    """
    advice = "predict both on the same test split"
    told = (*CELL[1:], "scale", "response")
    one, other = (survey.rows.select(*KEY, *told) for survey in (first, second))
    both = one.join(other, on=KEY, how="full", suffix="_2", coalesce=True, maintain_order="left_right")
    for column, path in (("response_2", second_path), ("response", first_path)):
        missing = both.filter(pl.col(column).is_null())
        if missing.height:
            raise DataError(f"{path}: {_row_name(missing.row(0, named=True))} is missing; {advice}")
    for column in told:
        differs = both.filter(pl.col(column) != pl.col(f"{column}_2"))
        if differs.height:
            row = differs.row(0, named=True)
            raise DataError(
                f"{second_path}: {_row_name(row)} has {column} {row[f'{column}_2']}, "
                f"but {row[column]} in {first_path}; {advice}"
            )


def _row_name(row: dict[str, Any]) -> str:
    condition, task = (row[name] if row[name] is not None else row[f"{name}_2"] for name in CELL[1:])
    return f"row study {row['study_id']}, condition {condition}, task {task}, sample_id {row['sample_id']}"

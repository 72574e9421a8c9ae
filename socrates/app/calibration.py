"""How wrong the model's effects were on studies it had never seen, and what that says of a new one.

``evaluate`` compares predicted and human effects of the conditions of held-out studies. From its table
this module takes what an experiment needs: by how much predicted effects must be stretched (the slope),
and how far people's true effects then still lie from the prediction (the residual).

Model of a condition's effect h in people, p its prediction, both centred within study and question::

    h = slope * p + u + noise,   u ~ N(0, residual^2),   noise ~ N(0, human_se^2)

``u`` is the model's error and stays however many people are asked; ``noise`` is that of the held-out
respondents and is taken out of the residual. A contrast of two conditions carries two errors ``u``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from socrates.core.errors import DataError
from socrates.survey.tables import CELL

Floats = NDArray[np.float64]
LEVEL = 0.9
FEWEST_STUDIES = 3
COLUMNS = (*CELL, "scale", "human", "human_se")
QUESTION = ["study_id", "task_num", "scale"]  # effects are compared within it


@dataclass(frozen=True)
class Calibration:
    """The model's known error on held-out studies; effects are shares of the scale.

    Attributes:
        slope: true effect per predicted effect: below 1 the model exaggerates, above 1 it understates.
        slope_se: its standard error, from leaving out one study at a time.
        residual: standard deviation of one condition's error ``u``.
        studies, contrasts: the held-out studies, and the pairs of conditions in them.
        covered: share of the held-out contrasts inside the 90 % interval that the other studies give, the
            sampling noise of their respondents allowed for.
        largest: the largest predicted contrast among them; beyond it the slope is an extrapolation.
    """

    slope: float
    slope_se: float
    residual: float
    studies: int
    contrasts: int
    covered: float
    largest: float

    @property
    def freedom(self) -> int:
        """Degrees of freedom: the studies, not the contrasts, are independent."""
        return max(self.studies - 1, 1)

    @property
    def quantile(self) -> float:
        """Student's t of a 90 % interval."""
        return float(stats.t.ppf((1 + LEVEL) / 2, self.freedom))

    def error(self, predicted: Floats) -> Floats:
        """Standard deviation of the model's error in contrasts of the predicted sizes, shape as given."""
        return np.sqrt((self.slope_se * np.asarray(predicted)) ** 2 + 2 * self.residual**2)


def read_effects(tables: Path, predictor: str) -> pl.DataFrame:
    """The held-out effects that ``evaluate`` writes into metrics/tables, for one predictor.

    Returns:
        ``COLUMNS`` and ``predicted``, a row per condition and question.

    Raises:
        DataError: a table is missing or has not these columns.
    """
    cells = _read(tables / "cells.csv", (*CELL, "scale"))
    effects = _read(tables / "effects.csv", (*CELL, "human", "human_se", predictor))
    return (
        effects.join(cells, on=CELL)
        .select(*COLUMNS, pl.col(predictor).cast(pl.Float64).alias("predicted"))
        .drop_nulls()
    )


def _read(path: Path, columns: tuple[str, ...]) -> pl.DataFrame:
    try:
        table = pl.read_csv(path, schema_overrides={"study_id": pl.String}, infer_schema_length=None)
        return table.select(columns)
    except FileNotFoundError:
        raise DataError(
            f"{path}: not found; run dvc repro: without held-out studies the model's error is unknown"
        ) from None
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: {' '.join(str(error).split())[:200]}; run dvc repro evaluate") from None


def calibrate(effects: pl.DataFrame) -> Calibration:
    """Slope and residual of predicted effects against those of people.

    Args:
        effects: ``COLUMNS`` and ``predicted``; human and predicted are centred again within each study
            and question, so that any origin will do.

    Raises:
        DataError: fewer than three studies with two or more conditions, or predictions that do not
            differ between conditions: then nothing is known of the error.
    """
    table = (
        effects.filter(pl.len().over(QUESTION) >= 2)
        .with_columns(pl.col(name) - pl.col(name).mean().over(QUESTION) for name in ("human", "predicted"))
        .sort(*QUESTION, "condition_num")
    )
    studies = table["study_id"].unique().sort().to_list()
    if len(studies) < FEWEST_STUDIES:
        raise DataError(
            f"{len(studies)} held-out studies have effects to compare; {FEWEST_STUDIES} or more are needed: "
            f"train again with split.test_studies={FEWEST_STUDIES} or more (docs/own-data.md)"
        )
    sums = _sums(table)
    if not sums[:, 1].sum() > 1e-9:
        raise DataError("the model predicts no effect in any held-out study: its error cannot be estimated")
    n = len(sums)
    slope, residual = _fit(sums.sum(axis=0))
    without = [_fit(sums.sum(axis=0) - part) for part in sums]
    slopes = np.array([found[0] for found in without])
    slope_se = float(np.sqrt((n - 1) / n * ((slopes - slopes.mean()) ** 2).sum()))
    pairs = _contrasts(table)
    inside: list[bool] = []
    for (_, of), (other_slope, other_residual) in zip(
        pairs.group_by("study_id", maintain_order=True), without, strict=True
    ):
        others = Calibration(other_slope, slope_se, other_residual, n - 1, 0, 0.0, 0.0)
        x, y, noise = (of[name].to_numpy() for name in ("predicted", "human", "noise"))
        half = others.quantile * np.hypot(others.error(x), noise)
        inside += (np.abs(y - other_slope * x) <= half).tolist()
    largest = float(pairs["predicted"].abs().max())  # type: ignore[arg-type]
    return Calibration(slope, slope_se, residual, n, len(pairs), float(np.mean(inside)), largest)


def _sums(table: pl.DataFrame) -> Floats:
    """[studies, 5] the sums xy, xx, yy of centred effects, their degrees of freedom, and people's noise in yy."""
    size = pl.len().over(QUESTION)
    x, y = pl.col("predicted"), pl.col("human")
    return (
        table.with_columns(weight=1 - 1 / size)
        .group_by("study_id", maintain_order=True)
        .agg(
            (x * y).sum().alias("xy"),
            (x * x).sum().alias("xx"),
            (y * y).sum().alias("yy"),
            pl.col("weight").sum().alias("freedom"),  # a question of k conditions has k - 1
            (pl.col("human_se") ** 2 * pl.col("weight")).sum().alias("noise"),
        )
        .drop("study_id")
        .to_numpy()
    )


def _fit(sums: Floats) -> tuple[float, float]:
    """Slope through the origin, and the residual with people's noise taken out, from summed moments."""
    xy, xx, yy, freedom, noise = sums
    slope = xy / xx
    left = yy - 2 * slope * xy + slope**2 * xx - noise
    return float(slope), float(np.sqrt(max(left, 0.0) / max(freedom - 1, 1.0)))


def _contrasts(table: pl.DataFrame) -> pl.DataFrame:
    """Every pair of conditions of a study and question: study_id, predicted, human, noise, sorted by study."""
    return (
        table.join(table, on=QUESTION, suffix="_other")
        .filter(pl.col("condition_num") < pl.col("condition_num_other"))
        .sort(*QUESTION, "condition_num", "condition_num_other")
        .select(
            "study_id",
            predicted=pl.col("predicted_other") - pl.col("predicted"),
            human=pl.col("human_other") - pl.col("human"),
            noise=(pl.col("human_se") ** 2 + pl.col("human_se_other") ** 2).sqrt(),
        )
    )

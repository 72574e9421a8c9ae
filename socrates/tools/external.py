"""Predictions of any other model, as a table: one row per option of a distribution, or per drawn answer.

Columns: ``study_id``, ``condition_num``, ``task_num``; ``participant`` where each respondent has predictions of their
own, else a cell's hold for all of its people; and either ``option`` and ``probability``, or ``response`` (a drawn
answer a row, as many as there are).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.core.errors import DataError
from socrates.core.files import atomic_folder, read_table, sha256, write_json, write_table
from socrates.core.params import load
from socrates.prediction.params import Predict
from socrates.prediction.table import predictions_table, thin_scales
from socrates.survey.scales import scale
from socrates.survey.tables import CELL, SCALED_RESPONSES

TEST, PREDICTIONS_FOLDER = Path("data/splits/test.parquet"), Path("data/predictions")
SUM_TOLERANCE = 1e-3


def import_table(path: Path, name: str) -> tuple[Path, int]:
    """Write the folder of predictions ``name`` from a table; returns it and its number of rows.

    Raises:
        DataError: as :func:`test_rows`, :func:`read_external`, :func:`expand`.
    """
    rows, excluded = test_rows(name)
    values, offsets = expand(read_external(path), rows, path)
    about = {"source": path.name, "sha256": sha256(path)}
    return write_folder(name, rows, (values, offsets, np.ones(len(rows), np.float32)), excluded, about)


def test_rows(name: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """The test rows that have a scale, and the others' counts, for a new predictor called ``name``.

    Raises:
        DataError: the name is no folder's or taken by a predictor of the pipeline, or there is no test split.
    """
    params = load(Predict)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in {"base", "adapter", *params.baselines}:
        raise DataError(f"--name {name}: lower-case letters, digits and _, and no predictor of the pipeline")
    if not TEST.exists():
        raise DataError(f"{TEST}: not there; run dvc repro split first")
    return thin_scales(read_table(TEST, SCALED_RESPONSES), params)


def write_folder(
    name: str,
    rows: pl.DataFrame,
    predicted: tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]],
    excluded: dict[str, int],
    about: Mapping[str, object],
) -> tuple[Path, int]:
    """Write ``data/predictions/NAME``; ``predicted``: values, offsets and mass as in :func:`predictions_table`."""
    table, manifest = predictions_table(rows, *predicted, excluded)
    with atomic_folder(PREDICTIONS_FOLDER / name) as folder:
        write_table(folder / "predictions.parquet", table)
        write_json(folder / "manifest.json", {**about, **manifest})
    return PREDICTIONS_FOLDER / name, table.height


def read_external(path: Path) -> pl.DataFrame:
    """The table at ``path`` (.csv or .parquet): ``CELL``, maybe ``participant``, ``option``, ``probability``.

    Drawn answers become shares. Each row is checked; rows count from 1 after the header.

    Raises:
        DataError: unreadable, a column missing, a null or a text for a number, a negative probability, an option
            twice, or probabilities that do not sum to 1.
    """
    try:
        table = pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not readable as {path.suffix or 'a table'} ({told})") from None
    drawn = "response" in table.columns
    values = ["response"] if drawn else ["option", "probability"]
    if missing := [name for name in [*CELL, *values] if name not in table.columns]:
        raise DataError(
            f"{path}: column {', '.join(missing)} missing; expected {', '.join(CELL)}, participant if each has their "
            "own, and option with probability, or response"
        )
    key = [*CELL, *(["participant"] if "participant" in table.columns else [])]
    kinds = {"study_id": pl.String, "probability": pl.Float64}
    try:
        table = table.select(
            pl.col(name).cast(kinds.get(name, pl.Int64), strict=False) for name in [*key, *values]
        )
    except pl.exceptions.InvalidOperationError as error:
        raise DataError(
            f"{path}: a column is neither text nor a number ({str(error).splitlines()[0]})"
        ) from None
    refused = {f"{name} is empty or no number": pl.col(name).is_null() for name in table.columns}
    if not drawn:
        share = pl.col("probability")
        refused |= {
            "probability is negative or not finite": ~share.is_finite() | (share < 0),
            "its option stands there twice": pl.struct(*key, "option").is_duplicated(),
            "the probabilities of its options do not sum to 1": (share.sum().over(key) - 1).abs()
            > SUM_TOLERANCE,
        }
    for problem, bad in refused.items():
        rows = table.select(bad.arg_true()).to_series()
        if len(rows):
            raise DataError(f"{path}: row {rows[0] + 1}: {problem} ({len(rows)} such rows)")
    if not drawn:
        return table
    counts = table.group_by(*key, option="response").len()
    return (
        counts.with_columns(probability=pl.col("len") / pl.col("len").sum().over(key))
        .drop("len")
        .sort(*key, "option")
    )


def expand(
    predicted: pl.DataFrame, rows: pl.DataFrame, path: Path
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The probabilities of every test row, one after another, and where each row's begin, ``[rows + 1]``.

    Args:
        predicted: from :func:`read_external`.
        rows: the test rows with a scale.
        path: named in errors.

    Raises:
        DataError: a test row without a prediction, or an option that its scale does not have.
    """
    key = [name for name in predicted.columns if name not in ("option", "probability")]
    known: dict[tuple[object, ...], dict[int, float]] = {}
    for *unit, option, probability in predicted.select(*key, "option", "probability").iter_rows():
        known.setdefault(tuple(unit), {})[option] = probability
    blocks: dict[tuple[object, ...], NDArray[np.float32]] = {}
    for *unit, notation in rows.select(*key, "scale").unique(maintain_order=True).iter_rows():
        named = " ".join(f"{name} {value}" for name, value in zip(key, unit, strict=True))
        if tuple(unit) not in known:
            raise DataError(f"{path}: no prediction for {named}; every test row needs one")
        options, shares = scale(notation).options, known[tuple(unit)]
        if outside := sorted(set(shares) - set(options)):
            raise DataError(f"{path}: {named}: option {outside[0]} is not on its scale {notation}")
        block = np.array([shares.get(option, 0.0) for option in options], np.float32)
        blocks[*unit, notation] = block / block.sum()
    parts = [blocks[unit] for unit in rows.select(*key, "scale").iter_rows()]
    return np.concatenate(parts), np.concatenate([[0], np.cumsum([len(part) for part in parts])])

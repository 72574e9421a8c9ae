"""Predictions of any other model, as a table: one row per option of a distribution, or per drawn answer.

Columns: ``study_id``, ``condition_num``, ``task_num``; ``participant`` where each respondent has predictions of their
own, else a cell's hold for all of its people; and either ``option`` and ``probability``, or ``response`` (a drawn
answer a row, as many as there are).
"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

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
    """Write the folder of predictions ``name`` from a table; returns it and its number of rows."""
    rows, excluded = test_rows(name)
    answered = rows.with_columns(expand(read_external(path), rows, path), allowed_mass=pl.lit(1.0))
    return write_folder(name, answered, excluded, {"source": path.name, "sha256": sha256(path)})


def test_rows(name: str) -> tuple[pl.DataFrame, dict[str, int]]:
    """The test rows that have a scale, and the others' counts, for a new predictor called ``name``."""
    params = load(Predict)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in {"base", "adapter", *params.baselines}:
        raise DataError(f"--name {name}: lower-case letters, digits and _, and no predictor of the pipeline")
    if not TEST.exists():
        raise DataError(f"{TEST}: not there; run dvc repro split first")
    return thin_scales(read_table(TEST, SCALED_RESPONSES), params)


def write_folder(
    name: str, answered: pl.DataFrame, excluded: dict[str, int], about: Mapping[str, object]
) -> tuple[Path, int]:
    """Write ``data/predictions/NAME`` from test rows with their ``probabilities`` and ``allowed_mass``."""
    shares, mass = answered["probabilities"], answered["allowed_mass"].to_numpy().astype(np.float32)
    values = shares.explode().to_numpy().astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(shares.list.len().to_numpy(), dtype=np.int64)])
    table, manifest = predictions_table(answered, values, offsets, mass, excluded)
    with atomic_folder(PREDICTIONS_FOLDER / name) as folder:
        write_table(folder / "predictions.parquet", table)
        write_json(folder / "manifest.json", {**about, **manifest})
    return PREDICTIONS_FOLDER / name, table.height


def read_external(path: Path) -> pl.DataFrame:
    """The table at ``path`` (.csv or .parquet), drawn answers as shares; a refused row is counted from 1."""
    try:
        table = pl.read_csv(path, infer_schema=False) if path.suffix == ".csv" else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        told = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: not readable as {path.suffix or 'a table'} ({told})") from None
    drawn = "response" in table.columns
    values = ["response"] if drawn else ["option", "probability"]
    if missing := [name for name in [*CELL, *values] if name not in table.columns]:
        known = "participant if each has their own, and option with probability, or response"
        raise DataError(f"{path}: column {', '.join(missing)} missing; expected {', '.join(CELL)}, {known}")
    key = [*CELL, *(["participant"] if "participant" in table.columns else [])]
    kinds = {"study_id": pl.String, "probability": pl.Float64}
    try:
        columns = (pl.col(name).cast(kinds.get(name, pl.Int64), strict=False) for name in [*key, *values])
        table = table.select(columns)
    except pl.exceptions.InvalidOperationError as error:
        told = str(error).splitlines()[0]
        raise DataError(f"{path}: a column is neither text nor a number ({told})") from None
    refused = {f"{name} is empty or no number": pl.col(name).is_null() for name in table.columns}
    if not drawn:
        share = pl.col("probability")
        refused["probability is negative or not finite"] = ~share.is_finite() | (share < 0)
        refused["its option stands there twice"] = pl.struct(*key, "option").is_duplicated()
        off = (share.sum().over(key) - 1).abs()
        refused["the probabilities of its options do not sum to 1"] = off > SUM_TOLERANCE
    for problem, bad in refused.items():
        rows = table.select(bad.arg_true()).to_series()
        if len(rows):
            raise DataError(f"{path}: row {rows[0] + 1}: {problem} ({len(rows)} such rows)")
    if not drawn:
        return table
    counts = table.group_by(*key, option="response").len("probability")
    return counts.with_columns(pl.col("probability") / pl.col("probability").sum().over(key))


def expand(predicted: pl.DataFrame, rows: pl.DataFrame, path: Path) -> pl.Series:
    """The probabilities of every test row over its scale, from :func:`read_external`'s table; sums are 1."""
    key = predicted.columns[:-2]
    units = rows.select(*key, "scale").unique(maintain_order=True)
    units = units.join(predicted.group_by(key).all(), on=key, how="left", maintain_order="left")
    blocks = []
    for *unit, notation, options, shares in units.iter_rows():
        named = " ".join(f"{name} {value}" for name, value in zip(key, unit, strict=True))
        if options is None:
            raise DataError(f"{path}: no prediction for {named}; every test row needs one")
        share, allowed = dict(zip(options, shares, strict=True)), scale(notation).options
        if outside := sorted(set(options) - set(allowed)):
            raise DataError(f"{path}: {named}: option {outside[0]} is not on its scale {notation}")
        block = np.array([share.get(option, 0.0) for option in allowed], np.float32)
        blocks.append((block / block.sum()).tolist())
    units = units.with_columns(pl.Series("probabilities", blocks, pl.List(pl.Float32)))
    return rows.join(units, on=[*key, "scale"], how="left", maintain_order="left")["probabilities"]

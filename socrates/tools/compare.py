"""Two runs against each other, paired by cell: ``socrates compare A B``.

Reads metrics/tables/cell_scores.csv of both from Git (``workspace`` is the file as it stands), so the
two runs need not be checked out, and nothing is computed again.
"""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import polars as pl

from socrates.core.errors import DataError
from socrates.evaluation.intervals import generator, sign_flip_interval
from socrates.evaluation.metrics import METRICS
from socrates.survey.tables import CELL

TABLE = Path("metrics/tables/cell_scores.csv")
WORKSPACE = "workspace"
DISTRIBUTIONS = (
    "wasserstein",
    "clipped.wasserstein",
    "stated.wasserstein",
    "drawn.wasserstein",
    "tvd",
    "jensen_shannon",
)
INDIVIDUALS = (
    "accuracy",
    "accuracy_median",
    "mae",
    "exact_match",
    "within_one",
    "log_likelihood",
    "brier",
)
DRAWS, SEED = 2000, 42


def read_scores(revision: str, folder: Path = Path()) -> pl.DataFrame:
    """The cell scores of a Git revision, or of the working folder for ``workspace``.

    Raises:
        DataError: no such revision, or it has no such table.
    """
    if revision == WORKSPACE:
        path = folder / TABLE
        if not path.exists():
            raise DataError(f"{path}: not found; run dvc repro")
        text = path.read_bytes()
    else:
        command = ["git", "-C", str(folder), "show", f"{revision}:./{TABLE}"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise DataError(f"{TABLE} at revision {revision}: {done.stderr.decode().strip()}")
        text = done.stdout
    try:
        scores = pl.read_csv(
            io.BytesIO(text), schema_overrides={"study_id": pl.String}, infer_schema_length=None
        )
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{TABLE} at {revision}: not a readable CSV file ({' '.join(str(error).split())})"
        ) from None
    missing = {*CELL, "predictor", "respondents", *DISTRIBUTIONS} - set(scores.columns)
    if missing:
        raise DataError(
            f"{TABLE} at {revision}: column {', '.join(sorted(missing))} missing; run evaluate again"
        )
    # runs from before the table had individual-level columns can still be compared on the others
    return scores.with_columns(
        pl.lit(None, pl.Float64).alias(k) for k in INDIVIDUALS if k not in scores.columns
    )


def compare(first: pl.DataFrame, second: pl.DataFrame, predictor: str) -> pl.DataFrame:
    """Second minus first for each metric, over the cells that both runs scored.

    A study's value is the mean of its cells for metrics of distributions, and the mean over its answers
    for metrics of individuals, as in metrics/evaluate.json.

    Returns:
        One row per metric: both means over studies, their difference with its 95 % interval,
        p-value and sign, cells paired, and cells that only one run scored.

    Raises:
        DataError: a run has no such predictor, or no cell is in both.
    """
    sides = [side.filter(pl.col("predictor") == predictor) for side in (first, second)]
    for side, given, name in zip(sides, (first, second), ("A", "B"), strict=True):
        if side.is_empty():
            known = ", ".join(sorted(set(given["predictor"])))
            raise DataError(f"run {name} has no predictor {predictor}; found {known}")
    both = sides[0].join(
        sides[1], on=CELL, how="full", suffix="_b", coalesce=True, maintain_order="left_right"
    )
    rows = []
    for key in (*DISTRIBUTIONS, *INDIVIDUALS):
        paired = both.drop_nulls([key, f"{key}_b"])
        if paired.is_empty():
            continue
        mean = _over_answers if key in INDIVIDUALS else _over_cells
        study = paired.group_by("study_id").agg(mean(key, ""), mean(key, "_b")).sort("study_id")
        change = (study[f"{key}_b"] - study[key]).to_numpy()
        found = sign_flip_interval(change, DRAWS, generator(SEED, "compare", key))
        alone = both.filter(pl.col(key).is_null() != pl.col(f"{key}_b").is_null()).height
        rows.append(
            (key, study[key].mean(), study[f"{key}_b"].mean(), found.value, found.low, found.high, found.p,
             found.sign, study.height, paired.height, alone)
        )  # fmt: skip
    if not rows:
        raise DataError(f"no cell is scored in both runs for {predictor}; they share no test study")
    columns = [
        "metric",
        "a",
        "b",
        "difference",
        "low",
        "high",
        "p",
        "sign",
        "studies",
        "cells",
        "cells_unpaired",
    ]
    return pl.DataFrame(rows, columns, orient="row")


def _over_cells(key: str, run: str) -> pl.Expr:
    return pl.col(key + run).mean()


def _over_answers(key: str, run: str) -> pl.Expr:
    answers = pl.col(f"respondents{run}")
    return (pl.col(key + run) * answers).sum() / answers.sum()


def markdown(table: pl.DataFrame, first: str, second: str) -> str:
    """The comparison as a Markdown table, with a verdict in words."""
    lines = [
        f"| metric | {first} | {second} | difference | 95 % interval | p | {second} is |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in table.iter_rows(named=True):
        better = METRICS[row["metric"]].higher_is_better
        verdict = (
            "not shown to differ"
            if row["sign"] == 0
            else "better"
            if (row["sign"] > 0) == better
            else "worse"
        )
        interval = "needs two studies" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
        p = "" if row["p"] is None else f"{row['p']:.3f}"
        lines.append(
            f"| {METRICS[row['metric']].label} | {row['a']:.4f} | {row['b']:.4f} | {row['difference']:+.4f} "
            f"| {interval} | {p} | {verdict} |"
        )
    absent = [METRICS[key].label for key in (*DISTRIBUTIONS, *INDIVIDUALS) if key not in set(table["metric"])]
    if absent:
        lines.append(f"\nNot in both runs, and so not compared: {', '.join(absent)}.")
    paired = table.row(0, named=True)
    lines.append(
        f"\n{paired['cells']} cells of {paired['studies']} studies are in both; "
        f"{paired['cells_unpaired']} are in one alone."
    )
    return "\n".join(lines)

"""Two runs against each other, paired by cell: ``socrates compare A B``.

Reads metrics/tables/cell_scores.csv of both from Git (``workspace`` is the file as it stands), so the
two runs need not be checked out, and nothing is computed again.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from socrates.core.errors import DataError, SocratesError
from socrates.core.git import commit_of, git
from socrates.evaluation.intervals import generator, sign_flip_interval
from socrates.evaluation.metrics import METRICS
from socrates.survey.tables import CELL

TABLE = Path("metrics/tables/cell_scores.csv")
WORKSPACE = "workspace"
DISTRIBUTIONS = ("wasserstein", "clipped.wasserstein", "stated.wasserstein", "drawn.wasserstein", "tvd",
                 "jensen_shannon")  # fmt: skip
INDIVIDUALS = ("accuracy", "accuracy_median", "mae", "exact_match", "within_one", "log_likelihood", "brier")
DRAWS, SEED = 2000, 42


def read_scores(revision: str, folder: Path = Path()) -> pl.DataFrame:
    """The cell scores of a Git revision or a DVC experiment, or of the working folder for ``workspace``.

    Raises:
        DataError: no such revision, or it has no such table.
    """
    if revision == WORKSPACE and not (folder / TABLE).exists():
        raise DataError(f"{folder / TABLE}: not found; run dvc repro")
    try:
        if revision == WORKSPACE:
            text = (folder / TABLE).read_text(encoding="utf-8")
        else:
            text = git("show", f"{commit_of(revision, folder)}:./{TABLE}", folder=folder)
        types = {"study_id": pl.String}
        scores = pl.read_csv(text.encode(), schema_overrides=types, infer_schema_length=None)
    except (SocratesError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{TABLE} at revision {revision}: {' '.join(str(error).split())}") from None
    missing = {*CELL, "predictor", "respondents", *DISTRIBUTIONS} - set(scores.columns)
    if missing:
        raise DataError(
            f"{TABLE} at {revision}: column {', '.join(sorted(missing))} missing; run evaluate again"
        )
    # runs from before the table had individual-level columns can still be compared on the others
    absent = [key for key in INDIVIDUALS if key not in scores.columns]
    return scores.with_columns(pl.lit(None, pl.Float64).alias(key) for key in absent)


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
    sides = []
    for name, table in (("A", first), ("B", second)):
        sides.append(table.filter(pl.col("predictor") == predictor))
        if sides[-1].is_empty():
            known = ", ".join(sorted(set(table["predictor"])))
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
        row = {
            "metric": key,
            "a": study[key].mean(),
            "b": study[f"{key}_b"].mean(),
            "difference": found.value,
        }
        row |= {"low": found.low, "high": found.high, "p": found.p, "sign": found.sign}
        row |= {"studies": study.height, "cells": paired.height}
        alone = pl.col(key).is_null() != pl.col(f"{key}_b").is_null()
        rows.append(row | {"cells_unpaired": both.filter(alone).height})
    if not rows:
        raise DataError(f"no cell is scored in both runs for {predictor}; they share no test study")
    return pl.DataFrame(rows, infer_schema_length=None)


def _over_cells(key: str, run: str) -> pl.Expr:
    return pl.col(key + run).mean()


def _over_answers(key: str, run: str) -> pl.Expr:
    answers = pl.col(f"respondents{run}")
    return (pl.col(key + run) * answers).sum() / answers.sum()


def markdown(table: pl.DataFrame, first: str, second: str) -> str:
    """The comparison as a Markdown table, with a verdict in words."""
    lines = [
        f"| metric | {first} | {second} | difference | 95 % interval | p | {second} is |",
        "|---" * 7 + "|",
    ]
    for row in table.iter_rows(named=True):
        metric = METRICS[row["metric"]]
        verdict = "better" if (row["sign"] > 0) == metric.higher_is_better else "worse"
        cells = [metric.label, f"{row['a']:.4f}", f"{row['b']:.4f}", f"{row['difference']:+.4f}"]
        cells += ["needs two studies" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"]
        cells += [
            "" if row["p"] is None else f"{row['p']:.3f}",
            verdict if row["sign"] else "not shown to differ",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    absent = [METRICS[key].label for key in (*DISTRIBUTIONS, *INDIVIDUALS) if key not in set(table["metric"])]
    if absent:
        lines.append(f"\nNot in both runs, and so not compared: {', '.join(absent)}.")
    paired = table.row(0, named=True)
    told = f"{paired['cells']} cells of {paired['studies']} studies are in both"
    return "\n".join([*lines, f"\n{told}; {paired['cells_unpaired']} are in one alone."])

"""Two runs against each other, paired by cell (``socrates compare A B``), and folds as one run (``socrates folds``).

Both read metrics/tables/cell_scores.csv from Git, so that a run need not be checked out, and compute nothing again.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from socrates.core.errors import DataError
from socrates.evaluation.intervals import generator, sign_flip_interval
from socrates.evaluation.metrics import METRICS
from socrates.reporting.markdown import markdown_table
from socrates.survey.tables import CELL

TABLE = Path("metrics/tables/cell_scores.csv")
WORKSPACE = "workspace"
DRAWS, SEED = 2000, 42


def read_at(revision: str, path: Path, parse: Callable[[str], Any]) -> Any:
    """A file at a Git revision or a DVC experiment, or as it is for ``workspace``, parsed; else DataError."""
    import dvc.api
    from dvc.exceptions import DvcException
    from dvc_data.index import DataIndexDirError

    what = f"{path} at revision {revision}"
    try:
        if revision == WORKSPACE:
            return parse(path.read_text(encoding="utf-8"))
        return parse(dvc.api.read(str(path), repo=".", rev=revision))
    except DataIndexDirError:
        raise DataError(f"{what}: its content is not here; run dvc pull") from None
    except (OSError, ValueError, DvcException, PolarsError, AttributeError) as error:  # the last: no commit
        raise DataError(f"{what}: {' '.join(str(error).split())}; name another, or run dvc repro") from None


def read_scores(revision: str) -> pl.DataFrame:
    """The cell scores of a run, as :func:`read_at` reads them."""
    how: dict[str, Any] = {"schema_overrides": {"study_id": pl.String}, "infer_schema_length": None}
    scores: pl.DataFrame = read_at(revision, TABLE, lambda text: pl.read_csv(text.encode(), **how))
    if missing := sorted({*CELL, "predictor", "respondents"} - set(scores.columns)):
        raise DataError(f"{TABLE} at {revision}: column {', '.join(missing)} missing; run evaluate again")
    return scores


def compare(first: pl.DataFrame, second: pl.DataFrame, predictor: str) -> pl.DataFrame:
    """Second minus first for each metric that has a better direction, over the cells that both runs scored.

    A study's value is the mean of its cells for metrics of distributions, and the mean over its answers for metrics
    of answers, as in metrics/evaluate.json. A row has both means over studies, their difference with its 95 % interval,
    p-value and sign, cells paired, and cells that only one run scored.
    """
    sides = [table.filter(pl.col("predictor") == predictor) for table in (first, second)]
    for name, table, side in zip("AB", (first, second), sides, strict=True):
        if side.is_empty():
            known = ", ".join(sorted(set(table["predictor"])))
            raise DataError(f"run {name} has no predictor {predictor}; found {known}")
    both = sides[0].join(
        sides[1], on=CELL, how="full", suffix="_b", coalesce=True, maintain_order="left_right"
    )
    rows = []
    for key in first.columns:
        if key not in METRICS or key not in second.columns or METRICS[key].higher_is_better is None:
            continue
        paired = both.drop_nulls([key, f"{key}_b"])
        if paired.is_empty():
            continue
        study = paired.group_by("study_id").agg(a=_mean(key, ""), b=_mean(key, "_b")).sort("study_id")
        differences = (study["b"] - study["a"]).to_numpy()
        found = sign_flip_interval(differences, DRAWS, generator(SEED, "compare", key))
        alone = both.filter(pl.col(key).is_null() != pl.col(f"{key}_b").is_null()).height
        means = {"metric": key, "a": study["a"].mean(), "b": study["b"].mean(), "difference": found.value}
        interval = {"low": found.low, "high": found.high, "p": found.p, "sign": found.sign}
        counts = {"studies": study.height, "cells": paired.height, "cells_unpaired": alone}
        rows.append(means | interval | counts)
    if not rows:
        raise DataError(f"no cell is scored in both runs for {predictor}; they share no test study")
    return pl.DataFrame(rows, infer_schema_length=None)


def _mean(key: str, run: str) -> pl.Expr:
    """Over cells, or over answers for a metric of answers."""
    weight = pl.col(f"respondents{run}") if METRICS[key].answer else pl.col("respondents") * 0 + 1
    return (pl.col(key + run) * weight).sum() / weight.sum()


def join_folds(tables: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """The cell scores of the runs of a cross-validation as one table; a study tested in two of them is a DataError."""
    tested: dict[str, str] = {}
    for run, table in tables.items():
        for study in table["study_id"].unique().sort():
            if study in tested:
                told = f"study {study} was tested in {tested[study]} and in {run}"
                raise DataError(f"{told}: name each fold once, of one split.seed")
            tested[study] = run
    return pl.concat(tables.values(), how="diagonal_relaxed")


def beside_baseline(table: pl.DataFrame, predictor: str, baseline: str) -> pl.DataFrame:
    """``predictor`` minus ``baseline`` of one run, as :func:`compare` has it."""
    known = table.filter(pl.col("predictor") == baseline).with_columns(predictor=pl.lit(predictor))
    return compare(known, table, predictor)


def markdown(found: pl.DataFrame, first: str, second: str) -> str:
    """The comparison as a table, with a verdict in words."""
    rows = []
    for row in found.iter_rows(named=True):
        metric = METRICS[row["metric"]]
        verdict = "better" if (row["sign"] > 0) == metric.higher_is_better else "worse"
        interval = "needs two studies" if row["low"] is None else f"{row['low']:+.4f} to {row['high']:+.4f}"
        p = "" if row["p"] is None else f"{row['p']:.3f}"
        cells = [metric.label, f"{row['a']:.4f}", f"{row['b']:.4f}", f"{row['difference']:+.4f}", interval, p]
        rows.append([*cells, verdict if row["sign"] else "not shown to differ"])
    head = ["metric", first, second, "difference", "95 % interval", "p", f"{second} is"]
    paired = found.row(0, named=True)
    told = f"{paired['cells']} cells of {paired['studies']} studies are in both"
    return f"{markdown_table(head, rows)}\n\n{told}; {paired['cells_unpaired']} are in one alone."

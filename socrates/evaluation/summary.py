"""What the stage writes: nested scalars for metrics/evaluate.json, and the tables beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from socrates.evaluation import distance, individual
from socrates.evaluation.cells import Floats, Survey
from socrates.evaluation.effects import condition_effects, credible_pairs
from socrates.evaluation.intervals import Estimate
from socrates.evaluation.metrics import ANSWER_METRICS, METRICS, metric
from socrates.evaluation.params import Evaluate
from socrates.evaluation.scoring import Scores
from socrates.survey.tables import CELL

DECIMALS = 6

Tree = dict[str, Any]  # nested, with figures as leaves


def to_nested_dict(figures: Mapping[str, Estimate], signed: bool = False) -> Tree:
    """Nested scalar keys of some figures: ``stated.wasserstein`` and its interval under ``stated``.

    Figures are rounded to :data:`DECIMALS`, far below their intervals, so that the last bits, which
    depend on the number of threads of a matrix product, do not reach a file that Git tracks. The
    ends of an interval are kept inside the range that the metric cannot leave.

    Args:
        signed: the figures are differences: also write the p-value and the sign of each, and let
            intervals cross zero.
    """
    root: Tree = {}
    for key, figure in figures.items():
        *path, last = key.split(".")
        node = root
        for part in path:
            node = node.setdefault(part, {})
        node[last] = _rounded(figure.value)
        if figure.low is not None and figure.high is not None:
            known = metric(key)
            bounds = (None, None) if signed else (known.low, known.high)
            node[f"{last}_low"], node[f"{last}_high"] = (
                _rounded(float(np.clip(end, *bounds))) for end in (figure.low, figure.high)
            )
        if signed:
            node[f"{last}_p"], node[f"{last}_sign"] = _rounded(figure.p), figure.sign
    return root


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


def counts(
    survey: Survey,
    params: Evaluate,
    excluded: Mapping[str, Mapping[str, int]],
    known_lengths: Iterable[int],
) -> Tree:
    """How much was scored and how much was not, by reason.

    Args:
        excluded: per predictor, answers that were not predicted, by reason.
        known_lengths: of the scales in the training data.
    """
    small = survey.respondents < params.min_cell_size
    constant = (survey.human.max(axis=1) > 1 - 1e-12) & ~small
    unscored = small | constant if params.constant_cells == "exclude" else small
    compared = condition_effects(survey, survey.human, params.min_cell_size)
    known = set(known_lengths)
    return {
        "studies": len(survey.studies),
        "studies_scored": len(np.unique(survey.study[~unscored])),
        "cells": len(survey.cells),
        "cells_scored": int((~unscored).sum()),
        "cells_excluded": {
            "too_small": int(small.sum()),
            "constant": int(constant.sum()) if params.constant_cells == "exclude" else 0,
        },
        "cells_constant": int(constant.sum()),
        "cells_mixed_scale": int(survey.cells["scale"].str.contains(" | ", literal=True).sum()),
        "answers": len(survey.rows),
        "respondents": survey.rows.select("study_id", "participant").n_unique(),
        "respondents_per_cell_median": float(np.median(survey.respondents)),
        "effects": {
            "conditions": len(compared.cell),
            "questions": len(np.unique(compared.group)),
            "credible_pairs": len(credible_pairs(compared)[0]),
        },
        "answers_moved_to_grid": survey.off_grid,
        "answers_excluded": {
            # a reason may name a parameter; a dot would read as one more level of keys
            name: {re.sub(r"\W+", "_", reason): number for reason, number in reasons.items()}
            for name, reasons in sorted(excluded.items())
        },
        "cells_without_train_scale": len({b.cell for b in survey.blocks if len(b.options) not in known}),
    }


def cell_table(survey: Survey, min_cell_size: int) -> pl.DataFrame:
    """One row per cell: what was asked of how many, and how they answered.

    Of fewer than ``min_cell_size`` people nothing but their number is said: the mean of one is an answer.
    """
    low, high = distance.observed_range(survey.human, survey.grid)
    shown = {
        "human_low": low,
        "human_high": high,
        "human_mean": distance.mean(survey.human, survey.grid),
        "human_sd": distance.deviation(survey.human, survey.grid),
    }
    small = survey.respondents < min_cell_size
    return survey.cells.with_columns(
        pl.Series("options", survey.options),
        *(pl.Series(key, np.where(small, np.nan, values)) for key, values in shown.items()),
    ).fill_nan(None)


def score_table(survey: Survey, scores: Iterable[Scores]) -> pl.DataFrame:
    """One row per cell and predictor with every cell metric; empty where a cell is not scored.

    Individual-level metrics are means over the cell's answers.
    """
    keys = [
        key
        for key, entry in METRICS.items()
        if key != "sigma" and (entry.cell or key in ANSWER_METRICS or key == "drawn.wasserstein")
    ]
    nothing = np.full(len(survey.cells), np.nan)
    parts = [
        survey.cells.select(*CELL, "respondents").with_columns(
            pl.lit(part.name).alias("predictor"),
            *(pl.Series(key, part.cells.get(key, nothing)) for key in keys),
        )
        for part in scores
    ]
    return pl.concat(parts).fill_nan(None)


def study_table(
    survey: Survey, scores: Sequence[Scores], errors: Mapping[str, Mapping[str, Floats]]
) -> pl.DataFrame:
    """One row per study and predictor with every study metric.

    ``wasserstein_low`` and ``_high`` say how far other respondents of the same study would move it.

    Args:
        errors: predictor -> metric -> [S], as of :func:`respondents.respondent_errors`.
    """
    keys = list(dict.fromkeys(key for part in scores for key in part.studies))
    with_error = [key.removesuffix("_respondents_se") for key in METRICS if key.endswith("_respondents_se")]
    nothing = np.full(len(survey.studies), np.nan)
    cells = np.bincount(survey.study, minlength=len(survey.studies))
    answers = np.bincount(survey.study_of_answer)
    tables = []
    for part in scores:
        columns = [pl.Series(key, part.studies.get(key, nothing)) for key in keys]
        for key in with_error:
            reach = 1.96 * errors.get(part.name, {}).get(key, nothing)
            for end, moved in (("low", -reach), ("high", reach)):
                columns.append(pl.Series(f"{key}_{end}", np.maximum(part.studies[key] + moved, 0)))
        head = pl.DataFrame({"study_id": survey.studies, "cells": cells, "answers": answers})
        tables.append(head.with_columns(pl.lit(part.name).alias("predictor"), *columns))
    return pl.concat(tables).fill_nan(None)


def distribution_table(survey: Survey, scores: Iterable[Scores], cells: Iterable[int]) -> pl.DataFrame:
    """Long form for plots: cell, predictor (and ``human``), option, probability."""
    sides = [("human", survey.human), *((part.name, part.pmf) for part in scores if part.pmf is not None)]
    keys = list(survey.cells.select(CELL).iter_rows())
    rows = [
        (*keys[cell], name, int(survey.grid[cell, option]), float(pmf[cell, option]))
        for cell in cells
        for name, pmf in sides
        for option in range(survey.options[cell])
    ]
    return pl.DataFrame(rows, [*CELL, "predictor", "option", "probability"], orient="row")


def typical_cells(values: Floats, wanted: int) -> list[int]:
    """Cells evenly spaced by the rank of ``values`` [C], NaN left out: the extremes and the median are in."""
    ranked = [int(cell) for cell in np.argsort(values, kind="stable") if not np.isnan(values[cell])]
    picks = np.rint(np.linspace(0, len(ranked) - 1, min(wanted, len(ranked)))).astype(int)
    return [ranked[pick] for pick in sorted(set(picks.tolist()))]


def reliability_table(scores: Iterable[Scores]) -> pl.DataFrame:
    """Ten bins of confidence per predictor; empty bins are left out."""
    rows = [
        (part.name, i / individual.BINS, (i + 1) / individual.BINS, int(n), confidence / n, correct / n)
        for part in scores
        if part.reliability is not None
        for i, (n, confidence, correct) in enumerate(part.reliability)
        if n
    ]
    columns = ["predictor", "low", "high", "answers", "confidence", "correct"]
    return pl.DataFrame(rows, columns, orient="row")


def pit_table(scores: Iterable[Scores]) -> pl.DataFrame:
    """Share of answers in each of ten bins of the probability integral transform, a column for each predictor."""
    known = {part.name: part.pit / part.pit.sum() for part in scores if part.pit is not None}
    middle = (np.arange(individual.BINS) + 0.5) / individual.BINS
    return pl.DataFrame({"middle": middle, **known})


def effects_table(survey: Survey, scores: Iterable[Scores]) -> pl.DataFrame:
    """One row per compared cell: the effect of its condition in people and in each predictor."""
    known = {part.name: part.effects for part in scores if part.effects is not None}
    first = next(iter(known.values()))
    return survey.cells.select(*CELL, "respondents")[first.cell.tolist()].with_columns(
        pl.Series("human", first.human),
        pl.Series("human_se", first.error),
        *(pl.Series(name, part.predicted) for name, part in known.items()),
    )

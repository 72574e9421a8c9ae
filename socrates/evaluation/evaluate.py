"""The whole evaluation of the predictors on one test set, as one function of tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from scipy.special import entr

from socrates.evaluation import distance, summary
from socrates.evaluation.cells import Floats, Predictor, Survey
from socrates.evaluation.groups import gap_table, group_table
from socrates.evaluation.headline import figures_of_the_rest
from socrates.evaluation.intervals import FOR_A_RESULT
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictions import check_same, read_predictions
from socrates.evaluation.predictors import PRIMARY, comparisons, ordered
from socrates.evaluation.reading import reading
from socrates.evaluation.references import reference_predictors, train_marginals
from socrates.evaluation.resampling import differences, estimates
from socrates.evaluation.respondents import respondent_errors
from socrates.evaluation.scoring import Scores, perfect_prediction, score
from socrates.survey.tables import CELL


@dataclass(frozen=True)
class Evaluation:
    """What the stage writes: nested scalars, tables by file name, and the line it prints."""

    metrics: summary.Tree
    tables: dict[str, pl.DataFrame]
    summary: str


def evaluate(
    predictions: Mapping[str, pl.DataFrame],
    paths: Mapping[str, Path],
    train: pl.DataFrame,
    truth: pl.DataFrame | None,
    excluded: Mapping[str, Mapping[str, int]],
    params: Evaluate,
    best_baseline: str | None = None,
    flagged: pl.DataFrame | None = None,
    probes: Mapping[str, pl.DataFrame] | None = None,
) -> Evaluation:
    """Score every predictor and baseline against the people of the test studies.

    Args:
        predictions: by predictor (``adapter``, ``base`` and any other), columns of ``tables.PREDICTIONS``.
        paths: where each was read, named in errors.
        train: study_id, response and scale of the training rows.
        truth: columns of ``tables.PERSON_TRUTH``; None where the data are real.
        excluded: per predictor, rows that were not predicted, by reason.
        best_baseline: the baseline of the primary comparison, chosen on the validation studies.
        flagged: columns of CELL, the cells whose text resembles one of training; every headline figure is also
            given without them.
        probes: by name, what the adapter predicted with a part of the prompt changed; columns as predictions.

    Raises:
        DataError: predictions that cannot be scored (see :func:`predictions.read_predictions`), or
            predictors that did not predict the same respondents.
    """
    survey, read = read_all(predictions, paths)
    marginals = train_marginals(train, longest=survey.grid.shape[1])
    predictors = [*read, *reference_predictors(survey, marginals, truth)]
    scores = {p.name: score(survey, p, params) for p in predictors}
    scores["empirical_best"] = perfect_prediction(survey, params)
    errors = errors_from_respondents(survey, predictors, params)

    metrics = {
        name: summary.to_nested_dict(estimates(survey, part, errors.get(name, {}), params))
        for name, part in scores.items()
    }
    for first, second in comparisons([p.name for p in read]):
        change = differences(scores[first], scores[second], params)
        metrics[f"{first}_minus_{second}"] = summary.to_nested_dict(change, signed=True)
    if best_baseline is not None:
        change = differences(scores["adapter"], scores[best_baseline], params)
        metrics[PRIMARY] = summary.to_nested_dict(change, signed=True)
        metrics["primary"] = {"baseline": best_baseline}
    known = {part.name: part for part in predictors if part.name in ("adapter", "planted")}
    asked = {name: read_predictions(table, Path(name), name) for name, table in (probes or {}).items()}
    metrics["reading"] = reading(survey, known, asked, params)
    metrics["counts"] = summary.counts(survey, params, excluded, marginals)
    near = survey.cells.join(flagged, on=CELL, how="semi").height if flagged is not None else 0
    metrics["counts"]["cells_near_duplicate"] = near
    if flagged is not None and 0 < near < len(survey.cells):
        rest = {name: table.join(flagged, on=CELL, how="anti") for name, table in predictions.items()}
        others = evaluate(rest, paths, train, truth, excluded, params, best_baseline)
        metrics["without_near_duplicates"] = figures_of_the_rest(others.metrics)
    return Evaluation(metrics, tables(survey, list(scores.values()), errors, params), _line(metrics))


def read_all(
    predictions: Mapping[str, pl.DataFrame], paths: Mapping[str, Path]
) -> tuple[Survey, list[Predictor]]:
    """The human side, and every predictor that was read, the fine-tuned model first."""
    names = ordered(predictions)
    read = {name: read_predictions(predictions[name], paths[name], name) for name in names}
    survey, _ = read[names[0]]
    for name in names[1:]:
        check_same(survey, paths[names[0]], read[name][0], paths[name])
    return survey, [predictor for _, predictor in read.values()]


def errors_from_respondents(
    survey: Survey, predictors: list[Predictor], params: Evaluate
) -> dict[str, dict[str, Floats]]:
    """predictor -> metric -> [S] standard error of W from each study's respondents."""
    small = (survey.respondents < params.min_cell_size)[:, None]
    conventions: dict[str, distance.Convention] = {"wasserstein": "paper", "stated.wasserstein": "stated"}
    gaps = {
        key: np.where(
            small, np.nan, distance.gaps(survey.human, survey.grid, convention, params.constant_cells)
        )
        for key, convention in conventions.items()
    }
    return respondent_errors(survey, predictors, gaps)


def tables(
    survey: Survey, scores: list[Scores], errors: Mapping[str, Mapping[str, Floats]], params: Evaluate
) -> dict[str, pl.DataFrame]:
    """Every table by its file's name."""
    # Ranked by the people's answers, so that two runs on the same studies show the same cells.
    divided = np.where(
        np.isnan(scores[0].cells["wasserstein"]), np.nan, entr(survey.human).sum(axis=1).round(9)
    )
    shown = summary.typical_cells(divided, params.plot_cells)
    by_attribute = [
        list(parts) for parts in zip(*(part.groups for part in scores if part.groups), strict=True)
    ]
    groups = [part for parts in by_attribute for part in parts]
    return {
        "cells": summary.cell_table(survey, params.min_cell_size),
        "cell_scores": summary.score_table(survey, scores),
        "studies": summary.study_table(survey, scores, errors),
        "distributions": summary.distribution_table(survey, scores, shown),
        "reliability": summary.reliability_table(scores),
        "pit": summary.pit_table(scores),
        "effects": summary.effects_table(survey, scores),
        "groups": group_table(groups),
        "group_gaps": gap_table(groups),
    }


def _line(metrics: summary.Tree) -> str:
    counts = metrics["counts"]
    shown = (
        f"{name} {'none' if w is None else f'{w:.4f}'}"
        for name in ("adapter", "base", "uniform", "empirical_best")
        if name in metrics
        for w in [metrics[name]["wasserstein"]]
    )
    few = counts["studies_scored"] < FOR_A_RESULT
    nothing = (
        f"; fewer than {FOR_A_RESULT} test studies carry no result: this run shows that the data are read"
    )
    return (
        f"evaluate: W {', '.join(shown)} over {counts['cells_scored']} of {counts['cells']} cells, "
        f"{counts['studies_scored']} of {counts['studies']} studies, {counts['answers']} answers"
        + nothing
        * few
    )

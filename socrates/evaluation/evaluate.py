"""The whole evaluation of two models on one test set, as one function of tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from socrates.evaluation import groups, predictors, scores
from socrates.evaluation.cells import check_same, read_predictions
from socrates.evaluation.metrics import DIFFERENCES, MODELS
from socrates.evaluation.params import Evaluate
from socrates.evaluation.seed_convention import seed_table


@dataclass(frozen=True)
class Evaluation:
    """What the stage writes: nested scalars, tables by file name, and the line it prints."""

    metrics: scores.Tree
    tables: dict[str, pl.DataFrame]
    summary: str


def evaluate(
    predictions: dict[str, pl.DataFrame],
    paths: dict[str, Path],
    train: pl.DataFrame,
    truth: pl.DataFrame | None,
    excluded: dict[str, dict[str, int]],
    params: Evaluate,
) -> Evaluation:
    """Score adapter, base and every baseline against the people of the test studies.

    Args:
        predictions: ``adapter`` and ``base``, columns of ``tables.PREDICTIONS``.
        paths: where each was read, named in errors.
        train: study_id, response and scale of the training rows.
        truth: columns of ``tables.TRUTH``; None where the data are real.
        excluded: per model, rows that were not predicted, by reason.

    Raises:
        DataError: predictions that cannot be scored (see :func:`cells.read_predictions`), or models
            that did not predict the same respondents.
    """
    read = {name: read_predictions(predictions[name], paths[name], name) for name in MODELS}
    survey = read["adapter"][0]
    check_same(survey, paths["adapter"], read["base"][0], paths["base"])
    marginal, without_train = predictors.train_marginal(survey, train)
    scored = [
        read["adapter"][1],
        read["base"][1],
        predictors.uniform(survey),
        marginal,
        predictors.pooled(survey),
    ]
    if truth is not None:
        scored.append(predictors.planted(survey, truth))
    found = {p.name: scores.score(survey, p, params) for p in scored}
    found["empirical_best"] = scores.empirical_best(survey, params)
    scores.resample_respondents(survey, [(found[p.name], p) for p in scored], params)
    scores.add_pooled(survey, found.values(), found["uniform"])
    accuracy = {p.name: found[p.name].rows.accuracy for p in scored}  # type: ignore[union-attr]
    served = groups.served(survey, scored, accuracy, params.min_group_size, params.min_cell_size)
    for p in scored:
        parts = [part for part in served if part.predictor == p.name]
        if parts:
            found[p.name].pooled |= {f"groups.{key}": gap for key, gap in groups.figures(parts).items()}
    for part in found.values():
        scores.add_figures(survey, part, params)

    counts = scores.counts(survey, params, excluded)
    counts["cells_without_train_scale"] = without_train
    metrics: scores.Tree = {name: scores.tree(part.figures) for name, part in found.items()}
    for first, second in DIFFERENCES:
        change = scores.difference(found[first], found[second], params)
        metrics[f"{first}_minus_{second}"] = scores.tree(change, signed=True)
    metrics["counts"] = counts
    everyone = list(found.values())
    tables = {
        "cells": scores.cell_table(survey, params.min_cell_size),
        "cell_scores": scores.cell_scores(survey, everyone),
        "studies": scores.study_table(survey, everyone),
        "distributions": scores.distributions(
            survey, everyone, scores.typical_cells(found["adapter"], params.plot_cells)
        ),
        "reliability": scores.reliability_table(everyone),
        "effects": scores.effects_table(survey, everyone),
        "groups": groups.group_table(served),
        "group_gaps": groups.gap_table(served, params.bootstrap, params.seed),
        "seed_convention": seed_table(survey, {f.name: f.drawn for f in everyone if f.drawn is not None}),
    }
    return Evaluation(metrics, tables, _summary(found, counts))


def _summary(found: dict[str, scores.Scores], counts: scores.Tree) -> str:
    def shown(name: str) -> str:
        value = found[name].figures["wasserstein"].value
        return f"{name} {'none' if value is None else f'{value:.4f}'}"

    return (
        f"evaluate: W {', '.join(map(shown, ('adapter', 'base', 'uniform', 'empirical_best')))} over "
        f"{counts['cells_scored']} of {counts['cells']} cells, "
        f"{counts['studies_scored']} of {counts['studies']} studies, "
        f"{counts['answers']} answers"
    )

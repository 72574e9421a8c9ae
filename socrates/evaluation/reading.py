"""Does the fine-tuned model read the persona and the text? What its scores lose without them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from socrates.evaluation import individual
from socrates.evaluation.cells import KEY, Predictor, Survey
from socrates.evaluation.intervals import (
    Estimate,
    StudyStatistic,
    confidence_interval,
    generator,
    share,
    study_mean,
)
from socrates.evaluation.params import Evaluate
from socrates.evaluation.summary import to_nested_dict

SCORES = {"log": individual.log_likelihood, "crps": individual.crps}
SHUFFLED = {key: individual.gain_over_shuffled(score) for key, score in SCORES.items()}
ANOTHER = "another_persona"


def reading(
    survey: Survey,
    predictors: Mapping[str, Predictor],
    probes: Mapping[str, tuple[Survey, Predictor]],
    params: Evaluate,
) -> dict[str, dict[str, Any]]:
    """probe -> ``log`` and ``crps``, what the own prompt gains over the probe's, above 0 where it helps.

    Means over answers, then studies, each with its interval. Where the truth is known, ``log_share`` is the gain as a
    share of the truth's own gain over the same prediction. :data:`ANOTHER` is the prediction with the persona of
    another respondent of the cell, of which the truth's own gain is that over another's true distribution.

    Args:
        predictors: the model and, where it is known, ``planted``, in this order.
        probes: what the adapter predicted of each probe, of some of the respondents.
    """
    gains = {ANOTHER: {name: _table(survey, part, SHUFFLED) for name, part in predictors.items()}}
    own = {name: _table(survey, part, SCORES) for name, part in predictors.items()}
    for probe, (asked, prediction) in probes.items():
        base = _table(asked, prediction, SCORES)
        both = {name: base.join(table, on=KEY, suffix="_own") for name, table in own.items()}
        gain = [(pl.col(f"{key}_own") - pl.col(key)).alias(key) for key in SCORES]
        gains[probe] = {name: table.select(*KEY, *gain) for name, table in both.items()}
    return {probe: _figures(tables, probe, params) for probe, tables in gains.items()}


def _table(
    survey: Survey, predictor: Predictor, scores: Mapping[str, individual.AnswerMetric]
) -> pl.DataFrame:
    """The scores of each answer under its key, higher is better."""
    found = individual.answer_scores(survey, predictor, scores)
    return survey.rows.select(KEY).with_columns(log=found["log"], crps=-found["crps"])


def _figures(tables: Mapping[str, pl.DataFrame], probe: str, params: Evaluate) -> dict[str, Any]:
    by_study = {
        name: table.group_by("study_id").agg(pl.col(*SCORES).mean()).sort("study_id")
        for name, table in tables.items()
    }
    figures: dict[str, Estimate] = {}
    for key in SCORES:
        gain, *best = (study[key].to_numpy().astype(np.float64) for study in by_study.values())
        rng = generator(params.seed, f"persona.{key}_shuffled")  # as of the figure that another persona's is
        figures[key] = confidence_interval(study_mean(gain), params.bootstrap, rng)
        if best:
            statistic = StudyStatistic(share, np.column_stack([gain, *best]))
            figures[f"{key}_share"] = confidence_interval(statistic, params.bootstrap, rng)
    return {"answers": next(iter(tables.values())).height} | to_nested_dict(figures)

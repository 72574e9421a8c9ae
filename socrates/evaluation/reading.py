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

SCORES = {"log": individual.log_likelihood, "crps": individual.crps}
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
        predictors: ``adapter`` and, where it is known, ``planted``.
        probes: what the adapter predicted of each probe, of some of the respondents.
    """
    shuffled = {key: individual.gain_over_shuffled(score) for key, score in SCORES.items()}
    rows = {ANOTHER: {name: _table(survey, part, shuffled) for name, part in predictors.items()}}
    own = {name: _table(survey, part, SCORES) for name, part in predictors.items()}
    for probe, (asked, prediction) in probes.items():
        base = _table(asked, prediction, SCORES)
        rows[probe] = {
            name: base.join(table, on=KEY, suffix="_own").select(
                *KEY, *((pl.col(f"{key}_own") - pl.col(key)).alias(key) for key in SCORES)
            )
            for name, table in own.items()
        }
    return {probe: _gains(tables, probe, params) for probe, tables in rows.items()}


def _table(
    survey: Survey, predictor: Predictor, scores: Mapping[str, individual.AnswerMetric]
) -> pl.DataFrame:
    """The scores of each answer under its key, higher is better."""
    found = individual.answer_scores(survey, predictor, scores)
    found["crps"] = -found["crps"]
    return survey.rows.select(KEY).with_columns(**{key: pl.Series(values) for key, values in found.items()})


def _gains(tables: Mapping[str, pl.DataFrame], probe: str, params: Evaluate) -> dict[str, Any]:
    by_study = {
        name: table.group_by("study_id").agg(pl.col(*SCORES).mean()).sort("study_id")
        for name, table in tables.items()
    }
    figures: dict[str, Any] = {"answers": tables["adapter"].height}
    for key in SCORES:
        gain = by_study["adapter"][key].to_numpy().astype(np.float64)
        rng = generator(params.seed, "reading", probe, key)
        figures |= _with_ends(key, confidence_interval(study_mean(gain), params.bootstrap, rng))
        if "planted" in by_study:
            best = by_study["planted"][key].to_numpy().astype(np.float64)
            statistic = StudyStatistic(share, np.column_stack([gain, best]))
            figures |= _with_ends(f"{key}_share", confidence_interval(statistic, params.bootstrap, rng))
    return figures


def _with_ends(key: str, figure: Estimate) -> dict[str, float | None]:
    ends = {key: figure.value, f"{key}_low": figure.low, f"{key}_high": figure.high}
    return {name: None if value is None else round(value, 6) for name, value in ends.items()}

"""Does the fine-tuned model read the persona and the text? What its scores lose without them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from socrates.evaluation.cells import KEY, Predictor, Survey
from socrates.evaluation.individual import Gain, answer_scores, crps, gain_over_shuffled, log_likelihood
from socrates.evaluation.intervals import StudyStatistic, confidence_interval, generator, share, study_mean
from socrates.evaluation.params import Evaluate
from socrates.evaluation.summary import Tree, to_nested_dict

Asked = Mapping[str, tuple[Survey, Predictor]]
SCORES = {"log": log_likelihood, "crps": crps}
SHUFFLED = {key: Gain(gain_over_shuffled, score) for key, score in SCORES.items()}


def reading(survey: Survey, predictors: Sequence[Predictor], probes: Asked, params: Evaluate) -> Tree:
    """probe -> ``log`` and ``crps``, what the own prompt gains over the probe's, above 0 where it helps.

    Means over answers, then studies, each with its interval. Where the truth is known, ``log_share`` is the gain as a
    share of the truth's own gain over the same prediction. ``another_persona`` is the prediction with the persona of
    another respondent of the cell, of which the truth's own gain is that over another's true distribution.

    Args:
        predictors: the model and, where it is known, the truth.
        probes: what the adapter predicted of each probe, of some of the respondents.
    """
    gains = {"another_persona": [_scored(survey, part, SHUFFLED) for part in predictors]}
    own = [_scored(survey, part, SCORES) for part in predictors]
    gain = [(pl.col(f"{key}_own") - pl.col(key)).alias(key) for key in SCORES]
    for probe, (asked, prediction) in probes.items():
        base = _scored(asked, prediction, SCORES)
        gains[probe] = [base.join(table, on=KEY, suffix="_own").select(*KEY, *gain) for table in own]
    return {probe: _figures(tables, params) for probe, tables in gains.items()}


def _scored(survey: Survey, predictor: Predictor, scores: Mapping[str, Any]) -> pl.DataFrame:
    """The scores of each answer under its key, higher is better."""
    found = answer_scores(survey, predictor, scores)
    return survey.rows.select(KEY).with_columns(log=found["log"], crps=-found["crps"])


def _figures(gains: Sequence[pl.DataFrame], params: Evaluate) -> Tree:
    """The gain of the model, and its share of the gain of the truth."""
    studies = [table.group_by("study_id").agg(pl.col(*SCORES).mean()).sort("study_id") for table in gains]
    figures = {}
    for key in SCORES:
        gain, *best = (study[key].to_numpy().astype(np.float64) for study in studies)
        rng = generator(params.seed, f"persona.{key}_shuffled")  # as of the figure that another persona's is
        figures[key] = confidence_interval(study_mean(gain), params.bootstrap, rng)
        if best:
            statistic = StudyStatistic(share, np.column_stack([gain, *best]))
            figures[f"{key}_share"] = confidence_interval(statistic, params.bootstrap, rng)
    return {"answers": gains[0].height} | to_nested_dict(figures)

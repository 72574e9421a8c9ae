"""One predictor's scores: its values by cell and by study, and the figures that pool them.

Nothing here has an interval: ``resampling`` makes those from what is returned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from socrates.evaluation import distance, individual
from socrates.evaluation.cells import Floats, Predictor, Survey
from socrates.evaluation.effects import Effects, condition_effects, effect_statistics, worth
from socrates.evaluation.groups import group_gaps
from socrates.evaluation.intervals import (
    StudyStatistic,
    correlation,
    fisher,
    generator,
    moments,
    share,
    study_mean,
)
from socrates.evaluation.metrics import ANSWER_METRICS, CELL_METRICS, cell_scores
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictors import MODELS
from socrates.evaluation.references import perfect_samples

# Values of each answer that are no metric themselves; figures are made of them.
PARTS = {"truth": individual.truth, "below": individual.below, "mean": individual.mean}
TWENTIETHS = 20  # of each study's respondents, left out in turn


@dataclass(frozen=True)
class Scores:
    """One predictor's scores; what people against people do not have is None or empty.

    Attributes:
        name: the predictor.
        cells: metric -> [C], NaN where a cell is not scored.
        studies: metric -> [S], NaN where a study has no scored cell.
        statistics: metric -> the figures that are not means of study values.
        pmf: [C, K] its cell distributions.
        errors: [S] standard error of each study's W from its respondents.
        pit: [BINS] answers in each bin of :func:`individual.pit`, over all studies.
        effects: effects of conditions.
        gaps: between the groups of each attribute, as :func:`groups.group_gaps`; of the models alone.
    """

    name: str
    cells: Mapping[str, Floats]
    studies: Mapping[str, Floats]
    statistics: Mapping[str, StudyStatistic]
    pmf: Floats | None = None
    errors: Floats | None = None
    pit: Floats | None = None
    effects: Effects | None = None
    gaps: pl.DataFrame | None = None


def score(survey: Survey, predictor: Predictor, params: Evaluate) -> Scores:
    """All scores of one predictor."""
    pmf = predictor.cells(survey)
    answers = individual.answer_scores(survey, predictor, ANSWER_METRICS | PARTS)
    tempered = tempered_predictor(predictor, params)
    expected = individual.answer_scores(survey, tempered, {"accuracy": individual.accuracy})["accuracy"]
    by_cell = cell_scores(pmf, survey, params)
    by_cell["drawn.wasserstein"] = drawn_wasserstein(survey, tempered, params)
    studies = {key: survey.mean_of_cells(values) for key, values in by_cell.items()}
    studies["drawn.accuracy"] = survey.mean_by_study(expected)
    for key in ANSWER_METRICS:
        studies[key] = survey.mean_by_study(answers[key])
        means = np.bincount(survey.cell_of_answer, answers[key]) / survey.respondents
        by_cell[key] = np.where(survey.respondents < params.min_cell_size, np.nan, means)
    if predictor.allowed_mass is not None:
        studies["format_validity"] = survey.mean_by_study(predictor.allowed_mass)
    s = len(survey.studies)
    pit = individual.pit(answers["below"], answers["exact_match"], survey.study_of_answer, s)
    effects = condition_effects(survey, pmf, params.min_cell_size)
    x, y = answers["mean"].astype(np.float64), answers["truth"].astype(np.float64)
    squared = study_mean(survey.mean_by_study((answers["mean"] - answers["truth"]) ** 2))
    statistics = {
        "pearson": StudyStatistic(correlation, moments(x, y, survey.study_of_answer, s), fisher, np.tanh),
        "rmse": replace(squared, statistic=lambda sums: np.sqrt(share(sums))),
        "cell_respondents": _cell_worth(survey, by_cell["cramer"]),
        "pit_deviation": StudyStatistic(individual.pit_deviation, pit),
        **{f"effects.{key}": figure for key, figure in effect_statistics(effects).items()},
    }
    errors = respondent_errors(survey, predictor, params)
    name, is_model = predictor.name, predictor.name in MODELS
    gaps = group_gaps(survey, name, answers["accuracy"], params) if is_model else None
    return Scores(name, by_cell, studies, statistics, pmf, errors, pit.sum(axis=0), effects, gaps)


def _cell_worth(survey: Survey, cramer: Floats) -> StudyStatistic:
    """The sample of people that is as close: E of the Cramer distance of n people is sum F (1 - F) gap / n."""
    cumulative = np.cumsum(survey.human, axis=1)[:, :-1]
    n = survey.respondents[:, None]
    variance = cumulative * (1 - cumulative) * n / np.maximum(n - 1, 1)
    spread = np.sum(variance * distance.gaps(survey.human, survey.grid, "stated"), axis=1)
    spread = np.where(np.isnan(cramer), np.nan, spread)
    sums = np.column_stack([survey.mean_of_cells(spread), survey.mean_of_cells(cramer)])
    return worth(sums[~np.isnan(sums).any(axis=1)], lambda t: t[..., 0], lambda t: t[..., 1])


def perfect_prediction(survey: Survey, params: Evaluate) -> Scores:
    """What the truth itself would score at these cell sizes, whose people are but a sample of it; of scored cells."""
    truth, samples = perfect_samples(survey, params.draws, generator(params.seed, "empirical_best"))
    scored = [cell_scores(truth, replace(survey, human=human), params) for human in samples]
    own = cell_scores(truth, survey, params)
    by_cell = {
        key: np.where(np.isnan(own[key]), np.nan, _mean_of_known([part[key] for part in scored]))
        for key in CELL_METRICS
    }
    return Scores("empirical_best", by_cell, {key: survey.mean_of_cells(v) for key, v in by_cell.items()}, {})


def _mean_of_known(values: list[Floats]) -> Floats:
    """[C] mean over repetitions, of those in which the cell has a value."""
    known = np.sum([~np.isnan(part) for part in values], axis=0)
    return distance.ratio(np.nansum(values, axis=0), known)


def tempered_predictor(predictor: Predictor, params: Evaluate) -> Predictor:
    """The distributions that a predictor's drawn answers come from; one rule for models, baselines and the truth."""
    rule = (params.temperature, params.top_p)
    return replace(predictor, blocks=[individual.apply_temperature_top_p(p, *rule) for p in predictor.blocks])


def drawn_wasserstein(survey: Survey, tempered: Predictor, params: Evaluate) -> Floats:
    """[C] W of one drawn answer per respondent, as the paper's models gave; mean over ``params.draws`` repetitions.

    All predictors draw with the same random numbers, so that the luck of the draws leaves their differences.
    """
    draws = individual.draw_answers(survey, tempered, params.draws, generator(params.seed, "drawn"))
    gap = scored_gaps(survey, params)
    return np.mean([distance.wasserstein(shares, survey.human, gap) for shares in draws], axis=0)


def scored_gaps(survey: Survey, params: Evaluate) -> Floats:
    """[C, K-1] gaps on the human range, NaN for cells that are not scored."""
    gaps = distance.gaps(survey.human, survey.grid, "paper", params.constant_cells)
    return np.where((survey.respondents < params.min_cell_size)[:, None], np.nan, gaps)


def respondent_errors(survey: Survey, predictor: Predictor, params: Evaluate) -> Floats:
    """[S] standard error of each study's W, leaving out a twentieth of its respondents at a time.

    The delete-a-group jackknife (Kott 2001): how far other respondents of the same studies would move W, the smaller
    part of a headline's uncertainty and all of it for a single study. Respondents are left out with all their
    answers, people and prediction together, since a prediction is that of the same people. The human range of a
    cell stays as observed: it defines the unit.
    """
    gap = scored_gaps(survey, params)
    member = survey.person % TWENTIETHS
    sums = np.zeros((len(gap), TWENTIETHS, survey.grid.shape[1]))  # of predicted minus human shares
    sizes = np.zeros(sums.shape[:2])
    for block, p in zip(survey.blocks, predictor.blocks, strict=True):
        own = member[block.rows]
        difference = p - np.eye(len(block.options))[block.answers]
        np.add.at(sums[block.cell], (own[:, None], block.columns), difference)
        np.add.at(sizes[block.cell], own, 1)
    left = np.maximum(sizes.sum(axis=1, keepdims=True) - sizes, 1)
    without = (sums.sum(axis=1, keepdims=True) - sums) / left[:, :, None]
    w = np.sum(np.abs(np.cumsum(without, axis=2))[:, :, :-1] * gap[:, None], axis=2)
    return np.sqrt((TWENTIETHS - 1) * np.var([survey.mean_of_cells(part) for part in w.T], axis=0))

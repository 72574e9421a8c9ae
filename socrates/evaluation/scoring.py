"""One predictor's scores: its values by cell and by study, the figures that pool them, and their intervals."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from socrates.evaluation import individual, intervals
from socrates.evaluation.cells import Predictor, Survey
from socrates.evaluation.distance import Floats, stated_gaps, wasserstein
from socrates.evaluation.effects import Effects, condition_effects, effect_statistics, worth
from socrates.evaluation.groups import group_gaps
from socrates.evaluation.intervals import StudyStatistic, confidence_interval, generator, means_by, study_mean
from socrates.evaluation.metrics import ANSWER_METRICS, CELL_METRICS, METRICS, cell_scores, scored_gaps
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictors import MODELS

TWENTIETHS = 20  # of each study's respondents, left out in turn


@dataclass(frozen=True)
class Scores:
    """One predictor's scores; what people against people do not have is None or empty."""

    name: str
    cells: Mapping[str, Floats]  # metric -> [C], NaN where a cell is not scored
    studies: Mapping[str, Floats]  # metric -> [S], NaN where a study has no scored cell
    statistics: Mapping[str, StudyStatistic]  # metric -> the figures that are not means of study values
    pmf: Floats | None = None  # [C, K] its cell distributions
    errors: Floats | None = None  # [S] standard error of each study's W from its respondents
    pit: Floats | None = None  # [BINS] answers in each bin of :func:`individual.pit`, over all studies
    effects: Effects | None = None  # of conditions
    gaps: pl.DataFrame | None = None  # as :func:`groups.group_gaps`; of the models alone


def score(survey: Survey, predictor: Predictor, params: Evaluate) -> Scores:
    study, s, small = survey.study_of_answer, len(survey.studies), survey.respondents < params.min_cell_size
    pmf = predictor.cells(survey)
    answers = individual.answer_scores(survey, predictor, ANSWER_METRICS | individual.PARTS)
    tempered = tempered_predictor(predictor, params)
    expected = individual.answer_scores(survey, tempered, {"accuracy": individual.accuracy})["accuracy"]
    by_cell = cell_scores(pmf, survey, params)
    by_cell["drawn.wasserstein"] = drawn_wasserstein(survey, tempered, params)
    studies = {key: survey.mean_of_cells(values) for key, values in by_cell.items()}
    studies["drawn.accuracy"] = means_by(study, expected)
    for key in ANSWER_METRICS:
        studies[key] = means_by(study, answers[key])
        by_cell[key] = np.where(small, np.nan, means_by(survey.cell_of_answer, answers[key]))
    if predictor.allowed_mass is not None:
        studies["format_validity"] = means_by(study, predictor.allowed_mass)
    pit = individual.pit(answers["below"], answers["exact_match"], study, s)
    effects = condition_effects(survey, pmf, params.min_cell_size)
    x, y = answers["mean"].astype(np.float64), answers["truth"].astype(np.float64)
    squared = study_mean(means_by(study, (answers["mean"] - answers["truth"]) ** 2))
    statistics = {
        "pearson": StudyStatistic(intervals.correlation, intervals.moments(x, y, study, s), intervals.FISHER),
        "rmse": replace(squared, statistic=lambda sums: np.sqrt(intervals.share(sums))),
        "cell_respondents": _cell_worth(survey, by_cell["cramer"]),
        "pit_deviation": StudyStatistic(individual.pit_deviation, pit),
        **{f"effects.{key}": figure for key, figure in effect_statistics(effects).items()},
    }
    errors = respondent_errors(survey, predictor, params)
    gaps = (
        group_gaps(survey, predictor.name, answers["accuracy"], params) if predictor.name in MODELS else None
    )
    return Scores(predictor.name, by_cell, studies, statistics, pmf, errors, pit.sum(axis=0), effects, gaps)


def _cell_worth(survey: Survey, cramer: Floats) -> StudyStatistic:
    """The sample of people that is as close: E of the Cramer distance of n people is sum F (1 - F) gap / n."""
    cumulative = np.cumsum(survey.human, axis=1)[:, :-1]
    n = survey.respondents[:, None]
    variance = cumulative * (1 - cumulative) * n / np.maximum(n - 1, 1)
    spread = np.sum(variance * stated_gaps(survey.grid), axis=1)
    spread = np.where(np.isnan(cramer), np.nan, spread)
    sums = np.column_stack([survey.mean_of_cells(spread), survey.mean_of_cells(cramer)])
    return worth(lambda t: t[..., 0], lambda t: t[..., 1], sums[~np.isnan(sums).any(axis=1)])


def perfect_prediction(survey: Survey, params: Evaluate) -> Scores:
    """What the truth itself would score at these cell sizes, which no predictor can expect to beat; of scored cells.

    A stand-in for the truth is scored against samples of each cell's own size from it. It is the cell's people and
    one more answer, spread evenly over the options (Perks 1947): a sample can then miss an option that the truth
    has, as people's own do. The larger the cell, the less that answer weighs.
    """
    rng, people = generator(params.seed, "empirical_best"), survey.respondents
    real = np.arange(survey.human.shape[1]) < survey.options[:, None]
    counts = survey.human * people[:, None] + real / survey.options[:, None]
    truth = counts / counts.sum(axis=1, keepdims=True)
    own = cell_scores(truth, survey, params)
    samples = (rng.multinomial(people, truth) / people[:, None] for _ in range(params.draws))
    scored = [cell_scores(truth, replace(survey, human=human), params) for human in samples]
    by_cell = {}
    for key in CELL_METRICS:
        means = np.ma.masked_invalid([part[key] for part in scored]).mean(axis=0).filled(np.nan)
        by_cell[key] = np.where(np.isnan(own[key]), np.nan, means)
    return Scores("empirical_best", by_cell, {key: survey.mean_of_cells(v) for key, v in by_cell.items()}, {})


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
    return np.mean([wasserstein(shares, survey.human, gap) for shares in draws], axis=0)


def respondent_errors(survey: Survey, predictor: Predictor, params: Evaluate) -> Floats:
    """[S] standard error of each study's W, leaving out a twentieth of its respondents at a time.

    The delete-a-group jackknife (Kott 2001): how far other respondents of the same studies would move W. They are
    left out with all their answers, people and prediction together, since a prediction is that of the same people.
    The human range of a cell stays as observed: it defines the unit.
    """
    gap = scored_gaps(survey, params)
    member = survey.person % TWENTIETHS
    sums = np.zeros((len(gap), TWENTIETHS, survey.grid.shape[1]))  # of predicted minus human shares
    sizes = np.zeros(sums.shape[:2])
    for block, p in zip(survey.blocks, predictor.blocks, strict=True):
        own = member[block.rows]
        difference = p - np.eye(len(block.positions))[block.answers]
        np.add.at(sums[block.cell], (own[:, None], block.columns), difference)
        np.add.at(sizes[block.cell], own, 1)
    left = np.maximum(sizes.sum(axis=1, keepdims=True) - sizes, 1)
    without = (sums.sum(axis=1, keepdims=True) - sums) / left[:, :, None]
    w = np.sum(np.abs(np.cumsum(without, axis=2))[:, :, :-1] * gap[:, None], axis=2)
    return np.sqrt((TWENTIETHS - 1) * np.var([survey.mean_of_cells(part) for part in w.T], axis=0))


def estimates(survey: Survey, scores: Scores, params: Evaluate) -> dict[str, intervals.Estimate]:
    """metric -> figure of one predictor with its interval over studies."""
    figures, draws = {}, params.bootstrap
    for key, values in scores.studies.items():
        rng = generator(params.seed, key)
        if METRICS[key].median:
            figures[key] = intervals.median_interval(scores.cells[key], survey.study, draws, rng)
        else:
            figures[key] = confidence_interval(study_mean(values), draws, rng)
    for key, statistic in scores.statistics.items():
        figures[key] = confidence_interval(statistic, draws, generator(params.seed, key))
    if scores.gaps is not None and scores.gaps.height:
        for key, column in (("accuracy_gap", "accuracy_gap"), ("accuracy_gap_chance", "chance")):
            figures[f"groups.{key}"] = intervals.Estimate(scores.gaps[column].mean())  # type: ignore[arg-type]
    return figures


def differences(first: Scores, second: Scores, params: Evaluate) -> dict[str, intervals.Estimate]:
    """metric -> first minus second, paired by study (and so by cell), with its own interval.

    Means of study values are tested by flipping signs, which figures of sums, such as correlations, cannot be.
    """
    figures = {}
    for key, values in first.studies.items():
        if key in second.studies and not METRICS[key].median:
            rng = generator(params.seed, "difference", key)
            figures[key] = intervals.sign_flip_interval(values - second.studies[key], params.bootstrap, rng)
    for key, statistic in first.statistics.items():
        other = second.statistics.get(key)
        if other is not None and len(other.sums) == len(statistic.sums):
            rng = generator(params.seed, "difference", key)
            figures[key] = confidence_interval(statistic.minus(other), params.bootstrap, rng)
    return figures

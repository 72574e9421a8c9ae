"""All figures of all predictors on one test set: metrics/evaluate.json and the tables beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from socrates.evaluation import distance, effects, individual, respondents
from socrates.evaluation.cells import Floats, Predictor, Survey
from socrates.evaluation.intervals import (
    Interval,
    correlation,
    fisher,
    generator,
    jackknife_interval,
    mean_interval,
    moments,
)
from socrates.evaluation.predictors import human_resamples, split_halves
from socrates.evaluation.registry import metric
from socrates.params.evaluate import Evaluate

# Keys of metrics/evaluate.json for each convention of W.
W_KEYS: dict[distance.Convention, str] = {
    "paper": "wasserstein",
    "paper_clipped": "clipped.wasserstein",
    "stated": "stated.wasserstein",
}
ROW_METRICS = ("accuracy", "accuracy_median", "exact_match", "within_one", "log_likelihood", "brier")
RESPONDENT_CONVENTIONS: tuple[distance.Convention, ...] = ("paper", "stated")
DECIMALS = 6
QUARTILES = {"_q1": 25, "": 50, "_q3": 75}

Tree = dict[str, "float | int | Tree | None"]


@dataclass
class Scores:
    """One predictor's figures.

    Attributes:
        name: the predictor.
        pmf: [C, K] its cell distributions; None for people against people.
        cells: metric -> [C], NaN where a cell is not scored.
        studies: metric -> [S], NaN where a study has no scored cell.
        figures: metric -> figure with its interval, in the registry's keys.
        rows: individual scores; None for people against people.
        effects: condition effects; None for people against people.
        drawn: [C, K] shares of one drawn answer per respondent; None for people against people.
        errors: metric -> [S] standard error from the respondents of each study.
        sums: correlation -> [S, 6] its moments by study.
    """

    name: str
    pmf: Floats | None
    cells: dict[str, Floats]
    studies: dict[str, Floats]
    figures: dict[str, Interval] = field(default_factory=dict)
    rows: individual.Individual | None = None
    effects: effects.Effects | None = None
    drawn: Floats | None = None
    errors: dict[str, Floats] = field(default_factory=dict)
    sums: dict[str, Floats] = field(default_factory=dict)


def cell_distances(survey: Survey, pmf: Floats, params: Evaluate) -> dict[str, Floats]:
    """metric -> [C] of the distribution-level metrics; NaN where a cell is not scored.

    Cells of fewer than ``min_cell_size`` people are scored by none; where everyone agreed, the
    conventions on the human range follow ``constant_cells``.
    """
    human, grid = survey.human, survey.grid
    place = (grid - grid[:, :1]) / (grid[:, -1:] - grid[:, :1])
    found = {
        key: distance.wasserstein(pmf, human, distance.gaps(human, grid, convention, params.constant_cells))
        for convention, key in W_KEYS.items()
    }
    found["tvd"] = distance.total_variation(pmf, human)
    found["jensen_shannon"] = distance.jensen_shannon(pmf, human)
    found["entropy_ratio"] = distance.ratio(distance.entropy(pmf), distance.entropy(human))
    found["spread_ratio"] = distance.ratio(distance.deviation(pmf, grid), distance.deviation(human, grid))
    found["sigma"] = distance.deviation(pmf, place)
    small = survey.respondents < params.min_cell_size
    return {key: np.where(small, np.nan, values) for key, values in found.items()}


def score(survey: Survey, predictor: Predictor, params: Evaluate) -> Scores:
    """Every figure of one predictor."""
    pmf = predictor.cells(survey)
    cells = cell_distances(survey, pmf, params)
    rows = individual.individual(survey, predictor)
    study_of_row = np.repeat(survey.study, survey.respondents)
    found = Scores(predictor.name, pmf, cells, {}, rows=rows)

    rng = generator(params.seed, "drawn", predictor.name)
    drawn = individual.drawn(survey, predictor, params.draws, params.temperature, params.top_p, rng)
    per_draw = np.stack([cell_distances(survey, pmf, params)["wasserstein"] for pmf in drawn.cells])
    cells["drawn.wasserstein"] = per_draw.mean(axis=0)
    found.drawn = drawn.cells[0]

    s = len(survey.studies)
    for key, values in cells.items():
        found.studies[key] = distance.study_means(values, survey.study, s)
    weight = np.bincount(survey.study, survey.respondents, s)
    for key in ("accuracy", "exact_match"):
        mean = getattr(drawn, key).mean(axis=0)
        found.studies[f"drawn.{key}"] = np.bincount(survey.study, mean * survey.respondents, s) / weight
    for key in ROW_METRICS:
        found.studies[key] = np.bincount(study_of_row, getattr(rows, key), s) / weight
    found.studies["mae"] = 1 - found.studies["accuracy_median"]
    if predictor.allowed_mass is not None:
        found.studies["format_validity"] = np.bincount(study_of_row, predictor.allowed_mass, s) / weight

    _means(found, params)
    _quartiles(found)
    w = cells["wasserstein"][~np.isnan(cells["wasserstein"])]
    found.figures["drawn.wasserstein_sd"] = plain(
        np.std([np.nanmean(distance.study_means(v, survey.study, s)) for v in per_draw], ddof=1)
        if params.draws > 1 and len(w)
        else None
    )
    for key, limit in (("cells_w_zero", 1e-9), ("cells_w_below_0_1", 0.1), ("cells_w_below_0_3", 0.3)):
        found.figures[key] = plain((w < limit).mean() if len(w) else None)
    x, y = rows.mean.astype(np.float64), rows.truth.astype(np.float64)
    found.sums["pearson"] = moments(x, y, study_of_row, s)
    found.figures["pearson"] = jackknife_interval(correlation, found.sums["pearson"], fisher, np.tanh)
    squared = np.bincount(study_of_row, rows.squared_error, s) / weight
    found.figures["rmse"] = jackknife_interval(
        lambda t: float(np.sqrt(t[0] / t[1])) if t[1] else np.nan, np.stack([squared, np.ones(s)], axis=1)
    )
    found.figures["calibration_error"] = plain(individual.reliability(rows).error)
    found.effects = effects.effects(survey, pmf, params.min_cell_size)
    if found.effects.moves:
        pair = found.effects.predicted, found.effects.human
        found.sums["effects.r"] = moments(*pair, found.effects.study, s)
    outcome = effects.score(found.effects, params.permutations, generator(params.seed, "effects"))
    found.figures["effects.r"] = outcome.r
    for key in ("slope", "sign_accuracy", "size_ratio", "p"):
        found.figures[f"effects.{key}"] = plain(getattr(outcome, key))
    return found


def empirical_best(survey: Survey, params: Evaluate) -> Scores:
    """People against people: bootstrap resamples of each cell, and split halves for comparison."""
    rng = generator(params.seed, "empirical_best")
    parts = [cell_distances(survey, pmf, params) for pmf in human_resamples(survey, params.draws, rng)]
    cells = {key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]}
    gap = distance.gaps(survey.human, survey.grid, "paper", params.constant_cells)
    halves = [distance.wasserstein(a, b, gap) for a, b in split_halves(survey, params.draws, rng)]
    small = survey.respondents < max(params.min_cell_size, 2)
    cells["split_half.wasserstein"] = np.where(small, np.nan, np.mean(halves, axis=0) / np.sqrt(2))
    s = len(survey.studies)
    found = Scores(
        "empirical_best", None, cells, {k: distance.study_means(v, survey.study, s) for k, v in cells.items()}
    )
    _means(found, params)
    _quartiles(found)
    return found


def _means(found: Scores, params: Evaluate) -> None:
    """Means over studies with their intervals, and the flat means over cells of W."""
    for key, values in found.studies.items():
        found.figures[key] = mean_interval(values, params.bootstrap, generator(params.seed, key))
    for key in W_KEYS.values():
        values = found.cells[key][~np.isnan(found.cells[key])]
        found.figures[f"{key}_cells"] = plain(values.mean() if len(values) else None)


def _quartiles(found: Scores) -> None:
    for key in ("entropy_ratio", "spread_ratio"):
        values = found.cells[key][~np.isnan(found.cells[key])]
        for part, percent in QUARTILES.items():
            found.figures[key + part] = plain(np.percentile(values, percent) if len(values) else None)


def add_simbench(scores: Iterable[Scores], uniform: Scores) -> None:
    """100 x (1 - TVD / TVD of uniform), of the means over studies; None if uniform is perfect."""

    def points(sums: Floats) -> float:
        return float(100 * (1 - sums[0] / sums[1])) if sums[1] > 0 else float("nan")

    guess = uniform.studies["tvd"]
    for found in scores:
        pair = np.stack([found.studies["tvd"], guess], axis=1)
        found.figures["simbench"] = jackknife_interval(points, pair[~np.isnan(pair).any(axis=1)])


def add_respondent_errors(
    survey: Survey, scores: Iterable[tuple[Scores, Predictor]], params: Evaluate
) -> None:
    """Each study's standard error from its respondents, and what they add to the headline's."""
    if params.bootstrap < 2:
        return
    pairs = list(scores)
    small = (survey.respondents < params.min_cell_size)[:, None]
    gaps = {
        W_KEYS[c]: np.where(small, np.nan, distance.gaps(survey.human, survey.grid, c, params.constant_cells))
        for c in RESPONDENT_CONVENTIONS
    }
    rng = generator(params.seed, "respondents")
    found = respondents.study_errors(survey, [p for _, p in pairs], gaps, params.bootstrap, rng)
    for part, predictor in pairs:
        part.errors = found[predictor.name]
        for key, values in part.errors.items():
            known = values[~np.isnan(values)]
            error = np.sqrt((known**2).sum()) / len(known) if len(known) else None
            part.figures[f"{key}_respondents_se"] = plain(error)


def difference(first: Scores, second: Scores, params: Evaluate) -> dict[str, Interval]:
    """metric -> first minus second, paired by study (and so by cell), with its own interval.

    Correlations are functions of sums over studies; theirs leaves out one study at a time.
    """
    found = {
        key: mean_interval(
            first.studies[key] - second.studies[key],
            params.bootstrap,
            generator(params.seed, "difference", key),
        )
        for key in first.studies
        if key in second.studies and key not in ("entropy_ratio", "spread_ratio")
    }
    for key in first.sums:
        if key in second.sums:
            pair = np.hstack([first.sums[key], second.sums[key]])
            pair = pair[pair[:, 0] > 0]
            found[key] = jackknife_interval(lambda t: correlation(t[:6]) - correlation(t[6:]), pair)
    return found


def tree(figures: dict[str, Interval], signed: bool = False) -> Tree:
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
            node = node.setdefault(part, {})  # type: ignore[assignment]
        node[last] = _rounded(figure.value)
        if figure.low is not None and figure.high is not None:
            low, high = figure.low, figure.high
            if not signed:
                known = metric(key)
                low = low if known.low is None else max(low, known.low)
                high = high if known.high is None else min(high, known.high)
            node[f"{last}_low"], node[f"{last}_high"] = _rounded(low), _rounded(high)
        if signed:
            node[f"{last}_p"], node[f"{last}_sign"] = _rounded(figure.p), figure.sign
    return root


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


def plain(value: float | None) -> Interval:
    """A figure that is reported without an interval."""
    return Interval(None if value is None else float(value), None, None, None, None, 0)


def counts(survey: Survey, params: Evaluate, excluded: dict[str, dict[str, int]]) -> Tree:
    """How much was scored and how much was not, by reason."""
    constant = (survey.human.max(axis=1) > 1 - 1e-12) & (survey.respondents >= params.min_cell_size)
    small = survey.respondents < params.min_cell_size
    unscored = small | constant if params.constant_cells == "exclude" else small
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
        "answers_moved_to_grid": survey.off_grid,
        "answers_excluded": {
            # a reason may name a parameter; a dot would read as one more level of keys
            model: {re.sub(r"\W+", "_", reason): number for reason, number in reasons.items()}
            for model, reasons in sorted(excluded.items())
        },
    }


def cell_table(survey: Survey) -> pl.DataFrame:
    """One row per cell: what was asked of how many, and how they answered."""
    low, high = distance.observed_range(survey.human, survey.grid)
    return survey.cells.with_columns(
        pl.Series("options", survey.options),
        pl.Series("human_low", low),
        pl.Series("human_high", high),
        pl.Series("human_mean", distance.mean(survey.human, survey.grid)),
        pl.Series("human_sd", distance.deviation(survey.human, survey.grid)),
    )


def cell_scores(survey: Survey, scores: Iterable[Scores]) -> pl.DataFrame:
    """One row per cell and predictor with every cell metric; empty where a cell is not scored."""
    keys = [*W_KEYS.values(), "drawn.wasserstein", "tvd", "jensen_shannon", "entropy_ratio", "spread_ratio"]
    parts = [
        survey.cells.select("study_id", "condition_num", "task_num", "respondents").with_columns(
            pl.lit(found.name).alias("predictor"),
            *(pl.Series(key, found.cells.get(key, np.full(len(survey.cells), np.nan))) for key in keys),
        )
        for found in scores
    ]
    return pl.concat(parts).fill_nan(None)


def study_table(survey: Survey, scores: Iterable[Scores]) -> pl.DataFrame:
    """One row per study and predictor with every study metric.

    ``wasserstein_low`` and ``_high`` say how far other respondents of the same study would move it.
    """
    scores = list(scores)
    keys = list(dict.fromkeys(key for found in scores for key in found.studies))
    nothing = np.full(len(survey.studies), np.nan)
    cells = np.bincount(survey.study, minlength=len(survey.studies))
    answers = np.bincount(survey.study, survey.respondents, len(survey.studies)).astype(np.int64)
    parts = [
        pl.DataFrame({"study_id": survey.studies, "cells": cells, "answers": answers}).with_columns(
            pl.lit(found.name).alias("predictor"),
            *(pl.Series(key, found.studies.get(key, nothing)) for key in keys),
            *(
                pl.Series(
                    f"{key}_{end}",
                    np.maximum(found.studies[key] + sign * 1.96 * found.errors.get(key, nothing), 0),
                )
                for key in ("wasserstein", "stated.wasserstein")
                for end, sign in (("low", -1), ("high", 1))
            ),
        )
        for found in scores
    ]
    return pl.concat(parts).fill_nan(None)


def distributions(survey: Survey, scores: Iterable[Scores], cells: Iterable[int]) -> pl.DataFrame:
    """Long form for plots: cell, predictor (and ``human``), option, probability."""
    sides = [("human", survey.human), *((found.name, found.pmf) for found in scores if found.pmf is not None)]
    rows = [
        (*key, name, int(survey.grid[cell, option]), float(pmf[cell, option]))
        for cell in cells
        for key in [survey.cells.select("study_id", "condition_num", "task_num").row(cell)]
        for name, pmf in sides
        for option in range(survey.options[cell])
    ]
    columns = ["study_id", "condition_num", "task_num", "predictor", "option", "probability"]
    return pl.DataFrame(rows, columns, orient="row")


def typical_cells(found: Scores, wanted: int) -> list[int]:
    """Cells from the best to the worst W, evenly spaced by rank: the extremes and the median are in."""
    w = found.cells["wasserstein"]
    ranked = [int(cell) for cell in np.argsort(w, kind="stable") if not np.isnan(w[cell])]
    picks = np.rint(np.linspace(0, len(ranked) - 1, min(wanted, len(ranked)))).astype(int)
    return [ranked[pick] for pick in sorted(set(picks.tolist()))]


def reliability_table(scores: Iterable[Scores]) -> pl.DataFrame:
    """Ten bins of confidence per predictor; empty bins are left out."""
    rows = []
    for found in scores:
        if found.rows is None:
            continue
        bins = individual.reliability(found.rows)
        rows += [
            (found.name, i / 10, (i + 1) / 10, int(n), float(bins.confidence[i]), float(bins.correct[i]))
            for i, n in enumerate(bins.count)
            if n
        ]
    columns = ["predictor", "low", "high", "answers", "confidence", "correct"]
    return pl.DataFrame(rows, columns, orient="row")


def effects_table(survey: Survey, scores: Iterable[Scores]) -> pl.DataFrame:
    """One row per compared cell: the effect of its condition in people and in each predictor."""
    known = {found.name: found.effects for found in scores if found.effects is not None}
    first = next(iter(known.values()))
    return survey.cells.select("study_id", "condition_num", "task_num", "respondents")[
        first.cell.tolist()
    ].with_columns(
        pl.Series("human", first.human),
        pl.Series("human_se", first.error),
        *(pl.Series(name, part.predicted) for name, part in known.items()),
    )

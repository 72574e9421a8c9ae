"""All figures of all predictors on one test set: metrics/evaluate.json and the tables beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from socrates.evaluation import distance, effects, individual, respondents
from socrates.evaluation.cells import Floats, Ints, Predictor, Survey
from socrates.evaluation.intervals import (
    Interval,
    Pooled,
    angle,
    angle_back,
    correlation,
    difference_interval,
    fisher,
    generator,
    interval,
    mean_of,
    moments,
    quantile_intervals,
    root_share,
    share,
)
from socrates.evaluation.metrics import metric
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictors import human_resamples, split_halves
from socrates.survey.tables import CELL

# Keys of metrics/evaluate.json for each convention of W.
W_KEYS: dict[distance.Convention, str] = {
    "paper": "wasserstein",
    "paper_clipped": "clipped.wasserstein",
    "stated": "stated.wasserstein",
}
ROW_METRICS = ("accuracy", "accuracy_median", "exact_match", "within_one", "log_likelihood", "brier")
RESPONDENTS_SE = ("wasserstein", "stated.wasserstein")
SHARES = {"cells_w_zero": 1e-9, "cells_w_below_0_1": 0.1, "cells_w_below_0_3": 0.3}
DECIMALS = 6
QUARTILES = {"_q1": 25.0, "": 50.0, "_q3": 75.0}

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
        pooled: metric -> the figures that are not means of study values.
        again: the study values with respondents resampled; None where that is not known.
    """

    name: str
    pmf: Floats | None
    cells: dict[str, Floats]
    studies: dict[str, Floats]
    figures: dict[str, Interval] = field(default_factory=dict)
    rows: individual.Individual | None = None
    effects: effects.Effects | None = None
    drawn: Floats | None = None
    pooled: dict[str, Pooled] = field(default_factory=dict)
    again: respondents.Resampled | None = None


def cell_distances(survey: Survey, pmf: Floats, params: Evaluate) -> dict[str, Floats]:
    """metric -> [C] of the distribution-level metrics; NaN where a cell is not scored.

    Cells of fewer than ``min_cell_size`` people are scored by none; where everyone agreed, the
    conventions on the human range follow ``constant_cells``.
    """
    human, grid = survey.human, survey.grid
    found = {
        key: distance.wasserstein(pmf, human, distance.gaps(human, grid, convention, params.constant_cells))
        for convention, key in W_KEYS.items()
    }
    found["tvd"] = distance.total_variation(pmf, human)
    found["jensen_shannon"] = distance.jensen_shannon(pmf, human)
    found["entropy_ratio"] = distance.ratio(distance.entropy(pmf), distance.entropy(human))
    found["spread_ratio"] = distance.ratio(distance.deviation(pmf, grid), distance.deviation(human, grid))
    found["sigma"] = distance.deviation(pmf, survey.places)
    small = survey.respondents < params.min_cell_size
    return {key: np.where(small, np.nan, values) for key, values in found.items()}


def score(survey: Survey, predictor: Predictor, params: Evaluate) -> Scores:
    """One predictor's values by cell and by study."""
    pmf = predictor.cells(survey)
    cells = cell_distances(survey, pmf, params)
    rows = individual.individual(survey, predictor)
    study_of_row = np.repeat(survey.study, survey.respondents)
    found = Scores(predictor.name, pmf, cells, {}, rows=rows)

    rng = generator(params.seed, "drawn", predictor.name)
    spoken = individual.spoken(predictor, params.temperature, params.top_p)
    answers = rows if spoken is predictor else individual.individual(survey, spoken)
    drawn = individual.drawn(survey, spoken, params.draws, rng)
    per_draw = np.stack([cell_distances(survey, shares, params)["wasserstein"] for shares in drawn])
    cells["drawn.wasserstein"] = per_draw.mean(axis=0)
    found.drawn = drawn[0]

    s = len(survey.studies)
    for key, values in cells.items():
        found.studies[key] = distance.study_means(values, survey.study, s)
    weight = np.bincount(survey.study, survey.respondents, s)
    for key in ("accuracy", "exact_match"):
        found.studies[f"drawn.{key}"] = np.bincount(study_of_row, getattr(answers, key), s) / weight
    cell_of_row = np.repeat(np.arange(len(survey.cells)), survey.respondents)
    small = survey.respondents < params.min_cell_size
    for key in ROW_METRICS:
        values = getattr(rows, key)
        found.studies[key] = np.bincount(study_of_row, values, s) / weight
        cells[key] = np.where(small, np.nan, np.bincount(cell_of_row, values) / survey.respondents)
    found.studies["mae"], cells["mae"] = 1 - found.studies["accuracy_median"], 1 - cells["accuracy_median"]
    if predictor.allowed_mass is not None:
        found.studies["format_validity"] = np.bincount(study_of_row, predictor.allowed_mass, s) / weight

    found.figures["drawn.wasserstein_sd"] = Interval(
        float(np.std([np.nanmean(distance.study_means(v, survey.study, s)) for v in per_draw], ddof=1))
        if params.draws > 1 and not np.isnan(cells["wasserstein"]).all()
        else None
    )
    found.effects = effects.effects(survey, pmf, params.min_cell_size)
    return found


def empirical_best(survey: Survey, params: Evaluate) -> Scores:
    """People against people: bootstrap resamples of each cell, and split halves for comparison."""
    rng = generator(params.seed, "empirical_best")
    parts = [cell_distances(survey, pmf, params) for pmf in human_resamples(survey, params.draws, rng)]
    cells = {key: np.mean([part[key] for part in parts], axis=0) for key in parts[0]}
    # people's own: what the spread of a prediction is held against (a resample's is smaller)
    cells["sigma"] = cell_distances(survey, survey.human, params)["sigma"]
    gap = distance.gaps(survey.human, survey.grid, "paper", params.constant_cells)
    halves = [distance.wasserstein(a, b, gap) for a, b in split_halves(survey, params.draws, rng)]
    small = survey.respondents < max(params.min_cell_size, 2)
    cells["split_half.wasserstein"] = np.where(small, np.nan, np.mean(halves, axis=0) / np.sqrt(2))
    studies = {
        key: distance.study_means(part, survey.study, len(survey.studies)) for key, part in cells.items()
    }
    return Scores("empirical_best", None, cells, studies)


def resample_respondents(
    survey: Survey, scores: Iterable[tuple[Scores, Predictor]], params: Evaluate
) -> None:
    """Every study's figures again with other respondents: the second level of the bootstrap."""
    if params.bootstrap < 2:
        return
    pairs = [(found, predictor, found.rows) for found, predictor in scores if found.rows is not None]
    small = (survey.respondents < params.min_cell_size)[:, None]
    gaps = {
        key: np.where(
            small, np.nan, distance.gaps(survey.human, survey.grid, convention, params.constant_cells)
        )
        for convention, key in W_KEYS.items()
    }
    again = respondents.resample(
        survey,
        [(predictor, rows) for _, predictor, rows in pairs],
        gaps,
        params.bootstrap,
        generator(params.seed, "respondents"),
    )
    for found, predictor, _ in pairs:
        found.again = again[predictor.name]
        found.again.means["mae"] = 1 - found.again.means["accuracy_median"]


def add_pooled(survey: Survey, scores: Iterable[Scores], uniform: Scores) -> None:
    """The figures that are functions of sums over studies, without their intervals."""
    s = len(survey.studies)
    study_of_row = np.repeat(survey.study, survey.respondents)
    for found in scores:
        pooled, again = found.pooled, found.again
        for key in W_KEYS.values():
            pooled[f"{key}_cells"] = _cell_mean(found.cells[key], survey.study, s)
        w = found.cells["wasserstein"]
        for key, limit in SHARES.items():
            # cells of 20 people often lie on a limit itself, and the last bits must not say on which side
            below = _cell_mean(np.where(np.isnan(w), np.nan, w.round(9) < limit), survey.study, s)
            pooled[key] = replace(below, forward=angle, back=angle_back)
        guess = [side.studies["tvd"] for side in (found, uniform)]
        known = ~np.isnan(guess[0])
        both = None
        if again is not None and uniform.again is not None:
            both = np.stack([side.means["tvd"][known] for side in (again, uniform.again)], axis=-1)
        pooled["simbench"] = Pooled(_simbench, np.stack(guess, axis=-1)[known], both)
        if found.rows is None or found.effects is None:
            continue
        x, y = found.rows.mean.astype(np.float64), found.rows.truth.astype(np.float64)
        pooled["pearson"] = Pooled(
            correlation,
            moments(x, y, study_of_row, s),
            None if again is None else again.moments,
            fisher,
            np.tanh,
        )
        squared = np.bincount(study_of_row, found.rows.squared_error, s) / np.bincount(study_of_row)
        mean_square = mean_of(squared, None if again is None else again.means["squared_error"])
        pooled["rmse"] = Pooled(root_share, mean_square.sums, mean_square.again)
        bins = individual.reliability(found.rows, study_of_row, s).reshape(s, -1)
        pooled["calibration_error"] = Pooled(individual.calibration_error, bins)
        places = None if again is None else (again.human, again.places)
        for key, figure in effects.figures(found.effects, places).items():
            pooled[f"effects.{key}"] = figure


def _cell_mean(values: Floats, study: Ints, studies: int) -> Pooled:
    """The flat mean over scored cells."""
    known = ~np.isnan(values)
    count = np.bincount(study[known], minlength=studies).astype(np.float64)
    return Pooled(
        share, np.stack([np.bincount(study[known], values[known], studies), count], axis=-1)[count > 0]
    )


def _simbench(sums: Floats) -> Floats:
    """100 x (1 - TVD / TVD of uniform), of the means over studies; NaN if uniform is perfect."""
    return 100 * (1 - share(sums))


def add_figures(survey: Survey, found: Scores, params: Evaluate) -> None:
    """Every figure of one predictor with its interval, from its study values and sums."""
    quartiles = ("entropy_ratio", "spread_ratio")
    for key, values in found.studies.items():
        if key in quartiles:
            continue
        again = None if found.again is None else found.again.means.get(key)
        rng = generator(params.seed, key)
        found.figures[key] = interval(mean_of(values, again), params.bootstrap, rng)
        if again is not None and key in RESPONDENTS_SE:
            errors = again[~np.isnan(again[:, 0])].std(axis=1, ddof=1, dtype=np.float64)
            error = float(np.sqrt((errors**2).sum()) / len(errors)) if len(errors) else None
            found.figures[f"{key}_respondents_se"] = Interval(error)
    for key in quartiles:
        rng = generator(params.seed, key)
        intervals = quantile_intervals(
            found.cells[key], survey.study, tuple(QUARTILES.values()), params.bootstrap, rng
        )
        found.figures |= {key + part: figure for part, figure in zip(QUARTILES, intervals, strict=True)}
    for key, figure in found.pooled.items():
        found.figures[key] = interval(figure, params.bootstrap, generator(params.seed, key))
    if found.effects is not None:
        rng = generator(params.seed, "effects")
        found.figures["effects.p"] = Interval(effects.permutation_p(found.effects, params.permutations, rng))
        for key in effects.KEYS:
            found.figures.setdefault(f"effects.{key}", Interval(None))


def difference(first: Scores, second: Scores, params: Evaluate) -> dict[str, Interval]:
    """metric -> first minus second, paired by study (and so by cell), with its own interval.

    Means of study values are tested by flipping signs; figures of sums over studies, such as correlations,
    have the interval of :func:`intervals.interval`.
    """
    found = {
        key: difference_interval(
            first.studies[key] - second.studies[key],
            params.bootstrap,
            generator(params.seed, "difference", key),
        )
        for key in first.studies
        if key in second.studies and key not in ("entropy_ratio", "spread_ratio")
    }
    for key, figure in first.pooled.items():
        other = second.pooled.get(key)
        if other is not None and len(other.sums) == len(figure.sums):
            rng = generator(params.seed, "difference", key)
            found[key] = interval(figure.minus(other), params.bootstrap, rng)
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


def counts(survey: Survey, params: Evaluate, excluded: dict[str, dict[str, int]]) -> Tree:
    """How much was scored and how much was not, by reason."""
    constant = (survey.human.max(axis=1) > 1 - 1e-12) & (survey.respondents >= params.min_cell_size)
    small = survey.respondents < params.min_cell_size
    unscored = small | constant if params.constant_cells == "exclude" else small
    compared = effects.effects(survey, survey.human, params.min_cell_size)
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
            "credible_pairs": len(effects.credible_pairs(compared)[0]),
        },
        "answers_moved_to_grid": survey.off_grid,
        "answers_excluded": {
            # a reason may name a parameter; a dot would read as one more level of keys
            model: {re.sub(r"\W+", "_", reason): number for reason, number in reasons.items()}
            for model, reasons in sorted(excluded.items())
        },
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


def cell_scores(survey: Survey, scores: Iterable[Scores]) -> pl.DataFrame:
    """One row per cell and predictor with every cell metric; empty where a cell is not scored.

    Individual-level metrics are means over the cell's answers.
    """
    keys = [
        *(*W_KEYS.values(), "drawn.wasserstein", "tvd", "jensen_shannon", "entropy_ratio", "spread_ratio"),
        *ROW_METRICS,
        "mae",
    ]
    parts = [
        survey.cells.select(*CELL, "respondents").with_columns(
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

    def error(found: Scores, key: str) -> Floats:
        return (
            nothing if found.again is None else found.again.means[key].std(axis=1, ddof=1, dtype=np.float64)
        )

    cells = np.bincount(survey.study, minlength=len(survey.studies))
    answers = np.bincount(survey.study, survey.respondents, len(survey.studies)).astype(np.int64)
    parts = [
        pl.DataFrame({"study_id": survey.studies, "cells": cells, "answers": answers}).with_columns(
            pl.lit(found.name).alias("predictor"),
            *(pl.Series(key, found.studies.get(key, nothing)) for key in keys),
            *(
                pl.Series(
                    f"{key}_{end}",
                    np.maximum(found.studies[key] + sign * 1.96 * error(found, key), 0),
                )
                for key in RESPONDENTS_SE
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
        for key in [survey.cells.select(*CELL).row(cell)]
        for name, pmf in sides
        for option in range(survey.options[cell])
    ]
    columns = [*CELL, "predictor", "option", "probability"]
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
        everyone = np.zeros(len(found.rows.truth), dtype=np.int64)
        rows += [
            (found.name, i / individual.BINS, (i + 1) / individual.BINS, int(n), confidence / n, correct / n)
            for i, (n, confidence, correct) in enumerate(individual.reliability(found.rows, everyone, 1)[0])
            if n
        ]
    columns = ["predictor", "low", "high", "answers", "confidence", "correct"]
    return pl.DataFrame(rows, columns, orient="row")


def effects_table(survey: Survey, scores: Iterable[Scores]) -> pl.DataFrame:
    """One row per compared cell: the effect of its condition in people and in each predictor."""
    known = {found.name: found.effects for found in scores if found.effects is not None}
    first = next(iter(known.values()))
    return survey.cells.select(*CELL, "respondents")[first.cell.tolist()].with_columns(
        pl.Series("human", first.human),
        pl.Series("human_se", first.error),
        *(pl.Series(name, part.predicted) for name, part in known.items()),
    )

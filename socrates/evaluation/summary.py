"""What the stage writes: nested scalars for metrics/evaluate.json, the few that are compared first, and tables."""

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.special import entr

from socrates.core.params import flat
from socrates.evaluation import individual
from socrates.evaluation.cells import Survey
from socrates.evaluation.distance import Floats, observed_range
from socrates.evaluation.effects import condition_effects, sure_pairs
from socrates.evaluation.intervals import Estimate
from socrates.evaluation.metrics import METRICS
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictors import MODELS, PRIMARY
from socrates.evaluation.scoring import Scores
from socrates.survey.tables import CELL, DEMOGRAPHICS

DECIMALS = 6
PLOT_CELLS = 9  # cells, from agreed to divided, whose distributions are plotted
Tree = dict[str, Any]  # nested, with figures as leaves
Reasons = Mapping[str, Mapping[str, int]]  # of a predictor, by reason, how many answers were not predicted

# Of the hundreds of figures of metrics/evaluate.json those that ``dvc exp show`` and ``dvc metrics diff`` show, from
# metrics/headline.json: what decides, under the same dotted keys.
W = ("wasserstein", "wasserstein_low", "wasserstein_high")
OF_A_MODEL = (
    *W, "stated.wasserstein", "cramer", "crps", "log_likelihood", "persona.log_shuffled",
    "drawn.wasserstein",  # the like of the paper's W
    "drawn.accuracy", "exact_match", "within_one", "mae", "rmse", "pearson", "entropy_ratio",
    "effects.r", "format_validity",
)  # fmt: skip
PARTS = {
    "adapter": OF_A_MODEL,
    "base": OF_A_MODEL,
    "uniform": ("wasserstein", "drawn.wasserstein", "drawn.accuracy"),
    **dict.fromkeys(("words_demographics", "words", "demographics", "nearest", "train_marginal"), W[:1]),
    "empirical_best": W[:1],
    "planted": ("wasserstein", "cramer", "crps", "log_likelihood", "persona.log_shuffled", "drawn.accuracy"),
    **{f"{model}_minus_{name}": (*W, "wasserstein_p") for model in MODELS for name in (PRIMARY, "base", "uniform")},
    "counts": ("studies", "studies_scored", "cells_scored", "cells_near_duplicate", "answers"),
    "without_near_duplicates": (
        *(f"{name}.{key}" for name in ("adapter", "base", "adapter_minus_best_baseline") for key in W),
        "counts.cells_scored",
    ),
}  # fmt: skip
KEYS = tuple(f"{part}.{key}" for part, keys in PARTS.items() for key in keys)


def headline(metrics: Tree) -> dict[str, Any]:
    """The figures of :data:`KEYS` by dotted key, in that order; what ``metrics`` does not have is left out."""
    everything = dict(flat(metrics))
    return {key: everything[key] for key in KEYS if key in everything}


def figures_of_the_rest(metrics: Tree) -> dict[str, Any]:
    """Those of :data:`OF_A_MODEL` with their intervals, of every predictor and difference, and how many cells."""
    wanted = {key + end for key in OF_A_MODEL for end in ("", "_low", "_high", "_p")} | {"cells_scored"}
    return {key: value for key, value in flat(metrics) if key.partition(".")[2] in wanted}


def to_nested_dict(figures: Mapping[str, Estimate], signed: bool = False) -> Tree:
    """Nested scalar keys of some figures: ``stated.wasserstein`` and its interval under ``stated``.

    Figures are rounded to :data:`DECIMALS`, far below their intervals, so that last bits do not reach a file that Git
    tracks. The ends of an interval are kept inside the range that the metric cannot leave, but those of differences
    (``signed``), which also have their p-value and sign.
    """
    root: Tree = {}
    for key, figure in figures.items():
        *path, last = key.split(".")
        node = root
        for part in path:
            node = node.setdefault(part, {})
        node[last] = _rounded(figure.value)
        if figure.low is not None and figure.high is not None:
            known = None if signed else METRICS.get(key)
            bounds = (known.low, known.high) if known else (None, None)
            low, high = np.clip([figure.low, figure.high], *bounds).tolist()
            node[f"{last}_low"], node[f"{last}_high"] = _rounded(low), _rounded(high)
        if signed:
            node[f"{last}_p"], node[f"{last}_sign"] = _rounded(figure.p), figure.sign
    return root


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DECIMALS) + 0.0  # + 0.0 turns -0.0 into 0.0


def counts(survey: Survey, params: Evaluate, excluded: Reasons, known: Container[int]) -> Tree:
    """How much was scored and how much was not, by reason; ``known``: lengths of the scales in the training data."""
    small = survey.respondents < params.min_cell_size
    constant = (survey.human.max(axis=1) > 1 - 1e-12) & ~small
    left_out = constant & (params.constant_cells == "exclude")
    scored = ~(small | left_out)
    compared = condition_effects(survey, survey.human, params.min_cell_size)
    return {
        "studies": len(survey.studies),
        "studies_scored": len(np.unique(survey.study[scored])),
        "cells": len(survey.cells),
        "cells_scored": int(scored.sum()),
        "cells_excluded": {"too_small": int(small.sum()), "constant": int(left_out.sum())},
        "cells_mixed_scale": int(survey.cells["scale"].str.contains(" | ", literal=True).sum()),
        "answers": len(survey.rows),
        "respondents": int(survey.person.max()) + 1,
        "respondents_per_cell_median": float(np.median(survey.respondents)),
        "effects": {
            "conditions": len(compared.cell),
            "questions": len(np.unique(compared.group)),
            "sure_pairs": len(sure_pairs(compared)[0]),
        },
        "answers_moved_to_grid": survey.off_grid,
        "answers_excluded": {
            # a reason may name a parameter; a dot would read as one more level of keys
            name: {re.sub(r"\W+", "_", reason): number for reason, number in reasons.items()}
            for name, reasons in sorted(excluded.items())
        },
        "cells_without_train_scale": len({b.cell for b in survey.blocks if len(b.positions) not in known}),
    }


def tables(survey: Survey, scores: Sequence[Scores], params: Evaluate) -> dict[str, pl.DataFrame]:
    """Every table by its file's name.

    Of cells of fewer than ``min_cell_size`` people nothing but their number is said: the answer of one is an answer.
    """
    cells, small = survey.cells, survey.respondents < params.min_cell_size
    low, high = (np.where(small, np.nan, end) for end in observed_range(survey.human, survey.grid))
    pits = {part.name: part.pit / part.pit.sum() for part in scores if part.pit is not None}
    effects = {part.name: part.effects for part in scores if part.effects is not None}
    first = next(iter(effects.values()))
    gaps = pl.concat(part.gaps for part in scores if part.gaps is not None)
    studies = {part.name: dict(part.studies) for part in scores}
    for part in scores:
        if part.errors is not None:  # how far other respondents of the study would move its W
            for end, sign in (("low", -1), ("high", 1)):
                moved = part.studies["wasserstein"] + sign * 1.96 * part.errors
                studies[part.name][f"wasserstein_{end}"] = np.maximum(moved, 0)
    sizes = {
        "study_id": survey.studies,
        "cells": np.bincount(survey.study, minlength=len(survey.studies)),
        "answers": np.bincount(survey.study_of_answer),
    }
    return {
        "cells": cells.with_columns(options=survey.options, human_low=low, human_high=high).fill_nan(None),
        "cell_scores": _by_predictor(  # of metrics of answers, means over the cell
            cells.select(*CELL, "respondents"),
            {part.name: {key: part.cells[key] for key in METRICS if key in part.cells} for part in scores},
        ),
        "studies": _by_predictor(pl.DataFrame(sizes), studies),
        "distributions": distribution_table(survey, scores, PLOT_CELLS),
        # The share of answers in each bin of the probability integral transform.
        "pit": pl.DataFrame({"middle": (np.arange(individual.BINS) + 0.5) / individual.BINS, **pits}),
        # One row per compared cell: the effect of its condition in people and in each predictor.
        "effects": cells.select(*CELL, "respondents")[first.cell.tolist()].with_columns(
            human=first.human,
            human_se=first.error,
            **{name: part.predicted for name, part in effects.items()},
        ),
        "group_gaps": gaps.sort(pl.col("attribute").cast(pl.Enum(list(DEMOGRAPHICS))), maintain_order=True),
    }


def _by_predictor(head: pl.DataFrame, columns: Mapping[str, Mapping[str, Floats]]) -> pl.DataFrame:
    """``head`` once for each predictor, with its name and values; the first has all columns."""
    parts = [head.with_columns(pl.lit(name).alias("predictor"), **values) for name, values in columns.items()]
    return pl.concat(parts, how="diagonal").fill_nan(None)


def distribution_table(survey: Survey, scores: Sequence[Scores], wanted: int) -> pl.DataFrame:
    """Long form for plots: cell, predictor (and ``human``), option, probability, of ``wanted`` cells.

    Evenly spaced by how divided people are, so that two runs on the same studies show the same cells.
    """
    divided = entr(survey.human).sum(axis=1).round(9)
    scored = ~np.isnan(scores[0].cells["wasserstein"])
    ranked = [cell for cell in np.argsort(divided, kind="stable").tolist() if scored[cell]]
    picks = np.rint(np.linspace(0, len(ranked) - 1, min(wanted, len(ranked)))).astype(int)
    sides = [("human", survey.human), *((part.name, part.pmf) for part in scores if part.pmf is not None)]
    keys = list(survey.cells.select(CELL).iter_rows())
    rows = [
        (*keys[cell], name, int(survey.grid[cell, option]), float(pmf[cell, option]))
        for cell in (ranked[pick] for pick in sorted(set(picks.tolist())))
        for name, pmf in sides
        for option in range(survey.options[cell])
    ]
    return pl.DataFrame(rows, [*CELL, "predictor", "option", "probability"], orient="row")

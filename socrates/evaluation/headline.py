"""The few figures that are compared first, out of the hundreds of metrics/evaluate.json.

DVC's tables have a column or a row for each key of a metrics file. metrics/headline.json is the one that
``dvc exp show`` and ``dvc metrics diff`` read, so that a reviewer sees what decides; its keys are the dotted keys of
metrics/evaluate.json, which keeps every figure with its interval.
"""

from __future__ import annotations

from typing import Any

from socrates.core.params import flat

W = ("wasserstein", "wasserstein_low", "wasserstein_high")
OF_A_MODEL = (
    *W,
    "stated.wasserstein",
    "cramer",
    "crps",
    "log_likelihood",
    "persona.log_shuffled",
    "drawn.wasserstein",  # the like of the paper's W
    "drawn.accuracy",
    "accuracy_median",
    "exact_match",
    "within_one",
    "mae",
    "rmse",
    "pearson",
    "entropy_ratio",
    "effects.r",
    "format_validity",
)
PARTS = {
    "adapter": OF_A_MODEL,
    "base": OF_A_MODEL,
    "uniform": ("wasserstein", "drawn.wasserstein", "drawn.accuracy"),
    **dict.fromkeys(
        ("words_demographics", "words", "demographics", "nearest", "train_marginal"), ("wasserstein",)
    ),
    "empirical_best": ("wasserstein",),
    "planted": ("wasserstein", "cramer", "crps", "log_likelihood", "persona.log_shuffled", "drawn.accuracy"),
    "adapter_minus_best_baseline": (*W, "wasserstein_p"),
    "adapter_minus_base": (*W, "wasserstein_p"),
    "adapter_minus_uniform": (*W, "wasserstein_p"),
    "counts": ("studies", "studies_scored", "cells_scored", "cells_near_duplicate", "answers"),
    "without_near_duplicates": (
        *(f"{name}.{key}" for name in ("adapter", "base", "adapter_minus_best_baseline") for key in W),
        "counts.cells_scored",
    ),
}
KEYS = tuple(f"{part}.{key}" for part, keys in PARTS.items() for key in keys)


def figures_of_the_rest(metrics: dict[str, Any]) -> dict[str, Any]:
    """Those of :data:`OF_A_MODEL` with their intervals, of every predictor and difference, and how many cells."""
    wanted = {key + end for key in OF_A_MODEL for end in ("", "_low", "_high", "_p")}
    counted = {"counts.cells_scored": metrics["counts"]["cells_scored"]}
    parts = {part: tree for part, tree in metrics.items() if part != "counts"}
    return {key: value for key, value in flat(parts) if key.partition(".")[2] in wanted} | counted


def headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """The figures of :data:`KEYS` by dotted key, in that order; what ``metrics`` does not have is left out."""
    everything = dict(flat(metrics))
    return {key: everything[key] for key in KEYS if key in everything}

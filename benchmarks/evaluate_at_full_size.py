"""Time and memory of the evaluation at the size of the paper's unseen split.

    python -m benchmarks.evaluate_at_full_size

482,642 answers in about 800 cells of 40 studies, scored by both models and all baselines with 1,000 bootstrap draws.
Tests take smaller worlds from here.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import table
from socrates.core.params import load
from socrates.evaluation.evaluate import evaluate
from socrates.evaluation.params import Evaluate
from socrates.survey.tables import DEMOGRAPHICS, PERSON_TRUTH, PREDICTIONS

ANSWERS = 482_642
SCALES = ("1..2", "1..4", "1..5", "1..7", "0..10", "0..100", "0..1000/100")
WEIGHTS = (0.1, 0.15, 0.25, 0.3, 0.1, 0.05, 0.05)
GROUPS = {
    "gender": ["Female", "Male"],
    "education": ["College", "High school", "None"],
    "age": ["23", "41", "67"],
}


def main() -> None:
    predictions, truth = world(40, 5, 4, 720, {"adapter": 0.1, "base": 0.25}, seed=3)
    keys = predictions["base"].select("study_id", "sample_id")
    chosen = keys.sample(min(ANSWERS, len(keys)), seed=1)
    predictions = {name: rows.join(chosen, on=keys.columns) for name, rows in predictions.items()}
    params = load(Evaluate)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    started = time.perf_counter()
    train = predictions["base"].select("study_id", "scale", "response")
    paths = {name: Path(name) for name in predictions}
    result = evaluate(predictions, paths, train, truth, {"adapter": {}, "base": {}}, params)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(result.summary)
    counts = [result.metrics["counts"][name] for name in ("answers", "cells", "studies")]
    head = ["answers", "cells", "studies", "draws", "seconds", "peak GB", "before"]
    print(table(head, [[*counts, params.bootstrap, seconds, peak, before]]))


def world(
    studies: int, conditions: int, tasks: int, respondents: int, errors: dict[str, float], seed: int
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Predictions of several models on the same people, and the planted truth.

    Every respondent of a condition answers every task of the study.

    Args:
        respondents: mean number per condition; the real number varies by study.
        errors: model -> standard deviation of its error in a cell's mean, as a share of the scale.

    Returns:
        model -> table of ``tables.PREDICTIONS``; table of ``tables.PERSON_TRUTH``.
    """
    rng = np.random.default_rng(seed)
    rows: dict[str, list[pl.DataFrame]] = {model: [] for model in errors}
    truth = []
    for study in range(studies):
        size = np.maximum(2, rng.poisson(respondents * rng.uniform(0.5, 1.5), conditions))
        participants = np.split(np.arange(size.sum()), np.cumsum(size)[:-1])
        people = demographics({key: rng.choice(values, size.sum()) for key, values in GROUPS.items()})
        shift = rng.normal(0, 0.08, size.sum())
        sample = 0
        for task in range(tasks):
            notation = rng.choice(SCALES, p=WEIGHTS)
            low, high = (int(x) for x in notation.split("/")[0].split(".."))
            options = np.arange(low, high + 1, int(notation.split("/")[1]) if "/" in notation else 1)
            level, spread = rng.uniform(0.25, 0.75), rng.uniform(0.12, 0.3)
            bias = {model: rng.normal(0, error) for model, error in errors.items()}
            for condition, members in enumerate(participants):
                effect = rng.normal(0, 0.06)
                n = len(members)
                pmf = discretised_normal(level + effect + shift[members], spread, len(options))
                chosen = (rng.random((n, 1)) > np.cumsum(pmf, axis=1)[:, :-1]).sum(axis=1)
                base = {
                    "study_id": [f"s{study:04d}"] * n,
                    "sample_id": np.arange(sample, sample + n),
                    "participant": members,
                    "condition_num": [condition] * n,
                    "task_num": [task] * n,
                    "demographic": people[members],
                    "response": options[chosen],
                    "scale": [notation] * n,
                    "scale_rule": ["range"] * n,
                    "allowed_mass": np.ones(n, dtype=np.float32),
                }
                truth.append(_table(base, pmf, PERSON_TRUTH))
                sample += n
                for model, error in errors.items():
                    moved = level + effect * 0.5 + bias[model] + rng.normal(0, error / 2) + shift[members]
                    predicted = discretised_normal(moved, spread, len(options)).astype(np.float32)
                    rows[model].append(_table(base, predicted, PREDICTIONS))
    return {model: pl.concat(parts) for model, parts in rows.items()}, pl.concat(truth)


def discretised_normal(mean: np.ndarray, spread: float, options: int) -> np.ndarray:
    """[n, options] normal densities at evenly spaced places in [0, 1], normalised."""
    density = np.exp(-0.5 * ((np.linspace(0, 1, options) - mean[:, None]) / spread) ** 2) + 1e-6
    return density / density.sum(axis=1, keepdims=True)


def demographics(groups: dict[str, np.ndarray]) -> pl.Series:
    """The ``demographic`` column of people of whom only these fields are known."""
    unknown = [pl.lit(None, pl.String).alias(key) for key in DEMOGRAPHICS if key not in groups]
    return pl.DataFrame(groups).with_columns(unknown).select(*DEMOGRAPHICS).to_struct("demographic")


def _table(columns: dict, probabilities: np.ndarray, schema: dict) -> pl.DataFrame:
    """A table of this schema from its other columns and the probabilities ``[rows, options]``."""
    table = pl.DataFrame(columns | {"probabilities": probabilities})
    table = table.with_columns(pl.col("probabilities").arr.to_list())
    return table.select(pl.col(key).cast(kind) for key, kind in schema.items())


if __name__ == "__main__":
    main()

"""Prediction tables of any size with a known truth, for tests and measurements of the evaluation."""

from __future__ import annotations

import numpy as np
import polars as pl

from socrates.survey.tables import DEMOGRAPHICS, PERSON_TRUTH, PREDICTIONS

SCALES = ("1..2", "1..4", "1..5", "1..7", "0..10", "0..100", "0..1000/100")
WEIGHTS = (0.1, 0.15, 0.25, 0.3, 0.1, 0.05, 0.05)
GROUPS = {
    "gender": ["Female", "Male"],
    "education": ["College", "High school", "None"],
    "age": ["23", "41", "67"],
}


def discretised_normal(mean: np.ndarray, spread: np.ndarray, options: int) -> np.ndarray:
    """[n, options] normal densities at evenly spaced places in [0, 1], normalised."""
    place = np.linspace(0, 1, options)
    density = np.exp(-0.5 * ((place[None] - mean[:, None]) / spread[:, None]) ** 2) + 1e-6
    return density / density.sum(axis=1, keepdims=True)


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
        name = f"s{study:04d}"
        size = np.maximum(2, rng.poisson(respondents * rng.uniform(0.5, 1.5), conditions))
        participants = np.split(np.arange(size.sum()), np.cumsum(size)[:-1])
        people = {key: rng.choice(values, size.sum()) for key, values in GROUPS.items()}
        shift = rng.normal(0, 0.08, size.sum())
        sample = 0
        for task in range(tasks):
            notation = rng.choice(SCALES, p=WEIGHTS)
            low, high = (int(x) for x in notation.split("/")[0].split(".."))
            step = int(notation.split("/")[1]) if "/" in notation else 1
            options = np.arange(low, high + 1, step)
            level, spread = rng.uniform(0.25, 0.75), rng.uniform(0.12, 0.3)
            bias = {model: rng.normal(0, error) for model, error in errors.items()}
            for condition, members in enumerate(participants):
                effect = rng.normal(0, 0.06)
                n = len(members)
                pmf = discretised_normal(level + effect + shift[members], np.full(n, spread), len(options))
                chosen = (rng.random((n, 1)) > np.cumsum(pmf, axis=1)[:, :-1]).sum(axis=1)
                base = {
                    "study_id": [name] * n,
                    "sample_id": np.arange(sample, sample + n),
                    "participant": members,
                    "condition_num": [condition] * n,
                    "task_num": [task] * n,
                    "demographic": demographics({key: people[key][members] for key in GROUPS}),
                    "response": options[chosen],
                    "scale": [notation] * n,
                    "scale_rule": ["range"] * n,
                    "allowed_mass": np.ones(n, dtype=np.float32),
                }
                truth.append(
                    pl.DataFrame({key: base[key] for key in ("study_id", "sample_id", "scale")}).with_columns(
                        pl.Series("probabilities", pmf.tolist(), PERSON_TRUTH["probabilities"])
                    )
                )
                sample += n
                for model, error in errors.items():
                    moved = level + effect * 0.5 + bias[model] + rng.normal(0, error / 2) + shift[members]
                    predicted = discretised_normal(moved, np.full(n, spread), len(options)).astype(np.float32)
                    rows[model].append(predictions_table(base, predicted))
    return {model: pl.concat(parts) for model, parts in rows.items()}, pl.concat(truth)


def demographics(groups: dict[str, np.ndarray]) -> pl.Series:
    """The ``demographic`` column of people of whom only these fields are known."""
    unknown = [pl.lit(None, pl.String).alias(key) for key in DEMOGRAPHICS if key not in groups]
    return pl.DataFrame(groups).with_columns(unknown).select(*DEMOGRAPHICS).to_struct("demographic")


def predictions_table(base: dict, predicted: np.ndarray) -> pl.DataFrame:
    """A table of ``tables.PREDICTIONS`` from its other columns and the probabilities ``[rows, options]``."""
    table = pl.DataFrame(base | {"probabilities": predicted})
    table = table.with_columns(pl.col("probabilities").arr.to_list())
    return table.select(pl.col(key).cast(kind) for key, kind in PREDICTIONS.items())

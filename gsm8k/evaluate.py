"""How well a model solves word problems, and whether training changed that.

One row of the attempts table is one completion. Everything is computed per problem first, because
completions of one problem are not independent: intervals resample problems, never completions.
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gsm8k import answers
from socrates.core.errors import DataError

RATES = ("exact", "strict_format", "soft_format", "truncated", "tokens")


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of ``k`` samples is right, estimated from ``correct`` of ``samples``.

    1 - C(n - c, k) / C(n, k), which has no bias, unlike 1 - (1 - c/n)^k (Chen et al. 2021, arXiv
    2107.03374, equation 1).

    Raises:
        ValueError: k is not in 1..samples, or correct not in 0..samples.
    """
    if not (1 <= k <= samples and 0 <= correct <= samples):
        raise ValueError(
            f"pass@k needs 1 <= k <= samples and 0 <= correct <= samples: {k=}, {samples=}, {correct=}"
        )
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def by_problem(attempts: pl.DataFrame, problems: pl.DataFrame) -> pl.DataFrame:
    """Each problem's mean over its completions, for each model and decoding, in sorted order.

    Columns: model, decoding, problem_id, samples, correct (counts), and the ``RATES``: exact answer,
    strict and soft format, cut-off completions (shares), tokens (mean).

    Raises:
        DataError: an attempt is at a problem that ``problems`` does not hold.
    """
    table = attempts.join(
        problems.select("problem_id", "answer"), on="problem_id", how="left", maintain_order="left"
    )
    unknown = table.filter(pl.col("answer").is_null())["problem_id"]
    if len(unknown):
        raise DataError(f"problem {unknown[0]} was attempted and is not in the test problems: run dvc repro")
    pairs = list(zip(table["completion"], table["answer"], strict=True))
    marked = table.with_columns(
        exact=pl.Series([answers.is_correct(*pair) for pair in pairs], dtype=pl.Boolean),
        strict_format=pl.Series([answers.is_strict(text) for text, _ in pairs], dtype=pl.Boolean),
        soft_format=pl.Series([answers.is_soft(text) for text, _ in pairs], dtype=pl.Boolean),
    )
    return (
        marked.group_by("model", "decoding", "problem_id")
        .agg(
            pl.len().cast(pl.Int64).alias("samples"),
            pl.col("exact").sum().cast(pl.Int64).alias("correct"),
            *(pl.col(rate).cast(pl.Float64).mean() for rate in RATES),
        )
        .sort("model", "decoding", "problem_id")
    )


def with_pass_at_k(table: pl.DataFrame, ks: list[int]) -> pl.DataFrame:
    """``table`` of :func:`by_problem` with a column ``pass@k`` for each k; null where samples < k."""
    counts = list(zip(table["samples"], table["correct"], strict=True))
    return table.with_columns(
        pl.Series(f"pass@{k}", [pass_at_k(n, c, k) if k <= n else None for n, c in counts], dtype=pl.Float64)
        for k in ks
    )


def bootstrap_means(
    values: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Means of ``resamples`` resamples of the rows: ``values`` is [problems, measures], the result
    [resamples, measures]. Measures of one problem stay together, so that differences are paired."""
    count = len(values)
    weights = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return weights @ values / count


def interval(draws: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap draws."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def summary(
    attempts: pl.DataFrame, problems: pl.DataFrame, ks: list[int], resamples: int, seed: int
) -> dict[str, Any]:
    """Every rate with its 95 % interval, for each decoding and model, and trained minus base.

    ``{decoding: {model: {rate: {value, low, high}}, difference: {rate: {value, low, high}}}}``; a
    rate that a decoding cannot have (pass@k with fewer than k samples) is absent. Intervals come
    from one bootstrap over problems, so the difference is paired.

    Raises:
        DataError: the models did not attempt the same problems.
    """
    rates = [*RATES, *(f"pass@{k}" for k in ks)]
    table = with_pass_at_k(by_problem(attempts, problems), ks)
    result: dict[str, Any] = {}
    for (decoding,), part in sorted(table.group_by("decoding"), key=lambda item: str(item[0])):
        models = sorted(part["model"].unique())
        tables = [part.filter(model=model).sort("problem_id") for model in models]
        ids = tables[0]["problem_id"].to_list()
        if any(other["problem_id"].to_list() != ids for other in tables):
            raise DataError(f"{decoding}: the models were not given the same problems: run dvc repro")
        shown = [rate for rate in rates if not part[rate].null_count()]
        values = np.hstack([one.select(shown).to_numpy() for one in tables])
        draws = bootstrap_means(values, resamples, np.random.default_rng(seed))
        means = values.mean(axis=0)
        width = len(shown)
        columns = {model: slice(place * width, (place + 1) * width) for place, model in enumerate(models)}
        result[str(decoding)] = {
            "problems": len(ids),
            **{model: _stated(shown, means[at], draws[:, at]) for model, at in columns.items()},
        }
        if {"base", "trained"} <= set(models):
            base, trained = columns["base"], columns["trained"]
            result[str(decoding)]["difference"] = _stated(
                shown, means[trained] - means[base], draws[:, trained] - draws[:, base]
            )
    return result


def _stated(
    rates: list[str], means: NDArray[np.float64], draws: NDArray[np.float64]
) -> dict[str, dict[str, float]]:
    stated = {}
    for place, rate in enumerate(rates):
        low, high = interval(draws[:, place])
        stated[rate] = {"value": float(means[place]), "low": low, "high": high}
    return stated

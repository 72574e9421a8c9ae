"""How well a model solves word problems, and whether training changed that.

Everything is computed per problem first, because completions of one problem are not independent: intervals
resample problems, never completions.
"""

from math import comb
from typing import Any

import numpy as np
import polars as pl

from gsm8k.answer_format import is_correct, is_soft, is_strict
from socrates.core.errors import DataError

RATES = ("exact", "strict_format", "soft_format", "truncated", "tokens")
TAILS = (0.025, 0.975)  # the ends of the 95 % intervals
DECIMALS = 9  # of a figure: the last bits depend on the number of threads of a matrix product


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of ``k`` samples is right, estimated from ``correct`` of ``samples``.

    Without bias, unlike 1 - (1 - c/n)^k (Chen et al. 2021, arXiv 2107.03374, equation 1).
    """
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def summary(
    attempts: pl.DataFrame, problems: pl.DataFrame, ks: list[int], resamples: int, seed: int
) -> dict[str, Any]:
    """Every rate with its 95 % interval, for each decoding and model, and trained minus base.

    ``{decoding: {problems, base|trained|difference: {rate: {value, low, high}}}}``; the rates are :data:`RATES`
    (shares; mean tokens), and ``pass@k`` of each of ``ks`` for which the decoding has samples enough.
    """
    marked = attempts.join(problems.select("problem_id", "answer"), on="problem_id", how="left").with_columns(
        exact=pl.struct("completion", "answer").map_elements(lambda row: is_correct(**row), pl.Boolean),
        strict_format=pl.col("completion").map_elements(is_strict, pl.Boolean),
        soft_format=pl.col("completion").map_elements(is_soft, pl.Boolean),
    )
    result = {}
    for (decoding,), drawn in sorted(marked.group_by("decoding")):
        table = drawn.group_by("model", "problem_id").agg(
            pl.len().alias("samples"),
            pl.col("exact").sum().alias("correct"),
            *(pl.col(rate).cast(pl.Float64).mean() for rate in RATES),
        )
        counts = table.select("samples", "correct").rows()
        fewest = min(samples for samples, _ in counts)
        passed = {f"pass@{k}": [pass_at_k(n, right, k) for n, right in counts] for k in ks if k <= fewest}
        by_model = table.hstack(pl.DataFrame(passed)).sort("problem_id").partition_by("model", as_dict=True)
        base, trained = (by_model[(model,)] for model in ("base", "trained"))
        if not base["problem_id"].equals(trained["problem_id"]):
            raise DataError(f"{decoding}: the models were not given the same problems: run make gsm8k")
        rates = [*RATES, *passed]
        found = _intervals(base.select(rates), trained.select(rates), resamples, seed)
        result[str(decoding)] = {"problems": base.height, **found}
    return result


def _intervals(base: pl.DataFrame, trained: pl.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """{base|trained|difference: {rate: {value, low, high}}} from rates by problem, in equal order."""
    values, count = np.hstack([base.to_numpy(), trained.to_numpy()]), base.height
    # One bootstrap over problems: measures of one problem stay together, so that differences are paired.
    shares = np.full(count, 1 / count)
    draws = np.random.default_rng(seed).multinomial(count, shares, size=resamples) @ values / count
    # Mean, then draws, of every rate, [1 + resamples, rates].
    before, after = np.split(np.vstack([values.mean(axis=0), draws]), 2, axis=1)
    result: dict[str, Any] = {}
    for side, figures in (("base", before), ("trained", after), ("difference", after - before)):
        stated = np.vstack([figures[:1], np.quantile(figures[1:], TAILS, axis=0)]).round(DECIMALS).T.tolist()
        result[side] = {
            rate: {"value": value, "low": low, "high": high}
            for rate, (value, low, high) in zip(base.columns, stated, strict=True)
        }
    return result

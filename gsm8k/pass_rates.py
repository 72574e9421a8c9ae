"""How well a model solves word problems, and whether training changed that.

One row of the completions table is one attempt. Everything is computed per problem first, because
completions of one problem are not independent: intervals resample problems, never completions.
"""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
import polars as pl

from gsm8k.answer_format import is_correct, is_soft, is_strict
from socrates.core.errors import DataError

RATES = ("exact", "strict_format", "soft_format", "truncated", "tokens")
LEVEL = 0.95  # of the intervals
DECIMALS = 9  # of a figure: the last bits depend on the number of threads of a matrix product


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of ``k`` samples is right, estimated from ``correct`` of ``samples``.

    1 - C(n - c, k) / C(n, k), which has no bias, unlike 1 - (1 - c/n)^k (Chen et al. 2021, arXiv
    2107.03374, equation 1).
    """
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def by_problem(attempts: pl.DataFrame, problems: pl.DataFrame, ks: list[int]) -> pl.DataFrame:
    """Each problem's mean over its completions, for each model and decoding, in sorted order.

    Columns: model, decoding, problem_id, samples, correct (counts), the :data:`RATES`: exact answer,
    strict and soft format, cut-off completions (shares), tokens (mean), and ``pass@k`` for each k, null
    where there are fewer than k samples.
    """
    reference = dict(problems.select("problem_id", "answer").iter_rows())
    rows = attempts.select("problem_id", "completion").rows()
    marked = attempts.with_columns(
        exact=pl.Series([is_correct(text, reference[problem]) for problem, text in rows], dtype=pl.Boolean),
        strict_format=pl.Series([is_strict(text) for _, text in rows], dtype=pl.Boolean),
        soft_format=pl.Series([is_soft(text) for _, text in rows], dtype=pl.Boolean),
    )
    keys = ("model", "decoding", "problem_id")
    table = marked.group_by(keys).agg(
        pl.len().cast(pl.Int64).alias("samples"),
        pl.col("exact").sum().cast(pl.Int64).alias("correct"),
        *(pl.col(rate).cast(pl.Float64).mean() for rate in RATES),
    )
    counts = table.select("samples", "correct").rows()
    return table.with_columns(
        pl.Series(f"pass@{k}", [pass_at_k(n, c, k) if k <= n else None for n, c in counts], dtype=pl.Float64)
        for k in ks
    ).sort(keys)


def summary(table: pl.DataFrame, resamples: int, seed: int) -> dict[str, Any]:
    """Every rate with its 95 % interval, for each decoding and model, and trained minus base.

    ``{decoding: {problems, model: {rate: {value, low, high}}, difference: {rate: {value, low, high}}}}``;
    a rate that a decoding cannot have (pass@k with fewer than k samples) is absent. Intervals come
    from one bootstrap over problems, so the difference is paired.

    Args:
        table: from :func:`by_problem`.

    Raises:
        DataError: the models did not attempt the same problems.
    """
    decodings = sorted(table["decoding"].unique())
    return {name: _decoding(table.filter(decoding=name), name, resamples, seed) for name in decodings}


def _decoding(table: pl.DataFrame, name: str, resamples: int, seed: int) -> dict[str, Any]:
    by_model = {str(model): rows for (model,), rows in table.group_by("model", maintain_order=True)}
    ids, *others = (rows["problem_id"].to_list() for rows in by_model.values())
    if any(other != ids for other in others):
        raise DataError(f"{name}: the models were not given the same problems: run make gsm8k")
    rates = [rate for rate in table.columns if rate.startswith("pass@") or rate in RATES]
    rates = [rate for rate in rates if not table[rate].null_count()]
    values = np.hstack([rows.select(rates).to_numpy() for rows in by_model.values()])
    # Measures of one problem stay together in a resample, so that differences are paired.
    shares = np.full(len(ids), 1 / len(ids))
    draws = np.random.default_rng(seed).multinomial(len(ids), shares, size=resamples) @ values / len(ids)
    # Mean, then draws, of every rate of every model: [models, 1 + resamples, rates].
    figures = np.stack(np.split(np.vstack([values.mean(axis=0), draws]), len(by_model), axis=1))
    sides = dict(zip(by_model, figures, strict=True))
    if {"base", "trained"} <= set(sides):
        sides["difference"] = sides["trained"] - sides["base"]
    result: dict[str, Any] = {"problems": len(ids)}
    for side, found in sides.items():
        ends = np.quantile(found[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        columns = np.vstack([found[:1], ends]).round(DECIMALS).tolist()
        result[side] = {
            rate: {"value": value, "low": a, "high": b}
            for rate, value, a, b in zip(rates, *columns, strict=True)
        }
    return result

"""How wrong the model's effects were on studies it had never seen, and what that says of a new one.

``evaluate`` compares predicted and human effects of the conditions of held-out studies. In people, the mean answer h to
a question under a condition is, as a share of the scale,

    h = level + b x + u + noise      b ~ N(slope, tau^2) by study, u ~ N(0, sigma^2), noise ~ N(0, se^2), se known

with x its prediction. Levels (one for each question) cancel in contrasts, so that the conditions of a question share
their control as they should; the errors u of a condition in several questions of a study correlate by rho. The
restricted likelihood (REML) of tau, sigma and rho is computed on a grid and weighted with Jeffreys' prior of sigma,
flat ones of rho and the slope, and one of tau that gives even odds to slopes that do not differ (Jeffreys 1961) and is
half-normal where they do. All that follows averages over that grid, so that what the held-out studies leave open
widens every interval; where they cannot tell an error as large as the effects, the fit is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import optimize, special, stats

from socrates.core.errors import DataError
from socrates.survey.tables import CELL

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LEVEL = 0.9
MIDDLE = (1 - LEVEL) / 2, (1 + LEVEL) / 2  # between these shares lies an interval
FEWEST_STUDIES = 5
# In the median condition; with six and few studies intervals held 84 to 95 % instead of 90.
FEWEST_PEOPLE = 10
TELLABLE = stats.norm.ppf(0.99)  # standard errors of sigma^2 above zero
# Shares of the scale; so many that neighbours differ by less than an error can be told.
SIGMA, RHO = np.geomspace(0.002, 0.5, 40), np.array([0.0, 0.3, 0.6, 0.9])
TAU = np.r_[0.0, np.geomspace(0.05, 2, 15)]
SAME, TAU_SCALE = 0.5, 1.0  # odds that slopes do not differ; else as far as a right slope is from none
NEGLIGIBLE = 1e-5  # weight of a grid point, over the largest, below which it is left out
QUESTION = ["study_id", "task_num", "scale"]  # effects are compared within it


class Unidentified(DataError):
    """The held-out studies cannot tell the model's error."""


@dataclass(frozen=True)
class ErrorModel:
    """What is known of the error of effects, as a mixture of K grid points; effects are shares of the scale. ``skill``
    is 1 - squared error / squared effect, noise taken out of both, slopes from the other studies, with its 90 %
    interval: 0 is predicting no effect."""

    weight: Floats  # [K] summing to 1
    slope: Floats  # [K] human effect per predicted one: below 1 the model exaggerates
    slope_variance: Floats  # [K]
    tau: Floats  # [K], as sigma and rho, see the module
    sigma: Floats
    rho: Floats
    studies: int
    contrasts: int  # pairs of conditions in the held-out studies
    covered: float  # see :func:`self_check`
    skill: tuple[float, float, float]
    largest: float  # predicted contrast among them; beyond it the slope is an extrapolation

    def mean(self, values: Floats) -> float:
        return float(self.weight @ values)

    def variance(self, predicted: float) -> Floats:
        """[K] of the error of a contrast predicted as ``predicted``, in a new study."""
        return (self.slope_variance + self.tau**2) * predicted**2 + 2 * self.sigma**2

    def effect(self, predicted: float, spread: float = 0.0) -> EffectDistribution:
        """What the effect in people may be; ``spread`` is the sampling variance of ``predicted``."""
        variance = self.variance(predicted) + self.slope**2 * spread
        return EffectDistribution(self.weight, self.slope * predicted, variance)

    def draw(self, predicted: Floats, covariance: Floats, condition: Ints, draws: int, seed: int) -> Floats:
        """[draws, E] what the effects of one new study may be together. ``predicted`` [E] are contrasts of
        ``condition`` [E] (from 1, outcome by outcome) with condition 0, of sampling ``covariance`` [E, E]. The errors
        of one condition are alike by rho, and the effects on one outcome share the error of its control."""
        rng = np.random.default_rng(seed)
        k = rng.choice(len(self.weight), draws, p=self.weight)
        x = predicted + rng.multivariate_normal(np.zeros(len(predicted)), covariance, draws, method="eigh")
        slope = self.slope[k] + np.sqrt(self.slope_variance + self.tau**2)[k] * rng.standard_normal(draws)
        outcome = np.array([int((condition[:i] == c).sum()) for i, c in enumerate(condition)])
        shared = rng.standard_normal((draws, condition.max() + 1, 1))
        own = rng.standard_normal((draws, condition.max() + 1, outcome.max() + 1))
        rho, sigma = self.rho[k, None, None], self.sigma[k, None, None]
        u = sigma * (np.sqrt(rho) * shared + np.sqrt(1 - rho) * own)
        return slope[:, None] * x + u[:, condition, outcome] - u[:, 0, outcome]


class EffectDistribution(NamedTuple):
    """A mixture of K normal distributions: what an effect may be."""

    weight: Floats
    centre: Floats
    variance: Floats

    @property
    def mean(self) -> float:
        return float(self.weight @ self.centre)

    @property
    def sd(self) -> float:
        return float(np.sqrt(self.weight @ (self.variance + (self.centre - self.mean) ** 2)))

    def above(self, value: float, noise: float = 0.0) -> float:
        """The chance that the effect, found with sampling variance ``noise``, is above a value."""
        return float(self.weight @ special.ndtr((self.centre - value) / np.sqrt(self.variance + noise)))

    def interval(self) -> tuple[float, float]:
        """The middle 90 %."""
        sd = np.sqrt(self.variance)
        reach = 12 * sd.max()

        def missing(value: float, wanted: float) -> float:
            return float(self.weight @ special.ndtr((value - self.centre) / sd)) - wanted

        bounds = self.centre.min() - reach, self.centre.max() + reach
        low, high = (optimize.brentq(missing, *bounds, (share,), 1e-12) for share in MIDDLE)
        return float(low), float(high)


def read_effects(tables: Path, predictor: str) -> pl.DataFrame:
    """The held-out effects that ``evaluate`` writes into metrics/tables, with the scales of their cells and what a
    predictor ``predicted``. Raises :class:`DataError` for a table, a column or a value that cannot be used."""
    numbers = [pl.col(name).cast(pl.Float64) for name in ("human", "human_se", "respondents", predictor)]
    wanted: dict[str, list[Any]] = {"cells.csv": [*CELL, "scale"], "effects.csv": [*CELL, *numbers]}
    read = []
    for name, columns in wanted.items():
        path = tables / name
        try:
            table = pl.read_csv(path, schema_overrides={"study_id": pl.String}, infer_schema_length=None)
            read.append(table.select(columns))
        except FileNotFoundError:
            unknown = "without held-out studies the model's error is unknown"
            raise DataError(f"{path}: not found; run dvc repro: {unknown}") from None
        except pl.exceptions.PolarsError as error:
            told = " ".join(str(error).split())[:200]
            raise DataError(f"{path}: {told}; run dvc repro evaluate") from None
    cells, effects = read[0], read[1].rename({predictor: "predicted"})
    people, se = pl.col("respondents"), pl.col("human_se")
    wrong = {
        "stands twice": pl.struct(CELL).is_duplicated(),
        "has an effect that no scale allows": (pl.col("human").abs() > 1) | (pl.col("predicted").abs() > 1),
        "has no number of respondents, or an error below 0": (people < 1) | (se < 0) | se.is_nan(),
    }
    for text, where in wrong.items():
        if not (found := effects.filter(where)).is_empty():
            first = found.select(CELL).row(0, named=True)
            cell = ", ".join(f"{name} {value}" for name, value in first.items())
            raise DataError(f"{tables / 'effects.csv'}: {cell} {text}; run dvc repro evaluate")
    values = ("scale", "human", "human_se", "respondents", "predicted")
    return effects.join(cells, on=CELL).select(*CELL, *values).drop_nulls()


class HeldOut(NamedTuple):
    """Comparable rows of a table of effects, by study: indices of study, question and condition, predicted and human
    effects centred within their question, and the sampling variance of the latter."""

    study: Ints
    question: Ints
    condition: Ints
    x: Floats
    y: Floats
    noise: Floats


# Weights (or log likelihoods), slope and its variance on the grid [tau, sigma and rho, 1], or [..., S] where each study
# in turn is left out.
Posterior = tuple[Floats, Floats, Floats]


def held_out(effects: pl.DataFrame) -> HeldOut:
    """The rows of ``effects`` whose question has two or more conditions. Human means come with their sampling variance,
    the spread of answers shrunk to the mean of all cells: the variance of six answers is itself known within 60 %, and
    as it stands would make the weights of a cell and the error that is left beside it (empirical Bayes by moments, as
    Smyth 2004)."""
    table = (
        effects.lazy()
        .filter(pl.len().over(QUESTION) >= 2)
        .with_columns(pl.col(name) - pl.col(name).mean().over(QUESTION) for name in ("human", "predicted"))
        .sort(*QUESTION, "condition_num")
        .with_columns(study=pl.col("study_id").rle_id(), question=pl.struct(QUESTION).rle_id())
        .collect()
    )
    n = table["respondents"].to_numpy().astype(np.float64)
    spread = table["human_se"].to_numpy() ** 2 * n
    mean = max(float(spread.mean()), 1e-6)
    chance = float((2 * mean**2 / np.maximum(n - 1, 1)).mean())
    real = max(float(spread.var()) - chance, 0.0)
    noise = (mean + real / (real + chance) * (spread - mean)) / n
    names = ("study", "question", "condition_num", "predicted", "human")
    columns: list[Any] = [*(table[name].to_numpy() for name in names), noise]
    return HeldOut(*columns)


def study_fits(of: HeldOut) -> Floats:
    """[5, G, S] each study's part of the likelihood at every sigma and rho (G points). With y the study's contrasts, x
    their predictions and W the inverse of their covariance without tau: x'Wx, x'Wy, y'Wy, the log determinant of the
    covariance, Fisher's information of sigma^2."""
    parts = []
    ends = np.flatnonzero(np.diff(of.study)) + 1
    studies: Any = zip(*(np.split(values, ends) for values in of), strict=True)
    for study in studies:
        of = HeldOut(*study)
        member = (of.question[:, None] == np.unique(of.question)).astype(np.float64)
        contrasts = np.linalg.svd(member)[0][:, member.shape[1] :]  # an orthonormal basis of them
        shared = contrasts.T @ (of.condition[:, None] == of.condition) @ contrasts
        error = (1 - RHO[:, None, None]) * np.eye(len(shared)) + RHO[:, None, None] * shared
        # on axes [rho, m] on which errors have unit variance and noise is independent, for all sigma at once
        root = np.linalg.inv(np.linalg.cholesky(error)) @ contrasts.T
        noise, axes = np.linalg.eigh(root * of.noise @ root.transpose(0, 2, 1))
        x, y = (np.einsum("rji,rj->ri", axes, root @ values) for values in (of.x, of.y))
        variance = noise + SIGMA[:, None, None] ** 2
        logdet = np.linalg.slogdet(error)[1] + np.log(variance).sum(axis=-1)
        sums = [(part / variance).sum(axis=-1) for part in (x * x, x * y, y * y)]
        parts.append([part.ravel() for part in (*sums, logdet, (variance**-2).sum(axis=-1) / 2)])
    return np.stack([np.stack(part) for part in parts], axis=-1)


def restricted_likelihood(fits: Floats, leave_one_out: bool = False) -> Posterior:
    """Log likelihoods of the grid, levels and slope integrated out, as REML does. A slope that differs by study adds
    tau^2 x x' to its covariance, of which determinant and inverse follow from x'Wx (Sherman and Morrison)."""
    a, b, c, logdet, _ = fits
    tau = TAU[:, None, None]
    shrunk = 1 + tau**2 * a  # [T, G, S]
    twice = logdet + np.log(shrunk) + c - tau**2 * b**2 / shrunk
    xx, xy, rest = (_total(part, leave_one_out) for part in (a / shrunk, b / shrunk, twice))
    return -(rest + np.log(xx) - xy**2 / xx) / 2, xy / xx, 1 / xx


def _total(parts: Floats, leave_one_out: bool) -> Floats:
    """[..., 1] sums over studies, or [..., S] those without each."""
    whole = parts.sum(axis=-1, keepdims=True)
    return whole - parts if leave_one_out else whole


def posterior(fits: Floats, leave_one_out: bool = False) -> Posterior:
    logs, slope, variance = restricted_likelihood(fits, leave_one_out)
    differ = stats.norm.pdf(TAU / TAU_SCALE) * np.gradient(TAU)
    logs = logs + np.log(SAME * (TAU == 0) + (1 - SAME) * differ / differ.sum())[:, None, None]
    # the spacing of the sigmas is as wide as they are large: once more in the prior
    sigma = np.repeat(SIGMA, len(RHO))[:, None]
    logs = logs + np.log(sigma**2 * np.sqrt(_total(fits[4], leave_one_out)))
    weight = np.exp(logs - logs.max(axis=(0, 1)))
    return weight / weight.sum(axis=(0, 1)), slope, variance


def fit_errors(effects: pl.DataFrame) -> ErrorModel:
    """The error of a model on held-out studies: ``effects`` as from :func:`read_effects`, of any origin in a question.
    Raises :class:`Unidentified` for too few studies or people, and predictions that do not differ by condition."""
    of = held_out(effects)
    count = len(np.unique(of.study))
    if count < FEWEST_STUDIES:
        have = f"{count} held-out {'study has' if count == 1 else 'studies have'} two or more conditions to compare"
        again = f"train again with split.test_studies={FEWEST_STUDIES} or more (docs/own-data.md)"
        raise Unidentified(f"{have}, and {FEWEST_STUDIES} or more are needed: {again}")
    people = float(np.median(effects["respondents"].to_numpy()))
    if people < FEWEST_PEOPLE:
        have = f"the median condition of the held-out studies has {people:g} people"
        again = "raise split.test_max_per_cell, or hold out studies with more people"
        raise Unidentified(f"{have}, and {FEWEST_PEOPLE} or more are needed: {again}")
    if not of.x @ of.x > 1e-9:
        raise Unidentified("the model predicts no effect in any held-out study")
    # Noise may hide an error as large as the effects. Design decides (people, cells, studies), not the error that they
    # happen to show, which may be large by luck: without any, sigma^2 errs by 1 over the root of its information.
    fits = study_fits(of)
    tellable = np.sqrt(TELLABLE / np.sqrt(fits[4, 0].sum()))
    predicted = float(np.sqrt(of.x @ of.x / (len(of.x) - len(np.unique(of.question)))))
    if tellable > predicted:
        raise Unidentified(
            f"{count} held-out studies, in which a condition's mean has a standard error of "
            f"{np.sqrt(np.median(of.noise)):.3f} of the scale, tell the model's error from none where its standard "
            f"deviation is {tellable:.3f} or more, and the predicted effects have {predicted:.3f}: more held-out "
            "studies, or more people in them, are needed"
        )
    weight, slope, variance = (part[..., 0] for part in posterior(fits))
    checks = study_checks(of, fits)
    kept = weight > NEGLIGIBLE * weight.max()
    sigma, rho = np.repeat(SIGMA, len(RHO)), np.tile(RHO, len(SIGMA))
    tau, sigma, rho = (np.broadcast_to(part, weight.shape)[kept] for part in (TAU[:, None], sigma, rho))
    return ErrorModel(
        weight[kept] / weight[kept].sum(), slope[kept], variance[kept], tau, sigma, rho,
        studies=count, contrasts=len(checks.x), covered=self_check(checks),
        skill=_skill(checks), largest=float(np.abs(checks.x).max()),
    )  # fmt: skip


class Checks(NamedTuple):
    """[P] pairs of conditions: study, predicted and human contrast, people's noise in it, and of the forecast by the
    other studies the centre, the variance, and the part of that which the slope's uncertainty alone would give."""

    study: Ints
    x: Floats
    y: Floats
    noise: Floats
    centre: Floats
    variance: Floats
    of_slope: Floats


def study_checks(of: HeldOut, fits: Floats) -> Checks:
    """Each pair of conditions of a question, as the other studies forecast it."""
    weight, slopes, variance = posterior(fits, leave_one_out=True)
    slope = (weight * slopes).sum(axis=(0, 1))  # [S], as all below
    slope_variance = (weight * (variance + (slopes - slope) ** 2)).sum(axis=(0, 1))
    tau2 = TAU**2 @ weight.sum(axis=1)
    error = 2 * np.repeat(SIGMA, len(RHO)) ** 2 @ weight.sum(axis=0)
    left, right = np.nonzero(np.triu(of.question[:, None] == of.question, 1))
    s, x, y = of.study[left], of.x[right] - of.x[left], of.y[right] - of.y[left]
    of_slope = slope_variance[s] * x**2
    whole = of_slope + tau2[s] * x**2 + error[s]
    return Checks(s, x, y, of.noise[left] + of.noise[right], slope[s] * x, whole, of_slope)


def self_check(checks: Checks) -> float:
    """The share of people's effects, their noise taken out, that lie inside 90 % intervals made from other studies.
    Squared errors less their noise, over the variances that the intervals are made of, say by which factor those are
    wrong; a normal distribution gives the share."""
    weight = (checks.variance + checks.noise) ** -2
    factor = (weight @ ((checks.y - checks.centre) ** 2 - checks.noise)) / (weight @ checks.variance)
    reach = stats.norm.ppf(MIDDLE[1])
    return float(2 * special.ndtr(reach / np.sqrt(factor)) - 1) if factor > 0 else 1.0


def _skill(checks: Checks) -> tuple[float, float, float]:
    """Skill over no effect with its 90 % interval, leaving out one study at a time."""
    errors = (checks.y - checks.centre) ** 2 - checks.noise, checks.y**2 - checks.noise
    sums = np.array([np.bincount(checks.study, part) for part in errors])  # [2, S]
    skill, without = (1 - of / total for of, total in (sums.sum(axis=1), sums.sum(axis=1)[:, None] - sums))
    n = sums.shape[1]
    error = np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum())
    reach = float(stats.t.ppf(MIDDLE[1], n - 1) * error)
    return float(skill), float(skill) - reach, float(skill) + reach

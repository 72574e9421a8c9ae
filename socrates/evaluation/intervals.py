"""How far a figure could move with other studies: confidence intervals, differences, p-values.

The unit of generalisation is the study. A headline is a mean over studies, and its estimand is the
expectation of that mean over the population the studies were drawn from, *at this design*: W between
finite samples is biased upwards, the bias belongs to the figure, and an interval is right if it
covers the mean that endlessly many such studies would give.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from socrates.evaluation.cells import Floats

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over studies with its uncertainty; fields are None where they are not defined.

    Attributes:
        value: the mean over the studies that have a value.
        low, high: ends of the 95 % interval.
        standard_error: of the mean, over studies.
        p: two-sided, that the mean is 0 (used for differences).
        studies: how many entered.
    """

    value: float | None
    low: float | None
    high: float | None
    standard_error: float | None
    p: float | None
    studies: int

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of zero, otherwise 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def mean_interval(values: Floats, draws: int, rng: np.random.Generator) -> Interval:
    """The mean of per-study values with a 95 % interval over studies.

    Two intervals are made, and each end is the farther of theirs. Student's t is right for symmetric
    values and misses too often when a few studies are much worse than the rest. The bootstrap-t
    (studies drawn with replacement, each resample's mean studentised by its own standard error, and
    the quantiles of that t used in place of Student's; Efron 1979, Hall 1988) follows the skew and
    finds too many differences between equal predictors. Together they cover 94 to 97 %
    (``docs/measurement.md`` has the table, and that of the alternatives).

    Resampling studies already carries the noise of the respondents within them, because a study's
    value contains it; resampling respondents on top would count that noise twice.

    Args:
        values: [S] one per study; NaN marks a study without a scorable cell.
        draws: resamples; 0 uses Student's t alone.
    """
    x = values[~np.isnan(values)]
    n = len(x)
    if n == 0:
        return Interval(None, None, None, None, None, 0)
    value = float(x.mean())
    if n == 1:
        return Interval(value, None, None, None, None, 1)
    error = float(x.std(ddof=1) / np.sqrt(n))
    if error < 1e-12:
        return Interval(value, value, value, 0.0, 1.0 if abs(value) < 1e-12 else 0.0, n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    low, high = value - half, value + half
    p = float(2 * stats.t.sf(abs(value) / error, n - 1))
    if draws:
        t = _studentised(x, draws, rng)
        lower, upper = np.quantile(t, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = min(low, value - float(upper) * error), max(high, value - float(lower) * error)
        tail = min((t >= value / error).sum(), (t <= value / error).sum())
        p = max(p, min(2 * (int(tail) + 1) / (draws + 1), 1.0))
    return Interval(value, low, high, error, p, n)


def _studentised(x: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """[draws] how many of its own standard errors each resample's mean is from the mean of x.

    A resample of one study n times over has no standard error; its mean is at that study, so it is
    left out, as 1 of n^(n-1) resamples.
    """
    again = x[rng.integers(len(x), size=(draws, len(x)))]
    error = again.std(axis=1, ddof=1) / np.sqrt(len(x))
    spread = error > 1e-12
    if not spread.any():
        return np.zeros(1)
    return (again.mean(axis=1) - x.mean())[spread] / error[spread]


def jackknife_interval(
    statistic: Callable[[Floats], float],
    sums: Floats,
    forward: Callable[[Floats], Floats] = lambda x: x,
    back: Callable[[float], float] = lambda x: x,
) -> Interval:
    """A statistic of pooled sums with an interval from leaving out one study at a time.

    Args:
        statistic: from [M] sums over studies to the figure (Pearson's r of summed moments, say);
            NaN where it is not defined.
        sums: [S, M] each study's part.
        forward, back: to a scale on which the figure is nearer to normal, and back again
            (:func:`fisher` and tanh for correlations).
    """
    n, total = len(sums), sums.sum(axis=0)
    value = statistic(total)
    if not np.isfinite(value):
        return Interval(None, None, None, None, None, n)
    left_out = np.array([statistic(total - part) for part in sums])
    if n < 3 or not np.isfinite(left_out).all():
        return Interval(float(value), None, None, None, None, n)
    moved = forward(left_out)
    error = float(np.sqrt((n - 1) / n * ((moved - moved.mean()) ** 2).sum()))
    centre = float(forward(np.array(value)))
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error
    p = float(2 * stats.t.sf(abs(centre) / error, n - 1)) if error > 0 else None
    return Interval(float(value), float(back(centre - half)), float(back(centre + half)), error, p, n)


def fisher(r: Floats) -> Floats:
    """Fisher's z of a correlation, finite at 1."""
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))


def correlation(sums: Floats) -> float:
    """Pearson's r of the sums n, x, y, xy, xx, yy; NaN where x or y does not vary."""
    n, x, y, xy, xx, yy = sums
    within = (n * xx - x * x) * (n * yy - y * y)
    return float((n * xy - x * y) / np.sqrt(within)) if n > 0 and within > 1e-12 * n**4 else float("nan")


def moments(x: Floats, y: Floats, group: np.ndarray, groups: int) -> Floats:
    """[groups, 6] the sums that :func:`correlation` takes, one row per group."""
    parts = (np.ones_like(x), x, y, x * y, x * x, y * y)
    return np.stack([np.bincount(group, part, groups) for part in parts], axis=1)


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends on what it is for, and not on what ran before it."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])

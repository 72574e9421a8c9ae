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
from numpy.typing import NDArray
from scipy import stats

from socrates.evaluation.cells import Floats, Ints

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
BOOTSTRAP_TAIL = 0.02  # outside a bootstrap-t on either side, see interval()
STILL = 1e-12  # below it a standard error is rounding noise
ALL_SUBSETS = 12  # studies up to which every subset is taken, and not a sample of them
FEWEST = 4  # studies for a bootstrap: two or three drawn with replacement are seldom different ones
PART = 4_000_000  # numbers held at a time while resampling


@dataclass(frozen=True)
class Interval:
    """A figure with its uncertainty; fields are None where they are not defined.

    Attributes:
        value: the figure, over the studies that have a value.
        low, high: ends of the 95 % interval.
        standard_error: over studies, on the scale that the interval was made on.
        p: two-sided, that the figure is 0 (used for differences).
        studies: how many entered.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    p: float | None = None
    studies: int = 0

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of zero, otherwise 0."""
        if self.low is None or self.high is None:
            return 0
        return int(self.low > 0) - int(self.high < 0)


def _same(x: Floats) -> Floats:
    return x


@dataclass(frozen=True)
class Pooled:
    """A figure that is a function of sums over studies: a mean, a ratio, a correlation.

    Attributes:
        statistic: from [..., M] sums to [...]; NaN where it is not defined.
        sums: [S, M] each study's part.
        again: [S, R, M] each study's part with its respondents resampled; None where that is not known.
        forward, back: to a scale on which the figure is nearer to normal, and back again
            (:func:`fisher` and tanh for correlations).
    """

    statistic: Callable[[Floats], Floats]
    sums: Floats
    again: NDArray[np.floating] | None = None
    forward: Callable[[Floats], Floats] = _same
    back: Callable[[Floats], Floats] = _same

    def minus(self, other: Pooled) -> Pooled:
        """The difference of two figures on the same studies."""
        width = self.sums.shape[1]
        again = (
            None
            if self.again is None or other.again is None
            else np.concatenate([self.again, other.again], axis=2)
        )
        return Pooled(
            lambda t: self.statistic(t[..., :width]) - other.statistic(t[..., width:]),
            np.hstack([self.sums, other.sums]),
            again,
        )


def mean_of(values: Floats, again: NDArray[np.floating] | None = None) -> Pooled:
    """The mean of per-study values, as a figure of the studies that have one.

    Args:
        values: [S]; NaN marks a study without a scorable cell.
        again: [S, R] the values with each study's respondents resampled.
    """
    known = ~np.isnan(values)
    return Pooled(
        share,
        np.stack([values[known], np.ones(known.sum())], axis=-1),
        None if again is None else np.stack([again[known], np.ones_like(again[known])], axis=-1),
    )


@np.errstate(divide="ignore", invalid="ignore")  # a logarithm of 0 is not finite, and dealt with
def interval(figure: Pooled, draws: int, rng: np.random.Generator) -> Interval:
    """A figure with a 95 % interval over studies and, within them, over respondents.

    Two intervals are made, and each end is the farther of theirs. Student's t with the standard error
    of leaving out one study at a time (for a mean, the usual one) is right for symmetric values and
    misses too often when a few studies are much worse than the rest. The bootstrap-t (Efron 1979, Hall
    1988) follows the skew: studies are drawn with replacement and each drawn study comes with a
    resample of its respondents; each resample's figure is studentised by its own standard error, and
    the quantiles of that t take the place of Student's. Studies know too little of the tails they came
    from, so that quantiles at 2.5 % would miss too often: those at 2 % are taken, which simulation calibrated
    (Loh 1987). ``docs/measurement.md`` has the coverage, and that of the alternatives.

    Studentising is what makes two levels sound. A study's value already contains the noise of its
    respondents; resampling them adds that noise once more, to the numerator and to the denominator of t
    alike. Percentiles of the resampled figures would count it twice, and would be shifted, since a
    resample is farther from any prediction than the sample was: t is taken from the resamples' centre.

    Args:
        draws: resamples; with 0, or with fewer than ``FEWEST`` studies, Student's t is used alone.
    """
    n = len(figure.sums)
    if n == 0:
        return Interval(None)
    total = figure.sums.sum(axis=0)
    value = float(figure.statistic(total))
    if not np.isfinite(value):
        return Interval(None, studies=n)
    left_out = figure.forward(figure.statistic(total - figure.sums)) if n > 1 else np.array([np.nan])
    if not np.isfinite(left_out).all():
        return Interval(value, studies=n)
    error = float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))
    if error < STILL:
        return Interval(value, value, value, 0.0, 1.0 if abs(value) < STILL else 0.0, n)
    centre = float(figure.forward(np.array(value)))
    lower, upper = stats.t.ppf(TAILS, n - 1)
    p = float(2 * stats.t.sf(abs(centre) / error, n - 1))
    if draws and n >= FEWEST:
        t = _studentised(figure, draws, rng)
        if len(t):
            lower = np.minimum(lower, np.quantile(t, BOOTSTRAP_TAIL))
            upper = np.maximum(upper, np.quantile(t, 1 - BOOTSTRAP_TAIL))
            tail = min((t >= centre / error).sum(), (t <= centre / error).sum())
            p = max(p, min(2 * (int(tail) + 1) / (len(t) + 1), 1.0))
    ends = figure.back(np.array([centre - upper * error, centre - lower * error]))
    return Interval(value, float(ends[0]), float(ends[1]), error, p, n)


def _studentised(figure: Pooled, draws: int, rng: np.random.Generator) -> Floats:
    """How many of its own standard errors each resample's figure is from the centre of all.

    A resample whose figure or standard error is not defined (one study n times over has none) is left
    out; none are given if that is most of them.
    """
    again = figure.sums[:, None] if figure.again is None else figure.again
    n, kept, width = again.shape
    centre = figure.forward(figure.statistic(again.mean(axis=1, dtype=np.float64).sum(axis=0)))
    found = []
    size = max(1, PART // (n * width))
    for start in range(0, draws, size):
        chosen = rng.integers(n, size=(min(size, draws - start), n))
        parts = again[chosen, rng.integers(kept, size=chosen.shape)].astype(np.float64)
        totals = parts.sum(axis=1)
        left_out = figure.forward(figure.statistic(totals[:, None] - parts))
        error = np.sqrt((n - 1) / n * ((left_out - left_out.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
        moved = figure.forward(figure.statistic(totals)) - centre
        sound = np.isfinite(moved) & (error > STILL)  # false for an error that is NaN, too
        found.append(moved[sound] / error[sound])
    t = np.concatenate(found)
    return t if len(t) > draws / 2 else t[:0]


def difference_interval(values: Floats, draws: int, rng: np.random.Generator) -> Interval:
    """The mean of paired differences by study, with the interval of shifts that a sign-flip test allows.

    If two predictors are equally good, it is a coin's throw which of them is ahead in a study, so that
    every flipping of signs of the differences was equally likely: the test is exact for any number of
    studies, whatever their distribution. It rejects a shift exactly if too few means of subsets of the
    studies lie beyond it (Hartigan 1969, typical values), so that the interval is a pair of quantiles of
    such means, and excludes zero if and only if p is at most 0.05. All subsets are taken up to 12 studies,
    beyond that ``draws`` at random. With five studies or fewer no outcome is that unlikely, and Student's
    t is used.

    Args:
        values: [S] first minus second; NaN marks a study that one of them has no value for.
    """
    x = values[~np.isnan(values)]
    n = len(x)
    plain = interval(mean_of(x), 0, rng)
    subsets = 2**n if n <= ALL_SUBSETS else draws + 1
    cut = int(TAILS[0] * subsets + 1e-9)
    if plain.low == plain.high or cut < 1:
        return plain
    if n <= ALL_SUBSETS:
        members = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1
    else:
        members = rng.integers(0, 2, size=(draws, n))
        members[members.sum(axis=1) == 0] = 1
    means = np.sort(members @ x / members.sum(axis=1))
    tail = min((means <= 0).sum(), (means >= 0).sum())
    p = min(2 * (int(tail) + 1) / subsets, 1.0)
    return Interval(plain.value, float(means[cut - 1]), float(means[-cut]), plain.standard_error, p, n)


def quantile_intervals(
    values: Floats, study: Ints, percents: tuple[float, ...], draws: int, rng: np.random.Generator
) -> list[Interval]:
    """Quantiles over cells, each with the percentile interval of a bootstrap over the cells' studies.

    The percentiles are moved outwards as far as Student's t lies beyond the normal (Hesterberg 2015,
    section 5.3), without which intervals from few studies are too short. A quantile has no usable
    standard error from leaving out studies, so that it cannot be studentised.

    Args:
        values: [C]; a NaN is left out.
        study: [C] index of each cell's study.
    """
    known = ~np.isnan(values)
    order = np.argsort(values[known], kind="stable")
    x, (names, member) = values[known][order], np.unique(study[known][order], return_inverse=True)
    n = len(names)
    if not n:
        return [Interval(None) for _ in percents]
    found = [float(np.percentile(x, percent)) for percent in percents]
    if n < 2 or not draws:
        return [Interval(value, studies=n) for value in found]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, member]
    reached = np.cumsum(weights, axis=1)
    tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(TAILS[0], n - 1)))
    intervals = []
    for percent, value in zip(percents, found, strict=True):
        low, high = np.quantile(percentiles(x, reached, percent), [tail, 1 - tail])
        intervals.append(Interval(value, min(float(low), value), max(float(high), value), None, None, n))
    return intervals


def percentiles(x: Floats, reached: Ints, percent: float) -> Floats:
    """[R] numpy's percentile of sorted ``x`` [C], of which ``reached`` [R, C] counts how many are taken so far."""
    place = percent / 100 * (reached[:, -1:] - 1)
    below, above = (x[(reached <= rank).sum(axis=1)] for rank in (np.floor(place), np.ceil(place)))
    return below + (place - np.floor(place))[:, 0] * (above - below)


def share(sums: Floats) -> Floats:
    """The first sum over the second; NaN where that is 0."""
    top, bottom = sums[..., 0], sums[..., 1]
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > STILL)


def root_share(sums: Floats) -> Floats:
    """The square root of :func:`share`."""
    return np.sqrt(share(sums))


def angle(p: Floats) -> Floats:
    """The arc sine of the root of a share, whose spread does not depend on the share."""
    return np.arcsin(np.sqrt(p))


def angle_back(a: Floats) -> Floats:
    """The share of an :func:`angle`."""
    return np.sin(np.clip(a, 0, np.pi / 2)) ** 2


def fisher(r: Floats) -> Floats:
    """Fisher's z of a correlation, finite at 1."""
    return np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))


def correlation(sums: Floats) -> Floats:
    """[...] Pearson's r of [..., 6] sums n, x, y, xy, xx, yy; NaN where x or y does not vary."""
    n, x, y, xy, xx, yy = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    within = (n * xx - x * x) * (n * yy - y * y)
    varies = (n > 0) & (within > 1e-12 * n**4)
    return np.divide(
        n * xy - x * y, np.sqrt(np.where(varies, within, 1)), out=np.full(np.shape(n), np.nan), where=varies
    )


def moments(x: Floats, y: Floats, group: np.ndarray, groups: int) -> Floats:
    """[groups, 6] the sums that :func:`correlation` takes, one row per group."""
    parts = (np.ones_like(x), x, y, x * y, x * x, y * y)
    return np.stack([np.bincount(group, part, groups) for part in parts], axis=1)


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends on what it is for, and not on what ran before it."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])

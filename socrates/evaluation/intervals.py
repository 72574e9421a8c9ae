"""How far a figure could move with other studies: confidence intervals, differences, p-values.

The unit of generalisation is the study; docs/measurement.md says what is estimated, and how often intervals hold it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from socrates.evaluation.distance import Floats, Ints, ratio

LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
BOOTSTRAP_TAIL = 0.02  # outside a bootstrap-t on either side, see confidence_interval()
STILL = 1e-12  # below it a standard error is rounding noise
ALL_SUBSETS = 12  # studies up to which every subset is taken, and not a sample of them
FOR_A_RESULT = 6  # studies below which no flipping of signs is unlikely enough to call predictors different
FEWEST = 4  # studies for a bootstrap: two or three drawn with replacement are seldom different ones
HELD = 4_000_000  # numbers held at a time while resampling


@dataclass(frozen=True)
class Estimate:
    """A figure with its uncertainty; None where it is not defined."""

    value: float | None = None  # over the studies that have one
    low: float | None = None  # the ends of the 95 % interval
    high: float | None = None
    p: float | None = None  # two-sided, that the figure is 0 (of differences)

    @property
    def bounded(self) -> bool:
        return self.low is not None and self.high is not None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of zero, otherwise 0."""
        return int((self.low or 0) > 0) - int((self.high or 0) < 0)


Function = Callable[[Floats], Floats]
# To a scale on which a figure is nearer to normal, and back again.
Transform = tuple[Function, Function]
PLAIN: Transform = (lambda x: x, lambda x: x)
LOGARITHM: Transform = (np.log, np.exp)
# Fisher's z of a correlation, finite at 1; the arc sine of the root of a share, whose spread does not depend on it.
FISHER: Transform = (lambda r: np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9)), np.tanh)
ANGLE: Transform = (lambda p: np.arcsin(np.sqrt(p)), lambda a: np.sin(np.clip(a, 0, np.pi / 2)) ** 2)


@dataclass(frozen=True)
class StudyStatistic:
    """A figure that is a function of sums over studies: a mean, a ratio, a correlation."""

    statistic: Function  # from [..., M] sums to [...]; NaN where it is not defined
    sums: Floats  # [S, M] each study's part
    transform: Transform = PLAIN

    @property
    def value(self) -> float:
        return float(self.statistic(self.sums.sum(axis=0)))

    def scaled(self, sums: Floats) -> Floats:
        """[...] the figure of [..., M] sums, on the scale of its interval."""
        return self.transform[0](self.statistic(sums))

    def minus(self, other: StudyStatistic) -> StudyStatistic:
        """The difference of two figures on the same studies."""
        width = self.sums.shape[1]
        sums = np.hstack([self.sums, other.sums])
        return StudyStatistic(
            lambda t: self.statistic(t[..., :width]) - other.statistic(t[..., width:]), sums
        )


def study_mean(values: Floats) -> StudyStatistic:
    """The mean of per-study values [S], over the studies that have one (are not NaN)."""
    known = values[~np.isnan(values)]
    return StudyStatistic(share, np.stack([known, np.ones(len(known))], axis=-1))


@np.errstate(divide="ignore", invalid="ignore")  # a logarithm of 0 is not finite, and dealt with
def confidence_interval(figure: StudyStatistic, draws: int, rng: np.random.Generator) -> Estimate:
    """A figure with a 95 % interval over studies.

    Each end is the farther of two intervals' ends. Student's t with the standard error of leaving out one study at a
    time is right for symmetric values. The bootstrap-t (Efron 1979, Hall 1988) follows the skew of a few studies that
    are much worse: studies are drawn with replacement, each replicate's figure is studentised by its own standard
    error, and quantiles of that t, at 2 % as simulation calibrated (Loh 1987), take the place of Student's. A study's
    value contains the noise of its respondents, so that they are not resampled again.

    With 0 ``draws`` (replicates), or fewer than ``FEWEST`` studies, Student's t is used alone.
    """
    n, total = len(figure.sums), figure.sums.sum(axis=0)
    value = float(figure.statistic(total))
    if n == 0 or not np.isfinite(value):
        return Estimate()
    left_out = figure.scaled(total - figure.sums)
    if n == 1 or not np.isfinite(left_out).all():
        return Estimate(value)
    error = float(_jackknife_error(left_out))
    if error < STILL:
        return Estimate(value, value, value, 1.0 if abs(value) < STILL else 0.0)
    centre = float(figure.scaled(total))
    lower, upper = stats.t.ppf(TAILS, n - 1)
    p = float(2 * stats.t.sf(abs(centre) / error, n - 1))
    if draws and n >= FEWEST:
        t = _studentised(figure, draws, rng)
        if len(t):
            lower = np.minimum(lower, np.quantile(t, BOOTSTRAP_TAIL))
            upper = np.maximum(upper, np.quantile(t, 1 - BOOTSTRAP_TAIL))
            tail = min((t >= centre / error).sum(), (t <= centre / error).sum())
            p = max(p, min(2 * (int(tail) + 1) / (len(t) + 1), 1.0))
    with np.errstate(over="ignore"):
        ends = figure.transform[1](np.array([centre - upper * error, centre - lower * error]))
    if not np.isfinite(ends).all():  # the exponential of a huge logarithm: an end that bounds nothing
        return Estimate(value)
    return Estimate(value, float(ends[0]), float(ends[1]), p)


def _jackknife_error(left_out: Floats) -> Floats:
    """[...] standard error from the figures [..., S] that leave out one study each."""
    n = left_out.shape[-1]
    return np.sqrt((n - 1) / n * ((left_out - left_out.mean(axis=-1, keepdims=True)) ** 2).sum(axis=-1))


def _studentised(figure: StudyStatistic, draws: int, rng: np.random.Generator) -> Floats:
    """How many of its own standard errors each bootstrap replicate is from the figure.

    A replicate without figure or standard error (one study n times over) is left out; none are given if most are.
    """
    n, centre, kept = len(figure.sums), figure.scaled(figure.sums.sum(axis=0)), []
    size = max(1, HELD // figure.sums.size)
    for start in range(0, draws, size):
        parts = figure.sums[rng.integers(n, size=(min(size, draws - start), n))]
        totals = parts.sum(axis=1)
        error = _jackknife_error(figure.scaled(totals[:, None] - parts))
        moved = figure.scaled(totals) - centre
        sound = np.isfinite(moved) & (error > STILL)  # false for an error that is NaN, too
        kept.append(moved[sound] / error[sound])
    t = np.concatenate(kept)
    return t if len(t) > draws / 2 else t[:0]


def sign_flip_interval(values: Floats, draws: int, rng: np.random.Generator) -> Estimate:
    """The mean of paired differences by study, with the interval of shifts that a sign-flip test allows.

    Where the differences are symmetric around their mean, every flipping of their signs is equally likely if that
    mean is 0: the test is exact then. Of skewed differences it rejects too many (``docs/measurement.md``). It rejects
    a shift exactly if too few means of subsets of the studies lie beyond it (Hartigan 1969, typical values), so that
    the interval is a pair of quantiles of such means. All subsets are taken up to 12 studies, beyond that ``draws``
    at random. With five studies or fewer no outcome is unlikely enough, and Student's t is used.

    ``values`` [S] are first minus second; NaN marks a study that one of them has no value for.
    """
    x = values[~np.isnan(values)]
    n = len(x)
    plain = confidence_interval(study_mean(x), 0, rng)
    subsets = 2**n if n <= ALL_SUBSETS else draws + 1
    cut = int(TAILS[0] * subsets + 1e-9)
    if plain.low == plain.high or cut < 1:
        return plain
    if n <= ALL_SUBSETS:
        members = np.arange(1, 2**n)[:, None] >> np.arange(n) & 1
    else:
        members = rng.integers(0, 2, size=(draws, n))
        members[members.sum(axis=1) == 0] = 1
    means = np.sort((members * x).sum(axis=1) / members.sum(axis=1))  # a matrix product differs by CPU
    tail = int(min((means <= 0).sum(), (means >= 0).sum()))
    p = min(2 * (tail + 1) / subsets, 1.0)
    return Estimate(plain.value, float(means[cut - 1]), float(means[-cut]), p)


def least_p(studies: int, draws: int) -> float:
    """The least p that :func:`sign_flip_interval` can give; 0 where it falls back on Student's t."""
    subsets = 2**studies if studies <= ALL_SUBSETS else draws + 1
    return 2 / subsets if int(TAILS[0] * subsets + 1e-9) >= 1 else 0.0


def median_interval(values: Floats, study: Ints, draws: int, rng: np.random.Generator) -> Estimate:
    """The median of values [C] (a NaN is left out), with the percentile interval of a bootstrap over studies.

    The percentiles are moved outwards as far as Student's t lies beyond the normal (Hesterberg 2015, section 5.3),
    without which intervals from few studies are too short. A median has no usable standard error from leaving out
    studies, so that it cannot be studentised. ``study`` [C] is the index of each's.
    """
    known = ~np.isnan(values)
    x, (names, member) = values[known], np.unique(study[known], return_inverse=True)
    n = len(names)
    if not n:
        return Estimate()
    value = float(np.median(x))
    if n < 2 or not draws:
        return Estimate(value)
    times = rng.multinomial(n, np.full(n, 1 / n), size=draws)[:, member]
    tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(TAILS[0], n - 1)))
    low, high = np.quantile([np.median(np.repeat(x, drawn)) for drawn in times], [tail, 1 - tail])
    return Estimate(value, min(float(low), value), max(float(high), value))


def share(sums: Floats) -> Floats:
    """The first sum over the second; NaN where that is 0."""
    return ratio(sums[..., 0], sums[..., 1])


def correlation(sums: Floats) -> Floats:
    """[...] Pearson's r of [..., 6] sums n, x, y, xy, xx, yy; NaN where x or y does not vary."""
    n, x, y, xy, xx, yy = np.moveaxis(sums, -1, 0)
    within = (n * xx - x * x) * (n * yy - y * y)
    varies = (n > 0) & (within > 1e-12 * n**4)
    return np.where(varies, (n * xy - x * y) / np.sqrt(np.where(varies, within, 1)), np.nan)


def sums_by(index: Ints, groups: int, *values: NDArray[np.floating]) -> Floats:
    """[groups, V] sums of V values by group; ``index`` says which group each belongs to."""
    return np.stack([np.bincount(index, part, groups) for part in values], axis=-1).astype(np.float64)


def means_by(index: Ints, values: NDArray[np.floating]) -> Floats:
    """[groups] mean of values by group."""
    return np.bincount(index, values) / np.bincount(index)


def centred(index: Ints, values: NDArray[np.floating]) -> Floats:
    """Values minus the mean of their group."""
    return values - means_by(index, values)[index]


def moments(x: Floats, y: Floats, index: Ints, groups: int) -> Floats:
    """[groups, 6] the sums that :func:`correlation` takes, one row per group."""
    return sums_by(index, groups, np.ones_like(x), x, y, x * y, x * x, y * y)


def generator(seed: int, *names: str) -> np.random.Generator:
    """A random generator that depends on what it is for, and not on what ran before it."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])

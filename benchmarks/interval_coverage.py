"""Do the 95 % intervals mean what they say? Coverage on simulated surveys whose truth is known.

A population of studies is planted: studies differ in scale, size, number of cells and in how badly a
predictor does on them (log-normal, so that a few are very bad, as in real results). A dataset is a
number of studies drawn from it, with fresh respondents. The truth is the mean W of 200,000 studies.
Run:  python -m benchmarks.interval_coverage [datasets]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from socrates.evaluation import distance
from socrates.evaluation.intervals import _studentised, confidence_interval, sign_flip_interval, study_mean

Floats = NDArray[np.float64]
Ends = tuple[float, float]
OPTIONS = (2, 4, 5, 7, 11)
CELLS = 8
# Median error of a cell's mean that gives W of about 0.151 and 0.205, the paper's figures.
TUNED, BASE = 0.182, 0.295


def studies(
    count: int,
    errors: tuple[float, ...],
    rng: np.random.Generator,
    skew: float = 0.35,
    shared: float = 0.6,
) -> Floats:
    """[predictors, count] W of each study for each predictor."""
    width = max(OPTIONS)
    k = rng.choice(OPTIONS, count).repeat(CELLS)
    n = np.exp(rng.normal(np.log(200), 0.7, count)).clip(20, 3000).astype(np.int64).repeat(CELLS)
    place = np.minimum(np.arange(width), k[:, None] - 1) / (k[:, None] - 1)
    real = np.arange(width) < k[:, None]

    def answers(mean: Floats, spread: Floats) -> Floats:
        density = np.where(real, np.exp(-0.5 * ((place - mean[:, None]) / spread[:, None]) ** 2) + 0.01, 0)
        return density / density.sum(axis=1, keepdims=True)

    level = rng.uniform(0.25, 0.75, count).repeat(CELLS) + rng.normal(0, 0.08, count * CELLS)
    spread = rng.uniform(0.2, 0.35, count).repeat(CELLS)
    truth = answers(level, spread)
    shares = rng.multinomial(n, truth) / n[:, None]
    gap = distance.gaps(shares, place, "paper")
    found = []
    difficulty = np.exp(rng.normal(0, skew, count)).repeat(CELLS)
    common = rng.normal(0, shared, count).repeat(CELLS) + rng.normal(0, np.sqrt(1 - shared**2), count * CELLS)
    for error in errors:
        own = rng.normal(0, shared, count).repeat(CELLS) + rng.normal(
            0, np.sqrt(1 - shared**2), count * CELLS
        )
        bias = np.sqrt(0.5) * (common + own)  # two predictors of one study err alike, r = 0.5
        predicted = answers(
            level + error * difficulty * bias, spread * np.exp(rng.normal(-0.2, 0.2, count)).repeat(CELLS)
        )
        w = distance.wasserstein(predicted, shares, gap).reshape(count, CELLS)
        found.append(np.nan_to_num(np.nanmean(w, axis=1)))  # all agree in every cell: as good as none
    return np.array(found)


def student(x: Floats, rng: np.random.Generator) -> Ends:
    """Student's t over studies."""
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return x.mean() - half, x.mean() + half


def bootstrap_t(x: Floats, rng: np.random.Generator) -> Ends:
    """Quantiles of the studentised bootstrap over studies."""
    low, high = np.quantile(_studentised(study_mean(x), 1000, rng), (0.025, 0.975))
    error = x.std(ddof=1) / np.sqrt(len(x))
    return x.mean() - high * error, x.mean() - low * error


def percentile(x: Floats, rng: np.random.Generator) -> Ends:
    """Percentiles of the bootstrap over studies."""
    means = x[rng.integers(len(x), size=(1000, len(x)))].mean(axis=1)
    return tuple(np.percentile(means, (2.5, 97.5)))


def bca(x: Floats, rng: np.random.Generator) -> Ends:
    """Bias-corrected and accelerated bootstrap over studies."""
    means = x[rng.integers(len(x), size=(1000, len(x)))].mean(axis=1)
    centred = x.mean() - x
    acceleration = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    z0 = stats.norm.ppf(np.clip((means < x.mean()).mean(), 0.001, 0.999))
    z = z0 + stats.norm.ppf([0.025, 0.975])
    return tuple(np.percentile(means, 100 * stats.norm.cdf(z0 + z / (1 - acceleration * z))))


def used(x: Floats, rng: np.random.Generator) -> Ends:
    """The interval of socrates.evaluation.intervals."""
    found = confidence_interval(study_mean(x), 1000, rng)
    assert found.low is not None and found.high is not None
    return found.low, found.high


def sign_flips(x: Floats, rng: np.random.Generator) -> Ends:
    """The interval of a difference in socrates.evaluation.intervals."""
    found = sign_flip_interval(x, 1000, rng)
    assert found.low is not None and found.high is not None
    return found.low, found.high


Method = Callable[[Floats, np.random.Generator], Ends]
METHODS: dict[str, Method] = {
    "**used: the wider of Student's t and bootstrap-t**": used,
    "Student's t over studies": student,
    "bootstrap-t over studies": bootstrap_t,
    "percentile over studies": percentile,
    "BCa over studies": bca,
}
DIFFERENCES: dict[str, Method] = {
    "**used: sign flips**": sign_flips,
    "Student's t": student,
    "bootstrap-t": bootstrap_t,
    "the wider of these two": used,
}


POPULATIONS = {"studies as in the paper's table": (0.35, 0.6), "a few very bad studies": (0.5, 0.8)}


def report(name: str, datasets: int, rng: np.random.Generator) -> None:
    """Print the coverage of a mean, and of differences with their false positives and power, for a population."""
    skew, shared = POPULATIONS[name]
    errors = (TUNED, TUNED, BASE)
    many = np.concatenate([studies(20_000, errors, rng, skew, shared) for _ in range(10)], axis=1)
    truth, sizes = many.mean(axis=1), (6, 10, 20, 40)
    print(
        f"\n{name}: mean W {truth.round(4)}, standard deviation between studies {many.std(axis=1).round(3)}"
    )
    covered, width = np.zeros((len(METHODS), len(sizes))), np.zeros((len(METHODS), len(sizes)))
    of_pairs = np.zeros((3, len(DIFFERENCES), len(sizes)))  # false positives, power, coverage
    for column, size in enumerate(sizes):
        for _ in range(datasets):
            x = studies(size, errors, rng, skew, shared)
            for row, method in enumerate(METHODS.values()):
                low, high = method(x[0], rng)
                covered[row, column] += low <= truth[0] <= high
                width[row, column] += high - low
            for row, method in enumerate(DIFFERENCES.values()):
                low, high = method(x[0] - x[1], rng)
                of_pairs[0, row, column] += low > 0 or high < 0
                low, high = method(x[2] - x[0], rng)
                of_pairs[1, row, column] += low > 0
                of_pairs[2, row, column] += low <= truth[2] - truth[0] <= high
    head = f"{' | '.join(f'{size} studies' for size in sizes)} |\n|---|---|---|---|---|"
    print(f"\n| interval of a mean: coverage (mean width) | {head}")
    for method_name, cover, wide in zip(METHODS, covered / datasets, width / datasets, strict=True):
        cells = (f"{100 * c:.1f} % ({w:.3f})" for c, w in zip(cover, wide, strict=True))
        print(f"| {method_name} | {' | '.join(cells)} |")
    print(f"\n| differences: equal called different / real one found / coverage | {head}")
    for row, method_name in enumerate(DIFFERENCES):
        cells = (
            " / ".join(f"{100 * share:.1f}" for share in of_pairs[:, row, column] / datasets) + " %"
            for column in range(len(sizes))
        )
        print(f"| {method_name} | {' | '.join(cells)} |", flush=True)


def main(datasets: int) -> None:
    """Print the tables of both populations."""
    started = time.perf_counter()
    rng = np.random.default_rng(11)
    for name in POPULATIONS:
        report(name, datasets, rng)
    print(f"\n{datasets} datasets each, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

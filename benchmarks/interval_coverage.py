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

from benchmarks.timing import table
from socrates.evaluation import distance
from socrates.evaluation.intervals import Estimate, confidence_interval, sign_flip_interval, study_mean

Floats = NDArray[np.float64]
Ends = tuple[float, float]
OPTIONS = (2, 4, 5, 7, 11)
CELLS = 8
# Median error of a cell's mean that gives W of about 0.151 and 0.205, the paper's figures.
TUNED, BASE = 0.182, 0.295


def studies(
    count: int, errors: tuple[float, ...], rng: np.random.Generator, skew: float = 0.35, shared: float = 0.6
) -> Floats:
    """[predictors, count] W of each study for each predictor."""
    width, cells = max(OPTIONS), count * CELLS
    k = rng.choice(OPTIONS, count).repeat(CELLS)
    n = np.exp(rng.normal(np.log(200), 0.7, count)).clip(20, 3000).astype(np.int64).repeat(CELLS)
    place = np.minimum(np.arange(width), k[:, None] - 1) / (k[:, None] - 1)
    real = np.arange(width) < k[:, None]

    def answers(mean: Floats, spread: Floats) -> Floats:
        density = np.where(real, np.exp(-0.5 * ((place - mean[:, None]) / spread[:, None]) ** 2) + 0.01, 0)
        return density / density.sum(axis=1, keepdims=True)

    def alike() -> Floats:
        """Standard normal, of a study's cells correlated."""
        return rng.normal(0, shared, count).repeat(CELLS) + rng.normal(0, np.sqrt(1 - shared**2), cells)

    level = rng.uniform(0.25, 0.75, count).repeat(CELLS) + rng.normal(0, 0.08, cells)
    spread = rng.uniform(0.2, 0.35, count).repeat(CELLS)
    truth = answers(level, spread)
    shares = rng.multinomial(n, truth) / n[:, None]
    gap = distance.human_gaps(shares, place)
    found = []
    difficulty = np.exp(rng.normal(0, skew, count)).repeat(CELLS)
    common = alike()
    for error in errors:
        bias = np.sqrt(0.5) * (common + alike())  # two predictors of one study err alike, r = 0.5
        narrower = np.exp(rng.normal(-0.2, 0.2, count)).repeat(CELLS)
        predicted = answers(level + error * difficulty * bias, spread * narrower)
        w = distance.wasserstein(predicted, shares, gap).reshape(count, CELLS)
        found.append(np.nan_to_num(np.nanmean(w, axis=1)))  # all agree in every cell: as good as none
    return np.array(found)


def student(x: Floats, rng: np.random.Generator) -> Ends:
    """Student's t over studies."""
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return x.mean() - half, x.mean() + half


def ends(interval: Estimate) -> Ends:
    return float(interval.low or 0), float(interval.high or 0)


def of_difference(x: Floats, rng: np.random.Generator) -> Ends:
    """The interval of a difference in socrates.evaluation.intervals: sign flips."""
    return ends(sign_flip_interval(x, 1000, rng))


Method = Callable[[Floats, np.random.Generator], Ends]
MEANS: dict[str, Method] = {
    "**used**": lambda x, rng: ends(confidence_interval(study_mean(x), 1000, rng)),
    "Student's t": student,
}
DIFFERENCES: dict[str, Method] = {"**used: sign flips**": of_difference, "Student's t": student}
POPULATIONS = {"studies as in the paper's table": (0.35, 0.6), "a few very bad studies": (0.5, 0.8)}
SIZES = (6, 10, 20, 40)


def report(name: str, datasets: int, rng: np.random.Generator) -> None:
    """Print the coverage of a mean, and of differences with their false positives and power, for a population."""
    errors = (TUNED, TUNED, BASE)
    many = np.concatenate([studies(20_000, errors, rng, *POPULATIONS[name]) for _ in range(10)], axis=1)
    truth = many.mean(axis=1)
    spread = many.std(axis=1).round(3)
    print(f"\n{name}: mean W {truth.round(4)}, standard deviation between studies {spread}")
    means = {method: np.zeros((len(SIZES), 2)) for method in MEANS}  # coverage, width
    pairs = {method: np.zeros((len(SIZES), 3)) for method in DIFFERENCES}
    for column, size in enumerate(SIZES):
        for _ in range(datasets):
            x = studies(size, errors, rng, *POPULATIONS[name])
            for method, interval in MEANS.items():
                low, high = interval(x[0], rng)
                means[method][column] += low <= truth[0] <= high, high - low
            for method, interval in DIFFERENCES.items():
                same_low, same_high = interval(x[0] - x[1], rng)
                low, high = interval(x[2] - x[0], rng)
                covers = low <= truth[2] - truth[0] <= high
                pairs[method][column] += same_low > 0 or same_high < 0, low > 0, covers
    show("interval of a mean: coverage / width", means, datasets)
    show("differences: equal called different / real one found / coverage", pairs, datasets)


def show(title: str, totals: dict[str, Floats], datasets: int) -> None:
    """Print a table of means over datasets, a column for each number of studies."""
    rows = [
        [name, *(" / ".join(f"{v / datasets:.3f}" for v in cell) for cell in row)]
        for name, row in totals.items()
    ]
    print("\n" + table([title, *(f"{size} studies" for size in SIZES)], rows), flush=True)


def main(datasets: int) -> None:
    started = time.perf_counter()
    rng = np.random.default_rng(11)
    for name in POPULATIONS:
        report(name, datasets, rng)
    print(f"\n{datasets} datasets each, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

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
from socrates.evaluation.intervals import confidence_interval, sign_flip_interval, study_mean

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


def of_mean(x: Floats, rng: np.random.Generator) -> Ends:
    """The interval of a mean in socrates.evaluation.intervals: the wider of Student's t and bootstrap-t."""
    interval = confidence_interval(study_mean(x), 1000, rng)
    return float(interval.low or 0), float(interval.high or 0)


def of_difference(x: Floats, rng: np.random.Generator) -> Ends:
    """The interval of a difference in socrates.evaluation.intervals: sign flips."""
    interval = sign_flip_interval(x, 1000, rng)
    return float(interval.low or 0), float(interval.high or 0)


Method = Callable[[Floats, np.random.Generator], Ends]
MEANS: dict[str, Method] = {"**used**": of_mean, "Student's t": student}
DIFFERENCES: dict[str, Method] = {"**used: sign flips**": of_difference, "Student's t": student}
POPULATIONS = {"studies as in the paper's table": (0.35, 0.6), "a few very bad studies": (0.5, 0.8)}
SIZES = (6, 10, 20, 40)
LUCK = 0.02  # of a weight, from one training to the next
DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "exponential": lambda rng, size: rng.exponential(size=size) - 1,
    "log-normal": lambda rng, size: rng.lognormal(size=size) - np.exp(0.5),
    "90 % slightly worse, 10 % much better": lambda rng, size: (
        np.where(rng.random(size) < 0.1, -9.0, 1.0) + rng.normal(0, 0.5, size)
    ),
}


def report(name: str, datasets: int, rng: np.random.Generator) -> None:
    """Print the coverage of a mean, and of differences with their false positives and power, for a population."""
    errors = (TUNED, TUNED, BASE)
    many = np.concatenate([studies(20_000, errors, rng, *POPULATIONS[name]) for _ in range(10)], axis=1)
    truth = many.mean(axis=1)
    print(
        f"\n{name}: mean W {truth.round(4)}, standard deviation between studies {many.std(axis=1).round(3)}"
    )
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


def rejections(datasets: int, rng: np.random.Generator) -> None:
    """Print how often differences of mean 0 are called different at 5 %, by their distribution."""
    sizes = (11, 20, 40)
    rows = []
    for name, draw in DISTRIBUTIONS.items():
        for test, method in (("sign flips", of_difference), ("Student's t", student)):
            rates = []
            for size in sizes:
                ends = [method(draw(rng, size), rng) for _ in range(datasets)]
                rates.append(np.mean([low > 0 or high < 0 for low, high in ends]))
            rows.append([name, test, *(f"{rate:.1%}" for rate in rates)])
    print("\n" + table(["differences of mean 0", "test", *(f"{size} studies" for size in sizes)], rows))


def regression_studies(size: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Features [size, CELLS, 4] and levels [size, CELLS] of studies; features tell a part of the levels."""
    features = np.sqrt(0.5) * (rng.normal(size=(size, 1, 4)) + rng.normal(size=(size, CELLS, 4)))
    spread = 0.1 * np.exp(rng.normal(0, 0.35, (size, 1)))
    noise = np.sqrt(0.5) * (rng.normal(size=(size, 1)) + rng.normal(size=(size, CELLS)))
    return features, 0.1 * features @ [1.0, 0.6, 0.3, 0.0] + spread * noise


def cross_validated(
    size: int, folds: int, many: tuple[Floats, Floats], rng: np.random.Generator
) -> tuple[Floats, float]:
    """[size] error of a model minus that of its training studies' mean for each study of a world, tested once.

    A fold's model is fitted to the studies of the other folds, and each training has luck of its own, which all
    studies of its fold share.

    Returns:
        The differences, and their mean over ``many`` studies for the same models: what the folds estimate.
    """
    features, level = regression_studies(size, rng)
    fold = rng.permutation(size) % folds
    found, truth = np.zeros(size), 0.0
    for held_out in (fold == k for k in range(folds)):
        x, y = features[~held_out].reshape(-1, 4), level[~held_out].ravel()
        mean, luck = y.mean(), rng.normal(0, LUCK, 4)
        weights = np.linalg.solve(x.T @ x + 4 * np.eye(4), x.T @ (y - mean)) + luck
        for part in (held_out, None):
            x, y = many if part is None else (features[part], level[part])
            worse = (np.abs(y - mean - x @ weights) - np.abs(y - mean)).mean(axis=1)
            if part is None:
                truth += worse.mean() * held_out.mean()
            else:
                found[part] = worse
    return found, truth


def fold_report(datasets: int, rng: np.random.Generator) -> None:
    """Print how often the interval over all folds' studies holds the difference of their models, and of any others."""
    rows = []
    many = regression_studies(20_000, rng)  # fewer have noise of their own, beside intervals from 210 studies
    for size, folds in ((12, 12), (20, 5), (40, 5), (60, 5), (210, 5)):
        worlds = [cross_validated(size, folds, many, rng) for _ in range(datasets)]
        of_all = np.mean([truth for _, truth in worlds])
        ends = [of_difference(found, rng) for found, _ in worlds]
        own = [low <= truth <= high for (low, high), (_, truth) in zip(ends, worlds, strict=True)]
        any_other = [low <= of_all <= high for low, high in ends]
        cells = [f"{of_all:.4f}", *(f"{np.mean(held):.1%}" for held in (own, any_other))]
        rows.append([str(size), str(folds), *cells, f"{np.mean(np.diff(ends)):.3f}"])
    head = [
        "studies",
        "folds",
        "mean difference",
        "covers these models'",
        "covers that of new trainings",
        "width",
    ]
    print("\n" + table(head, rows), flush=True)


def show(title: str, totals: dict[str, Floats], datasets: int) -> None:
    """Print a table of means over datasets, a column for each number of studies."""
    rows = [
        [name, *(" / ".join(f"{v / datasets:.3f}" for v in cell) for cell in row)]
        for name, row in totals.items()
    ]
    print("\n" + table([title, *(f"{size} studies" for size in SIZES)], rows), flush=True)


def main(datasets: int) -> None:
    """Print the tables of both populations."""
    started = time.perf_counter()
    rng = np.random.default_rng(11)
    for name in POPULATIONS:
        report(name, datasets, rng)
    rejections(datasets, rng)
    fold_report(4 * datasets, np.random.default_rng(12))  # a table of its own, whatever is printed above it
    print(f"\n{datasets} datasets each (folds: four times as many), {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

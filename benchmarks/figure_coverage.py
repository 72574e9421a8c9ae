"""Do the intervals of figures that are no means of study values cover? Shares, quartiles, correlations, gaps.

A pool of many simulated studies is evaluated once by the project's own code. A dataset is a number of
studies drawn from the pool; the truth is the pool's figure. Three intervals are tried on each figure.
Run:  python -m benchmarks.figure_coverage [datasets]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.prediction_world import world
from socrates.core.params import load
from socrates.evaluation.intervals import Estimate, StudyStatistic, confidence_interval, quantile_intervals
from socrates.evaluation.metrics import QUARTILES
from socrates.evaluation.params import Evaluate
from socrates.evaluation.predictions import read_predictions
from socrates.evaluation.scoring import score

POOL, SIZES, DRAWS = 2000, (6, 11, 40), 1000


def main(datasets: int) -> None:
    """Print one row per figure: coverage (median width) by interval and number of studies."""
    started = time.perf_counter()
    rng = np.random.default_rng(5)
    params = load(Evaluate).model_copy(update={"draws": 1, "bootstrap": 0, "permutations": 0})
    predictions, _ = world(POOL, 3, 2, 20, {"adapter": 0.1}, seed=3)
    survey, model = read_predictions(predictions["adapter"], Path("pool"), "adapter")
    scored = score(survey, model, params)
    print(f"| figure | interval | truth | {' | '.join(f'{size} studies' for size in SIZES)} |")
    print(f"|{'---|' * (3 + len(SIZES))}")
    for key, figure in scored.statistics.items():
        truth = figure.value
        sound = len(figure.sums)
        for name, draws, method in (
            ("t", 0, "t"),
            ("t, bootstrap-t", DRAWS, "t"),
            ("percentile", DRAWS, "p"),
        ):
            shown = []
            for size in SIZES:
                made = []
                for _ in range(datasets):
                    part = replace(figure, sums=figure.sums[rng.integers(sound, size=size)])
                    made.append(
                        confidence_interval(part, draws, rng)
                        if method == "t"
                        else percentile(part, draws, rng)
                    )
                shown.append(covered(made, truth))
            print(f"| `{key}` | {name} | {truth:.4f} | {' | '.join(shown)} |", flush=True)
    for key in ("entropy_ratio", "spread_ratio"):
        by_study = [scored.cells[key][survey.study == study] for study in range(POOL)]
        everyone = scored.cells[key][~np.isnan(scored.cells[key])]
        quartiles = tuple(QUARTILES.values())
        shown = []
        for size in SIZES:
            made = [
                quantile_intervals(
                    np.concatenate([by_study[study] for study in chosen]),
                    np.repeat(np.arange(size), [len(by_study[study]) for study in chosen]),
                    quartiles, DRAWS, rng,
                )
                for chosen in rng.integers(POOL, size=(datasets, size))
            ]  # fmt: skip
            shown.append(
                [covered([m[i] for m in made], np.percentile(everyone, q)) for i, q in enumerate(quartiles)]
            )
        for i, part in enumerate(QUARTILES):
            print(f"| `{key}{part}` | percentile | | {' | '.join(row[i] for row in shown)} |", flush=True)
    print(f"\n{datasets} datasets each, {time.perf_counter() - started:.0f} s")


def percentile(figure: StudyStatistic, draws: int, rng: np.random.Generator) -> Estimate:
    """The percentile interval over studies, moved outwards as for quantiles."""
    from scipy import stats

    n = len(figure.sums)
    totals = rng.multinomial(n, np.full(n, 1 / n), size=draws) @ figure.sums
    again = figure.statistic(totals)
    again = again[np.isfinite(again)]
    tail = float(stats.norm.cdf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.025, n - 1)))
    if len(again) < draws / 2:
        return Estimate(None)
    return Estimate(0.0, *np.quantile(again, [tail, 1 - tail]))


def covered(made: list[Estimate], truth: float) -> str:
    known = [(i.low, i.high) for i in made if i.low is not None and i.high is not None]
    share = np.mean([low <= truth <= high for low, high in known])
    return f"{100 * share:.1f} % ({np.median([high - low for low, high in known]):.3f})"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

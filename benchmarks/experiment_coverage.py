"""Do the 90 % intervals of ``experiment`` hold 90 % of the effects that they are about?

Held-out studies of a model whose error is planted are simulated: two questions of three conditions, predicted effects
of standard deviation 0.03 or 0.15 of the scale, slopes of mean 1 and standard deviation 0 or 0.5 between studies, an
error of 0.025 or 0.06 in each condition's mean (alike in both questions by 0.3), answers of standard deviation 0.24 to
0.36, n people a condition. The error is fitted on them, and its intervals are tried on 50 contrasts of new studies.
Run:  python -m benchmarks.experiment_coverage [datasets] [seed]
"""

from __future__ import annotations

import sys
import time

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.timing import table
from socrates.app.error_model import Unidentified, fit_errors, noise_of, self_check, study_checks, study_fits

Floats = NDArray[np.float64]
EFFECTS = ((0.03, 0.025), (0.15, 0.06))  # standard deviation of predicted effects and of the error
PEOPLE, STUDIES, SLOPES = (6, 20, 60, 400), (11, 20, 40), (0.0, 0.5)
QUESTIONS, CONDITIONS, ALIKE = 2, 3, 0.3
NEW = 50  # contrasts that each fit is tried on


def effects(
    size: float, error: float, slopes: float, studies: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Predicted and human effects, [studies, questions, conditions] each."""
    x = rng.normal(0, size, (studies, QUESTIONS, CONDITIONS))
    shared = rng.normal(0, error * np.sqrt(ALIKE), (studies, 1, CONDITIONS))
    own = rng.normal(0, error * np.sqrt(1 - ALIKE), x.shape)
    return x, rng.normal(1, slopes, (studies, 1, 1)) * x + shared + own


def held_out(x: Floats, human: Floats, n: int, rng: np.random.Generator) -> pl.DataFrame:
    """The table that ``evaluate`` would write of samples of n people a condition."""
    sd = rng.uniform(0.24, 0.36, x.shape)
    found = human + rng.normal(0, 1, x.shape) * sd / np.sqrt(n)
    se = sd * np.sqrt(rng.chisquare(n - 1, x.shape) / (n - 1) / n)
    study, task, condition = (index.ravel() for index in np.indices(x.shape))
    keys = {"study_id": study.astype(str), "condition_num": condition, "task_num": task}
    values = {"human": found.ravel(), "human_se": se.ravel(), "predicted": x.ravel()}
    return pl.DataFrame({**keys, **values, "scale": "1..7", "respondents": n})


def cell(
    size: float, error: float, slopes: float, n: int, studies: int, datasets: int, rng: np.random.Generator
) -> tuple[float, Floats]:
    """The share of datasets that are refused, and of the others [K, 4] coverage, in the largest quarter of predicted
    effects, the self-check, and that of intervals without the error."""
    kept = []
    for _ in range(datasets):
        of = held_out(*effects(size, error, slopes, studies, rng), n, rng)
        x, human = effects(size, error, slopes, NEW, rng)
        predicted, true = (values[:, 0, 1] - values[:, 0, 0] for values in (x, human))
        try:
            known = fit_errors(of)
        except Unidentified:
            continue
        ends = np.array([known.effect(one).interval() for one in predicted]).T
        inside = (ends[0] <= true) & (true <= ends[1])
        large = np.abs(predicted) >= np.quantile(np.abs(predicted), 0.75)
        of = of.sort("study_id", "task_num", "condition_num")
        of = of.with_columns(noise=noise_of(of))
        without = self_check(study_checks(of, study_fits(of)), without_error=True)
        kept.append((inside.mean(), inside[large].mean(), known.covered, without))
    return 1 - len(kept) / datasets, np.array(kept).reshape(-1, 4)


def main(datasets: int, seed: int) -> None:
    """Print a table for each size of effects."""
    started, rng = time.perf_counter(), np.random.default_rng(seed)
    for size, error in EFFECTS:
        rows = []
        for n in PEOPLE:
            for slopes in SLOPES:
                row = [f"{n}, slopes' deviation {slopes}"]
                for studies in STUDIES:
                    refused, found = cell(size, error, slopes, n, studies, datasets, rng)
                    if refused > 0.5:
                        row.append(f"refused ({refused:.0%})")
                        continue
                    whole, large = found[:, :2].mean(axis=0)
                    check, without = np.median(found[:, 2:], axis=0)
                    said = f", {refused:.0%} refused" if refused else ""
                    row.append(f"{whole:.1%} / {large:.1%} / {check:.0%} / {without:.0%}{said}")
                rows.append(row)
        head = f"effects of {size}: people a condition"
        print("\n" + table([head, *(f"{studies} studies" for studies in STUDIES)], rows), flush=True)
    print(f"\n{datasets} datasets a cell, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:3]]
    main(*given, *(100, 5)[len(given) :])

"""Do the 90 % intervals of ``experiment`` hold 90 % of the effects that they are about?

Held-out studies of a model whose error is planted are simulated: two questions of three conditions, predicted effects
of standard deviation 0.03 or 0.15 of the scale, slopes of mean 1 and standard deviation 0 or 0.5 between studies, an
error of 0.025 or 0.06 in each condition's mean (alike in both questions by 0.3), answers of standard deviation 0.24 to
0.36, n people a condition. The error is fitted on them. How many new effects each interval holds is then computed and
not drawn, since their distribution is known: at two predicted contrasts in each quarter of their sizes.
Run:  python -m benchmarks.experiment_coverage [datasets] [seed] [people...]
"""

from __future__ import annotations

import sys
import time

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.timing import table
from socrates.app import error_model
from socrates.app.error_model import Unidentified, fit_errors, self_check, study_checks, study_fits

Floats = NDArray[np.float64]
EFFECTS = ((0.03, 0.025), (0.15, 0.06))  # standard deviation of predicted effects and of the error
PEOPLE, STUDIES, SLOPES = (6, 20, 60, 400), (11, 20, 40), (0.0, 0.5)
QUESTIONS, CONDITIONS, ALIKE = 2, 3, 0.3
FEWEST_SETS = 20  # that are not refused, for a coverage
TRIED = stats.halfnorm.ppf((np.arange(8) + 0.5) / 8)  # of new contrasts, over their standard deviation


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
    """The share of datasets that are refused, and of the others [D, 6] coverage in the quarters of predicted size, the
    self-check, and that of intervals without the error."""
    kept = []
    tried = size * np.sqrt(2) * TRIED
    sd = np.sqrt((slopes * tried) ** 2 + 2 * error**2)  # of the effects that are predicted so
    for _ in range(datasets):
        found = held_out(*effects(size, error, slopes, studies, rng), n, rng)
        try:
            known = fit_errors(found)
        except Unidentified:
            continue
        low, high = (np.array([known.effect(x).interval() for x in tried]).T - tried) / sd
        inside = (special.ndtr(high) - special.ndtr(low)).reshape(4, 2).mean(axis=1)
        checks = study_checks(of := error_model.held_out(found), study_fits(of))
        without = self_check(checks._replace(variance=checks.of_slope))
        kept.append((*inside, known.covered, without))
    return 1 - len(kept) / datasets, np.array(kept).reshape(-1, 6)


def entry(refused: float, found: Floats) -> str:
    """Of a cell: coverage, in quarters, self-checks, refusals."""
    if len(found) < FEWEST_SETS:
        return f"refused ({refused:.1%})"
    quarters = found[:, :4].mean(axis=0)
    check, without = np.median(found[:, 4:], axis=0)
    shares = " ".join(f"{100 * share:.1f}" for share in quarters)
    said = f", {refused:.0%} refused" if refused else ""
    return f"{quarters.mean():.1%} ({shares}) / {check:.0%} / {without:.0%}{said}"


def main(datasets: int, seed: int, people: tuple[int, ...]) -> None:
    """Print a table for each size of effects; every cell has random numbers of its own."""
    started = time.perf_counter()
    for size, error in EFFECTS:
        rows = []
        for n in people:
            for slopes in SLOPES:
                row = [f"{n}, slopes' deviation {slopes}"]
                for studies in STUDIES:
                    rng = np.random.default_rng([seed, int(1000 * size), n, int(10 * slopes), studies])
                    row.append(entry(*cell(size, error, slopes, n, studies, datasets, rng)))
                rows.append(row)
        head = f"effects of {size}: people a condition"
        print("\n" + table([head, *(f"{studies} studies" for studies in STUDIES)], rows), flush=True)
    print(f"\n{datasets} datasets a cell, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:]]
    datasets, seed, *people = *given, *(400, 71)[len(given) :]
    main(datasets, seed, tuple(people) or PEOPLE)

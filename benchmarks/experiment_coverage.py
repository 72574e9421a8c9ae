"""Do the 90 % intervals of ``experiment`` hold the effects that were planted?

Experiments are the studies with a control of a fresh synthetic world, which shares its parts (topics,
framings, forms) with the training world and no respondent, place or combination. The default adapter
answers for every respondent under every condition. The planted effect of a condition is the difference
of mean planted answers over 20,000 people of the study's sampling frame. Intervals are made by
``socrates.app.experiment.effect`` with an error known from

* the held-out studies of the default run (metrics/tables), the same for all experiments: what a user has;
* other studies of the fresh world, drawn anew for each experiment and never the one that is scored, from
  the simulated answers of their respondents: what the method does over many such calibrations.

Nothing but the respondents is simulated in the second; predictions are the adapter's own throughout.
Run:  python -m benchmarks.experiment_coverage [experiments] [seed of the world]
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.planted_experiments import experiments
from socrates.app.answers import Answer
from socrates.app.calibration import Calibration, calibrate, read_effects
from socrates.app.experiment import ArmResult, Effect, effect
from socrates.core.errors import DataError
from socrates.survey.scales import scale

PARTICIPANTS = 60  # per study, as in the default world
PER_ARM = 100.0  # of the planned study; it does not enter the intervals that are scored here
SIZES = (11, 20, 40)  # held-out studies
CALIBRATIONS = 60
QUESTION = ["study_id", "task_num", "scale"]


def contrasts(rows: pl.DataFrame, planted: pl.DataFrame) -> list[tuple[str, ArmResult, ArmResult, float]]:
    """(study, treated, control, planted effect) of every treatment and question, in a fixed order."""
    truth = {(s, c, t): value for s, c, t, value in planted.iter_rows()}
    found = []
    for (study, task, notation), question in rows.group_by(QUESTION, maintain_order=True):
        cells = {}
        for (condition,), cell in question.group_by("condition_num", maintain_order=True):
            places, deviations = (
                cell.sort("participant")[name].to_numpy() for name in ("place", "deviation")
            )
            spread = float(np.sqrt((deviations**2).mean() + places.var()))
            on = scale(str(notation))
            answer = Answer(on, np.ones(len(on.options)) / len(on.options), 1.0)
            cells[int(condition)] = ArmResult(str(condition), str(task), answer, places, spread)
        found += [
            (str(study), cell, cells[1], truth[study, condition, task] - truth[study, 1, task])
            for condition, cell in cells.items()
            if condition != 1
        ]
    return found


def observed_effects(rows: pl.DataFrame) -> pl.DataFrame:
    """What ``evaluate`` would write: human and predicted cell means of those who answered, with human errors."""
    low = pl.col("scale").map_elements(lambda n: scale(n).low, return_dtype=pl.Int64)
    high = pl.col("scale").map_elements(lambda n: scale(n).high, return_dtype=pl.Int64)
    answered = rows.drop_nulls("response").with_columns(human=(pl.col("response") - low) / (high - low))
    return answered.group_by("study_id", "condition_num", "task_num", "scale", maintain_order=True).agg(
        pl.col("human").mean(),
        human_se=pl.col("human").std() / pl.len().sqrt(),
        predicted=pl.col("place").mean(),
    )


def covered(found: list[tuple[Effect, float]]) -> float:
    """Share of intervals that hold the planted effect."""
    return float(np.mean([e.low <= truth <= e.high for e, truth in found]))


def decided(found: list[tuple[Effect, float]]) -> tuple[float, float]:
    """Share of intervals that exclude zero, and of those the share with the planted sign."""
    signs = [(e.sign, truth) for e, truth in found if e.sign]
    right = float(np.mean([sign * truth > 0 for sign, truth in signs])) if signs else float("nan")
    return len(signs) / len(found), right


def main(count: int, seed: int) -> None:
    """Print the table."""
    started = time.perf_counter()
    rows, planted = experiments(seed, int(count / 0.7), PARTICIPANTS)
    report(rows, planted, count, seed)
    print(f"\n{time.perf_counter() - started:.0f} s")


def report(rows: pl.DataFrame, planted: pl.DataFrame, count: int, seed: int) -> None:
    """Print the coverage table of the first ``count`` studies of predicted rows."""
    rng = np.random.default_rng([seed, 5])
    studies = rows["study_id"].unique().sort().to_list()
    if len(studies) < count:
        raise DataError(f"{len(studies)} studies with a control, {count} wanted")
    scored = [found for found in contrasts(rows, planted) if found[0] in set(studies[:count])]
    observed = observed_effects(rows)
    weights = np.full(PARTICIPANTS, 1 / PARTICIPANTS)

    def of(known: dict[str, Calibration]) -> list[tuple[str, Effect, float]]:
        return [
            (study, effect(treated, control, weights, known[study], PER_ARM, ""), truth)
            for study, treated, control, truth in scored
        ]

    default = calibrate(read_effects(Path("metrics/tables"), "adapter"))
    print(
        f"{count} experiments, {len(scored)} planted effects (root mean square "
        f"{np.sqrt(np.mean([truth**2 for *_, truth in scored])):.3f} of the scale)\n"
        f"held-out studies of the default run: {default}\n"
    )
    same = dict.fromkeys(studies, default)
    blind = dict.fromkeys(studies, Calibration(1.0, 0.0, 0.0, 10**6, 0, 0.0, 1.0))

    def others(study: str, size: int) -> Calibration:
        chosen = rng.choice([s for s in studies if s != study], size, replace=False)
        return calibrate(observed.filter(pl.col("study_id").is_in(chosen.tolist())))

    sizes = [size for size in SIZES if size < len(studies)]
    methods = {
        "personas' sampling alone": blind,
        "the default run's held-out studies": same,
        "the same, slope 1": {s: replace(k, slope=1.0) for s, k in same.items()},
    }
    for size in sizes:
        methods[f"{size} other studies, drawn for each"] = {s: others(s, size) for s in studies[:count]}
    print(
        "| error known from | one effect of each experiment | all effects | mean width | excludes zero | of "
        "these, right sign |\n|---|---|---|---|---|---|"
    )
    order = rng.permutation(len(scored))
    for name, known in methods.items():
        found = of(known)
        first: dict[str, tuple[Effect, float]] = {}
        for index in order:  # one effect of each, chosen by chance, the same for all methods
            first.setdefault(found[index][0], found[index][1:])
        everything = [item[1:] for item in found]
        width, (share, right) = float(np.mean([e.high - e.low for e, _ in everything])), decided(everything)
        print(
            f"| {name} | {covered(list(first.values())):.1%} | {covered(everything):.1%} | {width:.3f} | "
            f"{share:.1%} | {right:.1%} |",
            flush=True,
        )
    print(f"\none calibration for all {count} experiments, {CALIBRATIONS} times, one effect of each:")
    some = [scored[index] for index in {scored[i][0]: i for i in order}.values()]
    for size in sizes:
        shares, residuals = [], []
        for _ in range(CALIBRATIONS):
            chosen = rng.choice(studies, size, replace=False).tolist()
            known = calibrate(observed.filter(pl.col("study_id").is_in(chosen)))
            residuals.append(known.residual)
            shares.append(
                covered(
                    [
                        (effect(treated, control, weights, known, PER_ARM, ""), truth)
                        for study, treated, control, truth in some
                        if study not in chosen
                    ]
                )
            )
        low, middle, high = np.quantile(shares, [0.05, 0.5, 0.95])
        spread = np.quantile(residuals, [0.05, 0.5, 0.95])
        print(
            f"{size} studies: coverage {middle:.1%} (5 to 95 % of calibrations: {low:.1%} to {high:.1%}), residual "
            f"{spread[1]:.3f} ({spread[0]:.3f} to {spread[2]:.3f})",
            flush=True,
        )


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:3]]
    main(*given, *(200, 101)[len(given) :])

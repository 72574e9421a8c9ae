"""Do the 90 % intervals of ``experiment`` hold the effects that were planted?

    python -m benchmarks.experiment_coverage [experiments] [seed of the world]

Experiments are new studies that combine topics and endorsers of the default's held-out studies (about which
the base model has read, and training never asked) with new respondents. The default adapter answers for every
respondent under every condition. The planted effect of a condition is the difference of mean planted answers
over 20,000 people of the study's sampling frame. Intervals are made by
``socrates.app.experiment.effect`` with an error known from

* the held-out studies of the default run (metrics/tables), the same for all experiments: what a user has;
* other new studies, drawn anew for each experiment and never the one that is scored, from
  the simulated answers of their respondents: what the method does over many such calibrations.

Nothing but the respondents is simulated in the second; predictions are the adapter's own.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

from socrates.app.answers import Answer
from socrates.app.calibration import Calibration, calibrate, read_effects
from socrates.app.experiment import ArmResult, Effect, effect
from socrates.core.errors import DataError
from socrates.core.files import read_json
from socrates.core.params import load
from socrates.data.params import Data, World
from socrates.data.scales.resolve import resolve_scales
from socrates.data.synthetic.generate import EFFECTS, Study, answers, design, distributions
from socrates.data.synthetic.respondents import liberal_scores, population
from socrates.model.params import Model, Prompt
from socrates.prediction.params import Predict
from socrates.prediction.predict import PredictionInputs, predict_table
from socrates.survey.scales import scale
from socrates.survey.tables import RESPONSES

CROWD = 20_000  # people over whom a planted effect is averaged
PER_ARM = 100.0  # of the planned study; it does not enter the intervals that are scored here
SIZES = (11, 20, 40)  # held-out studies
Contrast = tuple[str, ArmResult, ArmResult, float]  # study, treated, control, planted effect


def new_studies(world: World, count: int, seed: int) -> dict[str, Study]:
    """Studies that combine the subjects of the held-out studies of ``world``, by name."""
    splits = read_json(Path("data/splits/manifest.json"), "run dvc repro split", DataError)["splits"]
    held_out = {*splits["val"]["study_ids"], *splits["test"]["study_ids"]}
    held = [study for study in design(world) if study.study_id in held_out]
    topics = itertools.cycle([study.topic for study in held])
    endorsers = itertools.cycle([arm.endorser for study in held for arm in study.conditions if arm.endorser])
    fresh = world.model_copy(update={"studies": count, "seed": seed})
    return {study.study_id: study for study in design(fresh, (topics, endorsers))}


def planted_means(
    study: Study, effects: float, rng: np.random.Generator
) -> dict[tuple[str, int, int], float]:
    """(study, condition, task) -> mean answer as a share of the scale, over a crowd of the sampling frame."""
    liberal = liberal_scores(population(study.frame, CROWD, rng))
    means = {}
    for number, task in enumerate(study.tasks, 1):
        options = np.asarray(task.scale.options, dtype=np.float64)
        share = (options - options[0]) / (options[-1] - options[0])
        for condition, arm in enumerate(study.conditions, 1):
            planted = distributions(study.topic, arm.endorser, task, liberal, effects).mean(axis=0)
            means[study.study_id, condition, number] = float(planted @ share)
    return means


def crossed(responses: pl.DataFrame) -> pl.DataFrame:
    """Every respondent of each study under every condition and task; ``response`` is kept where they gave one."""
    people = responses.select("study_id", "participant", "demographic").unique(["study_id", "participant"])
    cells = responses.select("study_id", "condition_num", "task_num", "stimuli").unique()
    keys = ["study_id", "participant", "condition_num", "task_num"]
    rows = people.join(cells, on="study_id").join(responses.select(*keys, "response"), on=keys, how="left")
    return rows.sort(keys).with_columns(sample_id=pl.int_range(pl.len()).cast(pl.Int64).over("study_id"))


def predicted(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with ``scale`` and the adapter's mean and standard deviation of the answer, as shares of it."""
    asked = rows.with_columns(pl.col("response").fill_null(0)).select(
        pl.col(name).cast(kind) for name, kind in RESPONSES.items()
    )
    sections = load(Model), load(Prompt), load(Predict)
    inputs = PredictionInputs(Path("models/base"), Path("models/adapter"), *sections)
    table, manifest = predict_table(resolve_scales(asked), inputs)
    assert not sum(manifest["excluded"].values()), manifest
    moments = table["probabilities"].map_elements(_moments, return_dtype=pl.List(pl.Float64))
    found = table.select("study_id", "sample_id", "scale", mean=moments.list.get(0), sd=moments.list.get(1))
    return rows.join(found, on=["study_id", "sample_id"]).sort(
        "study_id", "task_num", "condition_num", "participant"
    )


def _moments(probabilities: pl.Series) -> list[float]:
    p = probabilities.to_numpy().astype(np.float64)
    share = np.linspace(0, 1, len(p))
    mean = float(p @ share)
    return [mean, float(np.sqrt(max(p @ (share - mean) ** 2, 0.0)))]


def contrasts(rows: pl.DataFrame, planted: dict[tuple[str, int, int], float]) -> list[Contrast]:
    """Every treatment against the control, question by question, in a fixed order."""
    found: list[Contrast] = []
    questions = rows.group_by("study_id", "task_num", "scale", maintain_order=True)
    for (study, task, notation), question in questions:
        on = scale(str(notation))
        answer = Answer(on, np.ones(len(on.options)) / len(on.options), 1.0)  # does not enter the interval
        arms = {}
        for (condition,), cell in question.group_by("condition_num", maintain_order=True):
            means = cell["mean"].to_numpy()
            spread = float(np.sqrt((cell["sd"].to_numpy() ** 2).mean() + means.var()))
            arms[condition] = ArmResult(str(condition), str(task), answer, means, spread)
        found += [
            (str(study), arm, arms[1], planted[study, condition, task] - planted[study, 1, task])
            for condition, arm in arms.items()
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
        predicted=pl.col("mean").mean(),
    )


def line(name: str, scored: list[Contrast], known: dict[str, Calibration], order: np.ndarray) -> str:
    """A row of the table.

    Args:
        known: what is known of the model's error, by study.
        order: of the contrasts; the first of each study is its one effect.
    """
    people = len(scored[0][1].positions)  # the same in every arm
    weights = np.full(people, 1 / people)
    effects = [
        (effect(treated, control, weights, known[study], PER_ARM, ""), truth)
        for study, treated, control, truth in scored
    ]
    first: dict[str, tuple[Effect, float]] = {}
    for index in order:
        first.setdefault(scored[index][0], effects[index])
    one, every = (
        np.mean([e.low <= truth <= e.high for e, truth in found]) for found in (first.values(), effects)
    )
    right = [e.sign * truth > 0 for e, truth in effects if e.sign]
    width = np.mean([e.high - e.low for e, _ in effects])
    sign = f"{np.mean(right):.1%}" if right else "-"
    return f"| {name} | {one:.1%} | {every:.1%} | {width:.3f} | {len(right) / len(effects):.1%} | {sign} |"


def main(count: int, seed: int) -> None:
    """Print the table."""
    started = time.perf_counter()
    world = load(Data).synthetic
    if world.seed == seed:
        raise DataError(f"seed {seed} is the training world's; take another")
    studies = new_studies(world, count + max(SIZES), seed)
    rng = np.random.default_rng([seed, 99])
    planted: dict[tuple[str, int, int], float] = {}
    for study in studies.values():
        planted |= planted_means(study, EFFECTS[world.effects], rng)
    rows = predicted(crossed(pl.concat([answers(study, world, rng)[0] for study in studies.values()])))
    names = sorted(studies)
    scored = [contrast for contrast in contrasts(rows, planted) if contrast[0] in names[:count]]
    observed = observed_effects(rows)
    rng = np.random.default_rng([seed, 5])

    def others(study: str, size: int) -> Calibration:
        chosen = rng.choice([name for name in names if name != study], size, replace=False)
        return calibrate(observed.filter(pl.col("study_id").is_in(chosen.tolist())))

    default = calibrate(read_effects(Path("metrics/tables"), "adapter"))
    spread = np.sqrt(np.mean([truth**2 for *_, truth in scored]))
    print(f"{count} experiments, {len(scored)} planted effects (root mean square {spread:.3f} of the scale)")
    print(f"held-out studies of the default run: {default}\n")
    methods = {
        "personas' sampling alone": dict.fromkeys(names, Calibration(1.0, 0.0, 0.0, 10**6, 0, 0.0, 1.0)),
        "the default run's held-out studies": dict.fromkeys(names, default),
    }
    for size in (size for size in SIZES if size < len(names)):
        methods[f"{size} other studies, drawn for each"] = {s: others(s, size) for s in names[:count]}
    print(
        "| error known from | one effect of each experiment | all effects | mean width | excludes zero | of "
        "these, right sign |\n|---|---|---|---|---|---|"
    )
    order = rng.permutation(len(scored))
    for name, known in methods.items():
        print(line(name, scored, known, order), flush=True)
    print(f"\n{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    given = [int(value) for value in sys.argv[1:3]]
    main(*given, *(200, 101)[len(given) :])

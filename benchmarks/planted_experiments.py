"""Do the intervals of ``experiment`` hold the planted effects of a world that its model was trained in?

Nothing is trained or asked here: for each folder with a built pipeline, the adapter's predictions for its test studies
are taken as they are, one study is left out, the model's error is fitted on the people of the others, and the intervals
are tried on each condition of the study left out against its control: on the planted effect in 4,000 people of its
frame. Topics and endorsers of test studies were in no training study. Beside the people of the folder's own world there
are those of the same world with ``realistic`` effects, of which a model that was trained on ``large`` ones knows
nothing. The few studies that show every condition to everyone are left out.

Run:  python -m benchmarks.planted_experiments FOLDER...
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.timing import table
from socrates.app.error_model import Unidentified, fit_errors
from socrates.app.planning import forecast
from socrates.core.params import read_yaml
from socrates.data.params import World
from socrates.data.synthetic import generate as made
from socrates.data.synthetic.respondents import liberal_scores, population
from socrates.survey.scales import scale

CROWD = 4000
KINDS = {(1, 1): "trusted, skilled", (1, -1): "trusted", (-1, 1): "skilled", (-1, -1): "neither", (): "all"}
CELL = ["study_id", "task_num", "condition_num"]


def cells(folder: Path, world: World) -> pl.DataFrame:
    """The table that ``evaluate`` writes of the test studies, with people's answers as this world has them, planted
    effects, kinds of conditions, and the sampling variance of the predicted mean."""
    predicted = pl.read_parquet(folder / "data/predictions/adapter/predictions.parquet")
    test, rows = set(predicted["study_id"]), []
    for number, study in enumerate(made.design(world)):
        if study.study_id not in test or study.within:
            continue
        people = made.answers(study, world, np.random.default_rng([world.seed, 1, number]))[0]
        crowd = liberal_scores(population(study.frame, CROWD, np.random.default_rng([world.seed, 9, number])))
        both = predicted.drop("response").join(
            people.select("study_id", "sample_id", "response"), on=["study_id", "sample_id"]
        )
        for (task_num, arm), of in both.group_by("task_num", "condition_num"):
            task, endorser = study.tasks[task_num - 1], study.conditions[arm - 1].endorser
            on = scale(of["scale"][0])
            place = (np.array(on.options) - on.low) / (on.high - on.low)
            human = (of["response"].to_numpy() - on.low) / (on.high - on.low)
            means = np.array(of["probabilities"].to_list()) @ place
            truth = made.distributions(study.topic, endorser, task, crowd, made.EFFECTS[world.effects])
            error = human.std(ddof=1) / np.sqrt(len(of))
            rows.append({
                "study_id": study.study_id, "task_num": task_num, "condition_num": arm, "scale": on.notation,
                "human": human.mean(), "human_se": error, "respondents": len(of), "predicted": means.mean(),
                "sampling": means.var(ddof=1) / len(of), "truth": truth.mean(axis=0) @ place,
                "kind": KINDS[endorser.values] if endorser else "",
            })  # fmt: skip
    return pl.DataFrame(rows).sort(CELL)


def tried(of: pl.DataFrame) -> tuple[list[tuple[str, bool, float]], list[bool], list[float], int]:
    """Of each effect its kind, whether its interval holds it, and the width; of each study, whether the joint intervals
    hold all; the self-checks, and how many fits were refused."""
    single, together, checks, refused = [], [], [], 0
    for name in of["study_id"].unique(maintain_order=True):
        try:
            known = fit_errors(of.filter(pl.col("study_id") != name))
        except Unidentified:
            refused += 1
            continue
        checks.append(known.covered)
        new = of.filter(study_id=name)
        control = new.filter(condition_num=1).select(
            "task_num", pl.col("predicted", "sampling", "truth").name.prefix("c_")
        )
        pairs = new.filter(pl.col("condition_num") > 1).join(control, on="task_num")
        task, own, shared = (pairs[column].to_numpy() for column in ("task_num", "sampling", "c_sampling"))
        covariance = np.diag(own) + (task[:, None] == task) * shared
        x, true = (pairs[v].to_numpy() - pairs[f"c_{v}"].to_numpy() for v in ("predicted", "truth"))
        found = forecast(x, covariance, pairs["condition_num"].to_numpy() - 1, known)
        ends = [effect.interval() for effect in found.effects]
        held = [bool(low <= value <= high) for value, (low, high) in zip(true, ends, strict=True)]
        single += zip(pairs["kind"], held, (high - low for low, high in ends), strict=True)
        together.append(
            all(abs(t - e.mean) <= found.reach * e.sd for t, e in zip(true, found.effects, strict=True))
        )
    return single, together, checks, refused


def row(name: str, single: list, together: list[bool], checks: list[float], refused: int) -> list[str]:
    """A row of the table."""
    held = {kind: [inside for k, inside, _ in single if kind in (k, "all")] for kind in KINDS.values()}
    shares = [f"{np.mean(of):.1%} of {len(of)}" if of else "-" for of in (*held.values(), together)]
    width = f"{np.mean([width for *_, width in single]):.3f}" if single else "-"
    return [name, *shares, width, f"{np.median(checks):.0%}" if checks else "-", str(refused)]


def main(folders: list[Path]) -> None:
    """Print the table: a row for each world and size of people's effects, and one for all of a size."""
    rows, whole = [], {}
    for folder in folders:
        world = World.model_validate(read_yaml(folder / "params.yaml")["data"]["synthetic"])
        for effects in dict.fromkeys((world.effects, "realistic")):
            found = tried(cells(folder, world.model_copy(update={"effects": effects})))
            rows.append(row(f"seed {world.seed}, {effects}", *found))
            old = whole.get((world.effects, effects), ([], [], [], 0))
            whole[world.effects, effects] = tuple(a + b for a, b in zip(old, found, strict=True))
    rows += [row(f"all trained on {on}, people {of}", *found) for (on, of), found in whole.items()]
    print(table(["world", *KINDS.values(), "joint", "width", "self-check", "refused"], rows))


if __name__ == "__main__":
    main([Path(folder) for folder in sys.argv[1:]])

"""Experiments on fresh planted worlds, predicted by the default adapter: every persona reads every condition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.core.params import load
from socrates.data.params import Data, World
from socrates.data.scales.resolve import resolve_scales
from socrates.data.synthetic.generate import Study, design, distributions, generate
from socrates.data.synthetic.respondents import persona_scores, population
from socrates.data.synthetic.stimuli import CONTROL
from socrates.model.params import Model, Prompt
from socrates.prediction.params import Predict
from socrates.prediction.predict import PredictionInputs, predict_table
from socrates.survey.tables import RESPONSES

CROWD = 20_000  # people over whom a planted effect is averaged


def planted_effects(study: Study, rng: np.random.Generator) -> list[tuple[str, int, int, float]]:
    """(study, condition, task, mean place on the scale) over a crowd of the study's sampling frame."""
    scores = persona_scores(population(study.frame, CROWD, rng))
    found = []
    for number, task in enumerate(study.tasks, 1):
        options = np.asarray(task.scale.options, dtype=np.float64)
        place = (options - options[0]) / (options[-1] - options[0])
        for condition, framing in enumerate(study.framings, 1):
            planted = distributions(study.topic, framing, task, scores).mean(axis=0)
            found.append((study.study_id, condition, number, float(planted @ place)))
    return found


def crossed(responses: pl.DataFrame) -> pl.DataFrame:
    """Every respondent of each study under every condition and task; ``response`` is kept where they gave one."""
    people = responses.select("study_id", "participant", "demographic").unique(["study_id", "participant"])
    cells = responses.select("study_id", "condition_num", "task_num", "stimuli").unique()
    given = responses.select("study_id", "participant", "condition_num", "task_num", "response")
    rows = people.join(cells, on="study_id").join(
        given, on=["study_id", "participant", "condition_num", "task_num"], how="left"
    )
    return rows.sort("study_id", "participant", "condition_num", "task_num").with_columns(
        sample_id=pl.int_range(pl.len()).cast(pl.Int64).over("study_id")
    )


def experiments(
    seed: int,
    studies: int,
    participants: int,
    folder: Path = Path(),
    progress: Callable[[str], None] = print,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A fresh world's studies that have a control, predicted person by person, and the planted means.

    Returns:
        (study_id, condition_num, task_num, participant, scale, response or null, place, deviation), the
        last two the predicted mean and standard deviation of the answer as shares of the scale; and
        (study_id, condition_num, task_num, planted).

    Raises:
        DataError: the seed is that of the data the adapter was trained on.
    """
    if load(Data, folder / "params.yaml").synthetic.seed == seed:
        raise DataError(f"seed {seed} is the training world's; take another")
    world = World(studies=studies, participants=participants, seed=seed)
    chosen = [study for study in design(world) if study.framings[0] is CONTROL]
    rows = crossed(generate(world)[0].filter(pl.col("study_id").is_in([s.study_id for s in chosen])))
    rng = np.random.default_rng([seed, 99])
    planted = [row for study in chosen for row in planted_effects(study, rng)]
    progress(f"world {seed}: {len(chosen)} studies, {len(rows):,} rows")
    asked = rows.with_columns(pl.col("response").fill_null(0)).select(
        pl.col(name).cast(kind) for name, kind in RESPONSES.items()
    )
    sections = [load(section, folder / "params.yaml") for section in (Model, Prompt, Predict)]
    inputs = PredictionInputs(folder / "models/base", folder / "models/adapter", *sections)  # type: ignore[arg-type]
    predicted, manifest = predict_table(resolve_scales(asked), inputs)
    assert not sum(manifest["excluded"].values()), manifest
    moments = predicted["probabilities"].map_elements(_moments, return_dtype=pl.List(pl.Float64))
    keys = ["study_id", "sample_id"]
    found = predicted.select(
        *keys, "scale", moments.list.get(0).alias("place"), moments.list.get(1).alias("deviation")
    )
    table = rows.join(found, on=keys).select(
        "study_id", "condition_num", "task_num", "participant", "scale", "response", "place", "deviation"
    )
    truth = pl.DataFrame(planted, ["study_id", "condition_num", "task_num", "planted"], orient="row")
    return table.sort("study_id", "task_num", "condition_num", "participant"), truth


def _moments(probabilities: pl.Series) -> list[float]:
    """Mean and standard deviation of an answer on an evenly spaced scale, as shares of it."""
    p = probabilities.to_numpy().astype(np.float64)
    place = np.linspace(0, 1, len(p))
    mean = float(p @ place)
    return [mean, float(np.sqrt(max(p @ (place - mean) ** 2, 0.0)))]

"""The synthetic world: what it promises about its tables, its parts and how hard it is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest
from scipy.stats import wasserstein_distance

from socrates.data.params import World
from socrates.data.synthetic.generate import Study, design, distributions, generate
from socrates.data.synthetic.respondents import FRAMES, persona_scores, population
from socrates.survey.scales import scale
from socrates.survey.tables import CELL, DEMOGRAPHICS, RESPONSES, TRUTH

WORLD = World(studies=60, participants=120, seed=7)
Tables = tuple[pl.DataFrame, pl.DataFrame]


@pytest.fixture(scope="module")
def tables() -> Tables:
    return generate(WORLD)


def test_same_seed_gives_same_world_and_another_seed_another() -> None:
    small = World(studies=8, participants=10, seed=1)
    for first, second in zip(generate(small), generate(small), strict=True):
        assert first.equals(second)
    assert not generate(small)[0].equals(generate(small.model_copy(update={"seed": 2}))[0])


def test_largest_world_has_a_place_for_every_text() -> None:
    studies = design(World(studies=400, participants=4, seed=0))
    places = [place for study in studies for place in study.places]
    assert len(places) == len(set(places)) == sum(len(s.framings) * len(s.tasks) for s in studies)
    assert len({study.study_id for study in studies}) == 400


def test_tables_have_the_canonical_columns_and_row_keys(tables: Tables) -> None:
    responses, truth = tables
    assert dict(responses.schema) == RESPONSES
    assert dict(truth.schema) == TRUTH
    assert not responses.select("study_id", "sample_id").is_duplicated().any()
    assert responses["study_id"].n_unique() == 60
    assert set(responses.select(CELL).rows()) == set(truth.select(CELL).rows())
    assert not any(responses[name].has_nulls() for name in RESPONSES if name != "demographic")


def test_respondents_answer_every_question_under_each_condition_they_see(tables: Tables) -> None:
    answered = tables[0].group_by("study_id", "participant", "condition_num").len("answered")
    questions = tables[0].group_by("study_id").agg(pl.col("task_num").n_unique().cast(pl.UInt32))
    both = answered.join(questions, on="study_id")
    assert both["answered"].equals(both["task_num"])
    seen = answered.group_by("study_id", "participant").len("conditions")
    within = seen.filter(pl.col("conditions") > 1)["study_id"].n_unique()
    assert 0 < within < 20, "most studies assign between subjects, some within"


def test_truth_is_a_distribution_over_the_scale_and_answers_lie_on_it(tables: Tables) -> None:
    responses, truth = tables
    answers = {key: set(group["response"]) for key, group in responses.group_by(CELL)}
    for *cell, notation, probabilities in truth.iter_rows():
        options = scale(notation).options
        assert len(probabilities) == len(options)
        assert min(probabilities) > 0
        assert sum(probabilities) == pytest.approx(1)
        assert answers[tuple(cell)] <= set(options)


def test_every_kind_of_scale_occurs(tables: Tables) -> None:
    assert set(tables[1]["scale"]) == {"1..2", "1..3", "1..4", "1..5", "1..7", "0..10", "0..100"}
    tasks = [task for study in design(WORLD) for task in study.tasks]
    assert {task.falling for task in tasks if task.scale.high == 2} == {True}  # 1 for Yes
    assert all(" Only return " in task.text for task in tasks)


def test_reversed_scale_mirrors_the_distribution() -> None:
    study = next(study for study in design(WORLD) for task in study.tasks if task.falling)
    task = next(task for task in study.tasks if task.falling)
    scores = persona_scores(population(study.frame, 5, np.random.default_rng(0)))
    rising = type(task)(task.form, task.scale, False, task.text)
    args = study.topic, study.framings[0]
    np.testing.assert_allclose(
        distributions(*args, task, scores), distributions(*args, rising, scores)[:, ::-1]
    )


def test_answers_on_a_hundred_points_heap_on_tens(tables: Tables) -> None:
    responses, truth = tables
    answers = responses.join(truth.filter(pl.col("scale") == "0..100"), on=CELL)["response"].to_numpy()
    assert 0.4 < (answers % 10 == 0).mean() < 0.7
    assert (answers % 5 != 0).mean() > 0.15


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_parts_of_every_study_occur_in_other_studies(seed: int) -> None:
    studies = design(WORLD.model_copy(update={"seed": seed}))
    used = Counter(part for study in studies for part in _parts(study))
    assert min(used.values()) >= 3, "a part of one study alone cannot be learned from the others"


def test_no_text_is_shared_between_studies(tables: Tables) -> None:
    folded = tables[0].select("study_id", pl.col("stimuli").str.to_lowercase().str.replace_all(r"\d+", "0"))
    assert folded.unique().group_by("stimuli").len()["len"].to_list().count(1) == folded["stimuli"].n_unique()


def test_personas_have_five_to_seven_fields_and_some_gaps(tables: Tables) -> None:
    people = tables[0].unique(["study_id", "participant"]).unnest("demographic")
    asked = people.group_by("study_id").agg(pl.col(list(DEMOGRAPHICS)).is_not_null().any())
    fields = asked.select(pl.sum_horizontal(list(DEMOGRAPHICS))).to_series().to_list()
    assert (min(fields), max(fields)) == (5, 7)
    assert 10 < asked["income"].to_list().count(True) < 50
    assert 0 < people["party_id"].null_count() < 0.05 * len(people)


def test_demographics_are_correlated_and_differ_between_frames() -> None:
    rng = np.random.default_rng(0)
    scores = [persona_scores(population(frame, 400, rng)) for frame in FRAMES]
    liberal = [np.mean(score["liberal"]) for score in scores]
    assert max(liberal) - min(liberal) > 0.8
    assert np.corrcoef(scores[0]["education"], scores[0]["income"])[0, 1] > 0.25


@pytest.mark.parametrize("seed", [7, 8])
def test_persona_and_condition_matter_and_the_truth_is_far_below_both(seed: int) -> None:
    w = _wasserstein(WORLD.model_copy(update={"seed": seed}))
    assert 0.03 < w["truth"] < 0.055
    assert w["no_persona"] > 2 * w["truth"]
    assert w["no_condition"] > 2 * w["truth"]
    assert w["uniform"] > 1.5 * max(w["no_persona"], w["no_condition"])


def _parts(study: Study) -> set[object]:
    tasks = {task.form for task in study.tasks} | {task.scale for task in study.tasks}
    return {study.topic, study.frame, *study.framings, *tasks}


def _wasserstein(world: World) -> dict[str, float]:
    """W of the paper (human range of the cell, mean by study) of predictors that know the effects."""
    responses, truth = generate(world)
    designs = {study.study_id: study for study in design(world)}
    rng = np.random.default_rng(0)
    everyone = persona_scores(pl.concat([population(frame, 100, rng) for frame in FRAMES]))
    merged: dict[tuple[str, int], list[list[float]]] = {}
    for study_id, _, number, _, probabilities in truth.iter_rows():
        merged.setdefault((study_id, number), []).append(probabilities)
    answers = {key: group["response"].to_numpy() for key, group in responses.group_by(CELL)}
    rows = []
    for study_id, condition, number, notation, probabilities in truth.iter_rows():
        study, human = designs[study_id], answers[study_id, condition, number]
        framing, task = study.framings[condition - 1], study.tasks[number - 1]
        if human.min() == human.max():
            continue
        predicted = {
            "truth": probabilities,
            "no_persona": distributions(study.topic, framing, task, everyone).mean(axis=0),
            "no_condition": np.mean(merged[study_id, number], axis=0),
            "uniform": np.ones(len(probabilities)),
        }
        # The distance is linear in the unit, so dividing by the range is the same as rescaling.
        w = {
            name: wasserstein_distance(scale(notation).options, human, weights) / np.ptp(human)
            for name, weights in predicted.items()
        }
        rows.append({"study_id": study_id, **w})
    by_study = pl.DataFrame(rows).group_by("study_id").mean().drop("study_id")
    return by_study.mean().row(0, named=True)

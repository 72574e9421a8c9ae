"""Baselines that copy a study's other answers: they copy what they say, and nothing else."""

import numpy as np
import polars as pl
import pytest

from socrates.baselines.fit import fit_baseline

KEY = {"study_id": "s", "condition_num": 1, "task_num": 1, "scale": "1..3", "scale_rule": "range"}


def rows(*changed: dict) -> pl.DataFrame:
    return pl.DataFrame([{**KEY, "response": 1, **each} for each in changed])


@pytest.mark.parametrize(
    ("name", "common", "other"),
    [
        ("other_conditions", {"condition_num": 2}, {"task_num": 2}),
        ("other_tasks", {"task_num": 2}, {"condition_num": 2}),
        ("other_participants", {}, {"condition_num": 2}),
    ],
)
def test_the_answers_in_common_are_copied(name, common, other):
    train = rows(*[{**common, "response": 3}] * 99, *[{**other, "response": 1}] * 50)
    predicted = fit_baseline(name, train, train).predict(rows({}))[0]
    average = np.array([50, 0, 99]) / 149
    np.testing.assert_allclose(predicted, (np.array([0, 0, 99]) + average) / 100)


def test_a_row_with_nothing_in_common_gets_the_average_of_its_scale_length_or_uniform():
    train = rows(*[{"response": 2}] * 3, {"response": 3})
    predict = fit_baseline("other_tasks", train, train).predict
    elsewhere = predict(rows({"study_id": "t"}, {"study_id": "t", "scale": "0,1", "response": 0}))
    np.testing.assert_allclose(elsewhere[0], [0, 0.75, 0.25])
    np.testing.assert_allclose(elsewhere[1], [0.5, 0.5])


@pytest.mark.parametrize("name", ["other_conditions", "other_participants"])
def test_answers_to_a_question_without_a_stated_scale_are_copied_to_the_scale_of_the_test_rows(name):
    """What people answered is its scale, and differs between training and test."""
    train = rows(
        *[{"scale": "17..75", "scale_rule": "observed", "response": age} for age in [30] * 98 + [17, 75]]
    )
    asked = rows({"scale": "22..69", "scale_rule": "observed", "response": 22})
    predicted = fit_baseline(name, train, train).predict(asked)[0]
    assert predicted[30 - 22] > 0.95 and predicted[0] > 0.009 and predicted[-1] > 0.009
    stated = rows({"scale": "22..69", "response": 22})
    assert fit_baseline(name, train, train).predict(stated)[0].max() < 0.05  # another question's answers

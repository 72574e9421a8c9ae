"""Baselines: what they can learn they learn, and what they must not see changes nothing."""

import shutil

import numpy as np
import polars as pl
import pytest

from socrates.baselines.fit import BASELINES, COPIES, fit_baseline, ranked_probability_score
from socrates.baselines.questions import option_index
from socrates.core.errors import DataError
from socrates.core.files import write_table
from socrates.survey.scales import scale
from socrates.survey.tables import RESPONSES, SCALED_RESPONSES
from stages import baseline
from tests import tiny
from tests.tiny import ROOT

DEMOGRAPHIC = RESPONSES["demographic"]
READERS = [name for name in BASELINES if name not in COPIES]


def rows(count: int, seed: int) -> pl.DataFrame:
    """Answers that depend on the text (a good or a bad plan) and on the person's ideology."""
    rng = np.random.default_rng(seed)
    good, liberal = rng.integers(0, 2, count), rng.integers(0, 2, count)
    names = [("1..7", "0..100", "1,2")[i % 3] for i in range(count)]
    place = np.clip(0.2 + 0.4 * good + 0.2 * liberal + 0.1 * rng.standard_normal(count), 0, 0.999)
    ideology = np.where(liberal, "Very Liberal", "Very Conservative")
    people = [{"age": str(20 + i % 50), "ideology": name} for i, name in enumerate(ideology)]
    options = [scale(name).options for name in names]
    return pl.DataFrame(
        {
            "stimuli": [f"A plan to {('dump waste', 'plant trees')[g]} in Oak Hill. Agree?" for g in good],
            "demographic": pl.Series(people, dtype=DEMOGRAPHIC),
            "scale": names,
            "response": [int(o[int(p * len(o))]) for o, p in zip(options, place, strict=True)],
        }
    )


TRAIN, VALIDATION, TEST = rows(1500, 1), rows(300, 2), rows(300, 3)


@pytest.fixture(scope="module")
def fitted():
    """Every baseline that reads, by name."""
    return {name: fit_baseline(name, TRAIN, VALIDATION, 1) for name in READERS}


def test_each_beats_a_uniform_guess_and_reading_both_is_best(fitted):
    scores = {name: ranked_probability_score(TEST, of.predict(TEST)) for name, of in fitted.items()}
    sizes = (len(scale(name).options) for name in TEST["scale"])
    assert max(scores.values()) < ranked_probability_score(TEST, [np.full(k, 1 / k) for k in sizes])
    assert min(scores, key=lambda name: scores[name]) == "words_demographics"
    assert scores["words"] < scores["demographics"]  # the text matters twice as much here


@pytest.mark.parametrize("name", READERS)
def test_a_prediction_is_a_distribution_over_the_rows_scale_and_test_answers_change_nothing(name, fitted):
    shuffled = TEST.with_columns(pl.col("response").shuffle(seed=1))
    both = (fitted[name].predict(table) for table in (TEST, shuffled))
    for notation, p, other in zip(TEST["scale"], *both, strict=True):
        assert len(p) == len(scale(notation).options)
        assert p.min() > 0 and p.sum() == pytest.approx(1)
        np.testing.assert_array_equal(p, other)


def test_a_label_that_training_never_saw_and_a_missing_field_are_read(fitted):
    people = pl.Series([{"ideology": "Anarchist"}, {"age": "about 40"}], dtype=DEMOGRAPHIC)
    assert len(fitted["demographics"].predict(TEST.head(2).with_columns(demographic=people))) == 2


def test_more_rows_than_fit_are_thinned(monkeypatch):
    monkeypatch.setattr("socrates.baselines.fit.MAX_ROWS", 300)
    assert fit_baseline("words", TRAIN, VALIDATION, 1).predict(TEST)


def test_the_ranked_probability_score_by_hand():
    table = pl.DataFrame({"scale": ["1..3"], "response": [2]})
    found = ranked_probability_score(table, [np.array([0.5, 0.25, 0.25])])
    assert found == pytest.approx((0.25 + 0.0625) / 2)


def test_an_answer_between_options_counts_as_the_nearest():
    assert option_index(pl.DataFrame({"scale": ["0..100/10"], "response": [34]})).tolist() == [3]


def test_an_unknown_name_and_no_rows_are_one_line():
    with pytest.raises(DataError, match="expected base, adapter or one of"):
        fit_baseline("oracle", TRAIN, VALIDATION, 1)
    with pytest.raises(DataError, match="no training row"):
        fit_baseline("words", TRAIN.head(0), VALIDATION, 1)


def test_validation_rows_without_a_scale_choose_no_baseline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    known = tiny.rows(4).with_columns(scale_rule=pl.lit("range")).select(*SCALED_RESPONSES)
    unknown = known.with_columns(scale=pl.lit(None, pl.String))
    for name, table in (("train", known), ("val", unknown), ("test", known)):
        write_table(tmp_path / f"data/splits/{name}.parquet", table)
    monkeypatch.setattr("sys.argv", ["stages.baseline", "words"])
    with pytest.raises(DataError, match=r"val\.parquet: no row has a known answer scale"):
        baseline.main()


def test_answers_that_are_all_at_one_end_are_predicted_there():
    for answer, at in ((1, 0), (2, -1)):
        train = TRAIN.with_columns(scale=pl.lit("1,2"), response=pl.lit(answer, pl.Int64))
        assert fit_baseline("demographics", train, train).predict(train[:1])[0][at] > 0.9


STUDY = {"study_id": "s", "condition_num": 1, "task_num": 1, "scale": "1..3", "scale_rule": "range"}


def in_a_study(*changed: dict) -> pl.DataFrame:
    return pl.DataFrame([{**STUDY, "response": 1, **each} for each in changed])


@pytest.mark.parametrize(
    ("name", "common", "other"),
    [
        ("other_conditions", {"condition_num": 2}, {"task_num": 2}),
        ("other_tasks", {"task_num": 2}, {"condition_num": 2}),
        ("other_participants", {}, {"condition_num": 2}),
    ],
)
def test_the_answers_in_common_are_copied(name, common, other):
    train = in_a_study(*[{**common, "response": 3}] * 99, *[{**other, "response": 1}] * 50)
    predicted = fit_baseline(name, train, train).predict(in_a_study({}))[0]
    average = np.array([50, 0, 99]) / 149
    np.testing.assert_allclose(predicted, (np.array([0, 0, 99]) + average) / 100)


def test_a_row_with_nothing_in_common_gets_the_average_of_its_scale_length_or_uniform():
    train = in_a_study(*[{"response": 2}] * 3, {"response": 3})
    predict = fit_baseline("other_tasks", train, train).predict
    elsewhere = predict(in_a_study({"study_id": "t"}, {"study_id": "t", "scale": "0,1", "response": 0}))
    np.testing.assert_allclose(elsewhere[0], [0, 0.75, 0.25])
    np.testing.assert_allclose(elsewhere[1], [0.5, 0.5])


@pytest.mark.parametrize("name", ["other_conditions", "other_participants"])
def test_answers_to_a_question_without_a_stated_scale_are_copied_to_the_scale_of_the_test_rows(name):
    """What people answered is its scale, and differs between training and test."""
    observed = {"scale": "17..75", "scale_rule": "observed"}
    train = in_a_study(*[{**observed, "response": age} for age in [30] * 98 + [17, 75]])
    asked = in_a_study({**observed, "scale": "22..69", "response": 22})
    predicted = fit_baseline(name, train, train).predict(asked)[0]
    assert predicted[30 - 22] > 0.95 and predicted[0] > 0.009 and predicted[-1] > 0.009
    stated = in_a_study({"scale": "22..69", "response": 22})
    assert fit_baseline(name, train, train).predict(stated)[0].max() < 0.05  # another question's answers

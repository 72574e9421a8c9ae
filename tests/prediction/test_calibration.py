"""Calibration: it finds a known distortion, never lowers the validation score, and reads no test answer."""

import numpy as np
import polars as pl
import pytest

from socrates.prediction.calibration import calibrate, corrected, some_of_each_cell
from socrates.survey.scales import scale
from socrates.survey.tables import CELL, PREDICTIONS
from tests import tiny

TRAIN = pl.DataFrame({"study_id": "t", "scale": "1..3", "response": [1, 1, 1, 3]})
AVERAGE = np.array([0.75, 0, 0.25])


def predictions(rows: int, seed: int, temperature: float, weight: float) -> pl.DataFrame:
    """Predictions from whose correction by these two numbers the answers are drawn."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([1, 1, 1], rows)
    truth = corrected(p, AVERAGE, np.log(temperature), weight)
    study = np.where(np.arange(rows) < rows / 3, "a", "b")
    answers = [1 + int(rng.choice(3, p=q)) for q in truth]
    columns = {"study_id": study, "scale": "1..3", "response": answers, "probabilities": p.tolist()}
    return pl.DataFrame(columns | {"allowed_mass": 0.9}).cast(
        {name: PREDICTIONS[name] for name in ("probabilities", "allowed_mass")}
    )


def test_a_known_distortion_is_found():
    found, about = calibrate(predictions(6000, 1, 2.0, 0.3), predictions(9, 2, 1, 0), TRAIN, 101)
    assert about["temperature"] == pytest.approx(2.0, rel=0.15)
    assert about["marginal_weight"] == pytest.approx(0.3, abs=0.05)
    assert found.schema["probabilities"] == PREDICTIONS["probabilities"]
    np.testing.assert_allclose([sum(row) for row in found["probabilities"]], 1, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_right_is_left_as_it_is(seed):
    _, about = calibrate(predictions(3000, seed, 1, 0), predictions(9, 2, 1, 0), TRAIN, 101)
    assert about["temperature"] == pytest.approx(1, rel=0.1) and about["marginal_weight"] < 0.05
    assert about["validation_log_score"] >= about["validation_log_score_uncorrected"]


def test_a_model_that_learned_nothing_scores_as_the_training_average():
    right = predictions(600, 3, 1, 0)
    nothing = right.with_columns(probabilities=pl.lit(AVERAGE.tolist(), dtype=pl.List(pl.Float32)))
    for table, better in ((right, True), (nothing, False)):
        _, about = calibrate(table, right, TRAIN, 101)
        model, average = (about[f"validation_log_score_{of}"] for of in ("uncorrected", "average"))
        assert model > average if better else model == pytest.approx(average)


def test_test_answers_change_nothing_and_without_validation_nothing_is_corrected():
    test, validation = predictions(30, 4, 1, 0), predictions(200, 5, 3.0, 0.2)
    one, _ = calibrate(validation, test, TRAIN, 101)
    other, _ = calibrate(validation, test.with_columns(response=4 - pl.col("response")), TRAIN, 101)
    assert one["probabilities"].to_list() == other["probabilities"].to_list()
    left, about = calibrate(validation.head(0), test, TRAIN, 101)
    assert left.equals(test)  # to the bit: else equal predictors would be told apart
    assert (about["temperature"], about["marginal_weight"]) == (1, 0)


def test_scales_of_different_lengths_keep_their_rows():
    short = predictions(4, 6, 1, 0)
    even = pl.lit([0.2] * 5, dtype=pl.List(pl.Float32))
    long = short.with_columns(scale=pl.lit("1..5"), probabilities=even)
    mixed = pl.concat([short, long])[[0, 4, 1, 5, 2, 6, 3, 7]]
    found, _ = calibrate(predictions(50, 7, 1, 0.5), mixed, TRAIN, 101)
    lists = found["probabilities"].to_list()
    assert [len(row) for row in lists] == [len(scale(name).options) for name in mixed["scale"]]
    np.testing.assert_allclose(lists[1], [0.2] * 5, rtol=1e-6)  # length not in training


def test_some_of_each_cell_are_predicted():
    few, lost = some_of_each_cell(tiny.rows(25))
    assert lost == {} and set(few.group_by(CELL).len()["len"]) == {9}  # every third of 25
    assert some_of_each_cell(tiny.rows(8))[0].height == 24

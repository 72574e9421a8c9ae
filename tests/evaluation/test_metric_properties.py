"""What must hold of every metric on any survey: bounds, perfect scores, and what may not matter."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.evaluate_at_full_size import world
from socrates.evaluation.cells import Predictor
from socrates.evaluation.metrics import METRICS
from socrates.evaluation.predictions import read_predictions
from socrates.evaluation.scoring import estimates, score
from tests.evaluation.test_evaluate import PARAMS
from tests.tiny import ROOT

slow = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
surveys = st.tuples(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 2), st.integers(3, 12), st.integers(0, 99)
)


def made(shape):
    *size, seed = shape
    predictions, _ = world(*size, {"adapter": 0.3}, seed)
    return read_predictions(predictions["adapter"], Path("made"), "adapter")


def perfect(survey):
    """Every respondent's own answer, with certainty."""
    return Predictor("adapter", [np.eye(len(b.positions))[b.answers] for b in survey.blocks])


def figures(survey, predictor):
    return estimates(survey, score(survey, predictor, PARAMS), PARAMS)


@slow
@given(surveys)
def test_no_figure_leaves_its_range_nor_its_interval(shape):
    for key, found in figures(*made(shape)).items():
        known = METRICS[key]
        if found.value is None:
            continue
        assert np.isfinite(found.value), key
        assert known.low is None or found.value >= known.low - 1e-6, key
        assert known.high is None or found.value <= known.high + 1e-6, key
        if found.low is not None:
            assert found.low - 1e-9 <= found.value <= found.high + 1e-9, key


@slow
@given(surveys)
def test_a_perfect_predictor_has_the_best_value_of_every_metric(shape):
    survey, _ = made(shape)
    found = figures(survey, perfect(survey))
    for key, entry in METRICS.items():
        value = found[key].value if key in found else None
        best = (entry.high if entry.higher_is_better else entry.low) if entry.target is None else entry.target
        sampling = key in ("pit_deviation", "effects.reliability", "groups.accuracy_gap_chance")
        if value is not None and best is not None and not sampling:
            assert value == pytest.approx(best, abs=1e-5), key
    assert found["crps"].value is not None


def test_every_metric_is_defined_in_the_documentation():
    text = (ROOT / "docs" / "measurement.md").read_text(encoding="utf-8")
    missing = [key for key in METRICS if f"`{key}`" not in text]
    assert not missing

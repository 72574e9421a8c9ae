"""The seed project's metric reproduces its published figures, and shows why it is no headline."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import wasserstein_distance

from tests.shared import SHARED

PUBLISHED = SHARED / "data" / "socsci210" / "published_predictions_100.json"


def seed_distance(predicted, truth):
    """Predictions and answers each on [0, 1] by their own range, as the seed project compared them."""
    ends = [(side.min(), side.max()) for side in (predicted, truth)]
    sides = [
        (side - low) / (high - low) if high > low else np.zeros_like(side)
        for side, (low, high) in zip((predicted, truth), ends, strict=True)
    ]
    return float(wasserstein_distance(*sides))


def by_group(groups, distance, *sides):
    """group -> distance of its predictions and answers; groups of one, and without a distance, are left out."""
    index = np.array([list(dict.fromkeys(groups)).index(group) for group in groups])
    found = {
        i: distance(*(side[index == i] for side in sides)) for i in np.unique(index) if sum(index == i) > 1
    }
    return {i: value for i, value in found.items() if not np.isnan(value)}


def human_range_distance(predicted, truth):
    """The human range for both sides, predictions clipped into it; NaN where everyone agreed."""
    low, high = truth.min(), truth.max()
    w = wasserstein_distance(np.clip(predicted, low, high), truth)
    return w / (high - low) if high > low else np.nan


@pytest.fixture
def published():
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not here")
    rows = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    groups = [(row["study_id"], row["condition_num"]) for row in rows]
    return groups, np.array([r["pred_numeric"] for r in rows]), np.array([r["true_numeric"] for r in rows])


def test_published_figures_reproduce(published):
    groups, predicted, truth = published
    found = by_group(groups, seed_distance, predicted, truth)
    assert len(found) == 26
    assert np.mean(list(found.values())) == pytest.approx(0.08108940492446408, rel=1e-12)
    assert np.corrcoef(predicted, truth)[0, 1] == pytest.approx(0.24727189953672804, rel=1e-12)
    usable = predicted < 1e6  # one answer was parsed as 2e99
    assert np.corrcoef(predicted[usable], truth[usable])[0, 1] == pytest.approx(0.608, abs=5e-4)


def test_the_human_range_tells_another_story(published):
    groups, *sides = published
    found = by_group(groups, human_range_distance, *sides)
    assert len(found) == 22
    assert np.mean(list(found.values())) == pytest.approx(0.2814, abs=5e-5)
    studies: dict[str, list[float]] = {}
    for i, w in found.items():
        studies.setdefault(list(dict.fromkeys(groups))[i][0], []).append(w)
    assert np.mean([np.mean(ws) for ws in studies.values()]) == pytest.approx(0.2688, abs=5e-5)


def test_a_uniform_guess_does_well_under_it(published):
    groups, _, truth = published
    rng = np.random.default_rng(0)
    guesses = rng.integers(1, 8, size=(200, len(truth))).astype(float)  # 1 to 7, whatever was asked
    scores = [np.mean(list(by_group(groups, seed_distance, guess, truth).values())) for guess in guesses]
    assert np.mean(scores) == pytest.approx(0.154, abs=0.006)


def test_a_model_that_is_always_wrong_is_perfect_under_it():
    assert seed_distance(np.full(4, 1.0), np.full(4, 8.0)) == 0
    wrong = np.array([1.0, 1, 2, 2]), np.array([7.0, 7, 8, 8])
    assert seed_distance(*wrong) == 0
    assert human_range_distance(*wrong) == pytest.approx(0.5)

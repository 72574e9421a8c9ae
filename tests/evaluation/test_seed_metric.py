"""The seed project's metric reproduces its published figures, and shows why it is no headline."""

from __future__ import annotations

import json

import numpy as np
import pytest

from socrates.evaluation.seed_convention import human_range_distances, seed_distances
from tests.shared import SHARED

PUBLISHED = SHARED / "data" / "socsci210" / "published_predictions_100.json"


@pytest.fixture
def published() -> tuple[list[tuple[str, int]], np.ndarray, np.ndarray]:
    if not PUBLISHED.exists():
        pytest.skip(f"{PUBLISHED} is not here")
    rows = json.loads(PUBLISHED.read_text(encoding="utf-8"))
    groups = [(row["study_id"], row["condition_num"]) for row in rows]
    return groups, np.array([r["pred_numeric"] for r in rows]), np.array([r["true_numeric"] for r in rows])


def test_published_figures_reproduce(published: tuple) -> None:
    groups, predicted, truth = published
    found = seed_distances(groups, predicted, truth)
    assert len(found) == 26
    assert np.mean(list(found.values())) == pytest.approx(0.08108940492446408, rel=1e-12)
    assert np.corrcoef(predicted, truth)[0, 1] == pytest.approx(0.24727189953672804, rel=1e-12)
    usable = predicted < 1e6  # one answer was parsed as 2e99
    assert np.corrcoef(predicted[usable], truth[usable])[0, 1] == pytest.approx(0.608, abs=5e-4)


def test_the_human_range_tells_another_story(published: tuple) -> None:
    found = human_range_distances(*published)
    assert len(found) == 22
    assert np.mean(list(found.values())) == pytest.approx(0.2814, abs=5e-5)
    studies: dict[str, list[float]] = {}
    for (study, _), w in found.items():  # type: ignore[misc]
        studies.setdefault(study, []).append(w)
    assert np.mean([np.mean(ws) for ws in studies.values()]) == pytest.approx(0.2688, abs=5e-5)


def test_a_uniform_guess_does_well_under_it(published: tuple) -> None:
    groups, _, truth = published
    rng = np.random.default_rng(0)
    guesses = rng.integers(1, 8, size=(200, len(truth))).astype(float)  # 1 to 7, whatever was asked
    scores = [np.mean(list(seed_distances(groups, guess, truth).values())) for guess in guesses]
    assert np.mean(scores) == pytest.approx(0.154, abs=0.006)


def test_a_model_that_is_always_wrong_is_perfect_under_it() -> None:
    groups = ["a"] * 4
    assert seed_distances(groups, np.full(4, 1.0), np.full(4, 8.0)) == {"a": 0.0}
    wrong = human_range_distances(groups, np.array([1.0, 1, 2, 2]), np.array([7.0, 7, 8, 8]))
    assert seed_distances(groups, np.array([1.0, 1, 2, 2]), np.array([7.0, 7, 8, 8])) == {"a": 0.0}
    assert wrong["a"] == pytest.approx(0.5)

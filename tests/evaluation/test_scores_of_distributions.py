"""The corrected distance, the ranked probability score and what a persona adds, by hand and by property."""

import numpy as np
import pytest

from socrates.evaluation import distance, individual

POSITIONS = np.array([0, 0.5, 1])


def test_the_ranked_probability_score_by_hand():
    p = np.array([[0, 0.5, 0.5]])
    assert individual.crps(p, np.array([2]), POSITIONS) == pytest.approx([0.125])
    assert individual.crps(np.array([[0, 0, 1.0]]), np.array([2]), POSITIONS) == pytest.approx([0])


@pytest.mark.parametrize("people", [5, 8, 20, 100, 500])
def test_the_corrected_distance_of_the_truth_is_0_at_every_cell_size(people):
    rng = np.random.default_rng(people)
    truth = np.array([0.1, 0.2, 0.4, 0.2, 0.1])
    human = rng.multinomial(people, truth, 20_000) / people
    gap = np.full((1, 4), 0.25)
    values = distance.cramer(np.tile(truth, (20_000, 1)), human, np.full(20_000, people), gap)
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert distance.wasserstein(truth, human, gap).mean() > 0.01  # which W is not


def test_the_corrected_distance_by_hand():
    p, h = np.array([[0.5, 0.5, 0]]), np.array([[0.5, 0, 0.5]])
    gap = np.array([[0.5, 0.5]])
    assert distance.cramer(p, h, np.array([5]), gap) == pytest.approx([0.125 - 0.0625])


def test_what_the_own_persona_adds_over_anothers_and_over_the_mean():
    p, answers = np.array([[0.5, 0.5, 0], [0.25, 0.75, 0]]), np.array([0, 1])
    shuffled = individual.gain_over_shuffled(individual.log_likelihood)(p, answers, POSITIONS)
    assert shuffled == pytest.approx([np.log(0.5 / 0.25), np.log(0.75 / 0.5)])
    mean = individual.gain_over_mean(individual.log_likelihood)(p, answers, POSITIONS)
    assert mean == pytest.approx([np.log(0.5 / 0.375), np.log(0.75 / 0.625)])


def test_the_gain_over_shuffled_is_the_mean_over_all_shuffles():
    rng = np.random.default_rng(1)
    p, answers = rng.dirichlet(np.ones(3), 6), rng.integers(0, 3, 6)
    gains = individual.gain_over_shuffled(individual.crps)(p, answers, POSITIONS)
    own = individual.crps(p, answers, POSITIONS)
    others = [
        np.mean([individual.crps(p[[j]], answers[[i]], POSITIONS)[0] for j in range(6) if j != i])
        for i in range(6)
    ]
    assert gains == pytest.approx(own - others)

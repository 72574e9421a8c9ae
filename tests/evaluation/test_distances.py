"""Distances and scores of distributions: by hand, by property, and against other implementations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance

from socrates.evaluation import distance, individual

GRID = np.arange(1.0, 6.0)[None]
POSITIONS = np.array([0, 0.5, 1])


def share(*counts):
    return np.array(counts, dtype=float)[None] / sum(counts)


def pmf(size=5):
    weights = arrays(np.int64, size, elements=st.integers(0, 20)).filter(lambda w: w.sum() > 0)
    return weights.map(lambda w: w[None] / w.sum())


def w(p, h, grid=GRID, **how):
    """W on the range that people used, and on the stated one."""
    gaps = distance.human_gaps(h, grid, **how), distance.stated_gaps(grid)
    return tuple(float(distance.wasserstein(p, h, gap)[0]) for gap in gaps)


def test_a_model_far_from_people():
    # People answer 4 or 5, the model always 1: it is 3.5 points away, on a range of 1 used and 4 allowed.
    assert w(share(1, 0, 0, 0, 0), share(0, 0, 0, 1, 1)) == pytest.approx((3.5, 3.5 / 4))


def test_a_cell_where_all_agree_follows_the_parameter():
    people, model = share(0, 0, 1, 0, 0), share(0, 0, 0, 0, 1)
    assert w(model, people) == pytest.approx((np.nan, 0.5), nan_ok=True)
    assert w(model, people, one_level=True)[0] == pytest.approx(2)


@given(pmf(), pmf())
def test_w_is_scipys(p, h):
    points = wasserstein_distance(GRID[0], GRID[0], p[0], h[0])
    used, stated = w(p, h)
    assert stated == pytest.approx(points / 4, abs=1e-12)
    chosen = GRID[h > 0]
    if len(chosen) > 1:
        assert used == pytest.approx(points / (chosen.max() - chosen.min()), abs=1e-12)


def test_entropy_by_hand():
    assert distance.entropy(share(1, 1, 1, 1))[0] == pytest.approx(2)
    assert distance.entropy(share(0, 1, 0, 0))[0] == 0
    assert np.isnan(distance.ratio(np.array([1.0]), np.array([0.0])))[0]


def test_padding_changes_nothing():
    p, h, grid = share(1, 2, 1), share(2, 1, 1), GRID[:, :3]
    wide = [np.pad(x, ((0, 0), (0, 4))) for x in (p, h)]
    assert w(*wide, np.pad(grid, ((0, 0), (0, 4)), mode="edge")) == pytest.approx(w(p, h, grid))


def test_the_ranked_probability_score_by_hand():
    p = np.array([[0, 0.5, 0.5], [0, 0, 1.0]])
    assert individual.crps(p, np.array([2, 2]), POSITIONS) == pytest.approx([0.125, 0])


@pytest.mark.parametrize("people", [5, 20, 500])
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
    own = np.array([[0.5, 0.5, 0], [0.25, 0.75, 0]]), np.array([0, 1]), POSITIONS
    shuffled = individual.gain_over_shuffled(individual.log_likelihood, *own)
    assert shuffled == pytest.approx([np.log(0.5 / 0.25), np.log(0.75 / 0.5)])
    mean = individual.gain_over_mean(individual.log_likelihood, *own)
    assert mean == pytest.approx([np.log(0.5 / 0.375), np.log(0.75 / 0.625)])


def test_the_gain_over_shuffled_is_the_mean_over_all_shuffles():
    rng = np.random.default_rng(1)
    p, answers = rng.dirichlet(np.ones(3), 6), rng.integers(0, 3, 6)
    gains = individual.gain_over_shuffled(individual.crps, p, answers, POSITIONS)
    own = individual.crps(p, answers, POSITIONS)
    others = [
        np.mean([individual.crps(p[[j]], answers[[i]], POSITIONS)[0] for j in range(6) if j != i])
        for i in range(6)
    ]
    assert gains == pytest.approx(own - others)

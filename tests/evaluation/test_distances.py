"""Distances between answer distributions: by hand, by property, and against other implementations."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import wasserstein_distance

from socrates.evaluation import distance

GRID = np.arange(1.0, 6.0)


def share(*counts):
    return np.array(counts, dtype=float)[None] / sum(counts)


def pmf(size=5):
    weights = arrays(np.int64, size, elements=st.integers(0, 20)).filter(lambda w: w.sum() > 0)
    return weights.map(lambda w: w[None] / w.sum())


def w(p, h, convention, **how):
    gap = distance.gaps(h, GRID[None], convention, **how)
    return float(distance.wasserstein(p, h, gap)[0])


@pytest.mark.parametrize(("convention", "expected"), [("paper", 3.5), ("stated", 3.5 / 4)])
def test_a_model_far_from_people(convention, expected):
    # People answer 4 or 5, the model always 1: it is 3.5 points away, on a range of 1 used and 4 allowed.
    assert w(share(1, 0, 0, 0, 0), share(0, 0, 0, 1, 1), convention) == pytest.approx(expected)


def test_a_cell_where_all_agree_follows_the_parameter():
    people, model = share(0, 0, 1, 0, 0), share(0, 0, 0, 0, 1)
    assert np.isnan(w(model, people, "paper"))
    assert w(model, people, "paper", constant_cells="one_level") == pytest.approx(2)
    assert w(model, people, "stated") == pytest.approx(0.5)


@given(pmf(), pmf())
def test_w_is_scipys(p, h):
    expected = wasserstein_distance(GRID, GRID, p[0], h[0]) / 4
    assert w(p, h, "stated") == pytest.approx(expected, abs=1e-12)
    low, high = GRID[h[0] > 0].min(), GRID[h[0] > 0].max()
    if high > low:
        assert w(p, h, "paper") == pytest.approx(expected * 4 / (high - low), abs=1e-12)


def test_entropy_by_hand():
    assert distance.entropy(share(1, 1, 1, 1))[0] == pytest.approx(2)
    assert distance.entropy(share(0, 1, 0, 0))[0] == 0
    assert np.isnan(distance.ratio(np.array([1.0]), np.array([0.0])))[0]


def test_padding_changes_nothing():
    p, h = share(1, 2, 1), share(2, 1, 1)
    grid = np.array([[1.0, 2.0, 3.0]])
    padded = np.pad(grid, ((0, 0), (0, 4)), mode="edge")
    wide = [np.pad(x, ((0, 0), (0, 4))) for x in (p, h)]
    for convention in get_args(distance.Convention):
        narrow = distance.wasserstein(p, h, distance.gaps(h, grid, convention))
        assert distance.wasserstein(*wide, distance.gaps(wide[1], padded, convention)) == pytest.approx(
            narrow
        )

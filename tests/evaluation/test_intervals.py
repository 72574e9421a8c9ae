"""Intervals and p-values: against closed forms, and how often they are right."""

import itertools

import numpy as np
import pytest
from scipy import stats

from socrates.evaluation import intervals
from socrates.evaluation.intervals import StudyStatistic, confidence_interval, sign_flip_interval, study_mean


def rng(seed=0):
    return np.random.default_rng(seed)


def test_equal_studies_have_an_interval_of_no_width():
    found = confidence_interval(study_mean(np.full(5, 0.2)), 100, rng())
    assert (found.low, found.high, found.sign) == (found.value, found.value, 1)
    assert confidence_interval(study_mean(np.array([0.2, np.nan])), 100, rng()).low is None
    assert confidence_interval(study_mean(np.array([np.nan])), 100, rng()).value is None


@pytest.mark.parametrize(("n", "draws"), [(12, 0), (3, 300), (2, 300)])  # two or three are not resampled
def test_without_draws_a_mean_has_students_t(n, draws):
    x = rng().normal(0.3, size=n)
    found = confidence_interval(study_mean(x), draws, rng())
    expected = stats.ttest_1samp(x, 0)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue)


def test_an_end_that_bounds_nothing_is_not_given():
    sums = np.array([[1e-200, 1.0], [1.0, 1.0]])
    ratio = StudyStatistic(intervals.share, sums, intervals.LOGARITHM)
    assert confidence_interval(ratio, 0, rng()) == intervals.Estimate(0.5)


def test_intervals_cover_about_as_often_as_they_say():
    draw, covered = rng(), 0
    for _ in range(300):
        found = confidence_interval(study_mean(draw.gamma(4, 0.04, 20)), 300, draw)
        covered += found.low <= 0.16 <= found.high
    assert 0.91 <= covered / 300 <= 0.99


def test_a_correlation_is_numpys_and_stays_inside_its_range():
    x, study = rng().normal(size=60), np.repeat(np.arange(6), 10)
    y = x + rng(1).normal(size=60)
    sums = intervals.moments(x, y, study, 6)
    figure = StudyStatistic(intervals.correlation, sums, intervals.FISHER)
    found = confidence_interval(figure, 500, rng())
    assert found.value == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert -1 <= found.low < found.value < found.high <= 1
    change = confidence_interval(figure.minus(figure), 500, rng())
    assert (change.value, change.sign) == (0, 0)


@pytest.mark.parametrize("n", [6, 9])
def test_differences_are_those_that_flipping_signs_allows(n):
    x = rng(n).normal(0.4, size=n)
    found = sign_flip_interval(x, 100, rng())
    signs = np.array(list(itertools.product([1, -1], repeat=n)))

    def p(shift):
        moved, centre = (signs * (x - shift)).mean(axis=1), (x - shift).mean()
        return 2 * min(np.mean(moved >= centre - 1e-12), np.mean(moved <= centre + 1e-12), 0.5)

    assert found.p == pytest.approx(p(0))
    assert min(p(found.low + 1e-6), p(found.high - 1e-6)) > 0.05
    assert max(p(found.low - 1e-6), p(found.high + 1e-6)) <= 0.05


@pytest.mark.parametrize("n", [6, 20])
def test_equal_predictors_are_seldom_called_different(n):
    draw = rng(n)
    found = [sign_flip_interval(draw.standard_t(2, n), 400, draw) for _ in range(600)]
    assert 0.01 <= np.mean([f.sign != 0 for f in found]) <= 0.08
    assert all((f.sign != 0) == (f.p <= 0.05) for f in found)


def test_five_studies_fall_back_on_students_t():
    x = np.array([0.1, 0.2, 0.15, 0.12, 0.18])
    assert sign_flip_interval(x, 1000, rng()) == confidence_interval(study_mean(x), 0, rng())
    assert sign_flip_interval(np.zeros(8), 1000, rng()).sign == 0


def test_the_median_is_numpys_and_its_interval_covers():
    draw, covered = rng(), 0
    for _ in range(200):
        study = np.repeat(np.arange(15), 8)
        values = draw.normal(0, 0.5, 15)[study] + draw.normal(size=120)
        found = intervals.median_interval(values, study, 300, draw)
        assert found.value == np.median(values)
        covered += found.low <= 0 <= found.high
    assert 0.9 <= covered / 200 <= 1
    assert intervals.median_interval(np.full(3, np.nan), np.arange(3), 9, draw).value is None

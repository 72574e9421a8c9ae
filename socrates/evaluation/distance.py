"""How far a predicted answer distribution lies from that of people, cell by cell.

Every function takes arrays over cells, [C, K] with padding as in ``cells``, and gives [C].
A value that is not defined (no range, no entropy) is NaN: callers count it, none is averaged away.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def observed_range(human: Floats, grid: Floats) -> tuple[Floats, Floats]:
    """[C] the smallest and the largest option that anyone of the cell chose."""
    chosen = human > 0
    return np.where(chosen, grid, np.inf).min(axis=1), np.where(chosen, grid, -np.inf).max(axis=1)


def human_gaps(human: Floats, grid: Floats, one_level: bool = False) -> Floats:
    """[C, K-1] distance between neighbouring options, as shares of the range that people used in the cell.

    The paper's convention; a prediction outside of the range counts in full. Where everyone agreed the range is 0
    and the gaps are NaN, or in units of the cell's smallest step between options (``one_level``).
    """
    low, high = observed_range(human, grid)
    gaps = np.diff(grid)
    step = np.where(gaps > 0, gaps, np.inf).min(axis=1) if one_level else np.nan
    return gaps / np.where(high > low, high - low, step)[:, None]


def stated_gaps(grid: Floats) -> Floats:
    """[C, K-1] the same as shares of the range that the question allows, so that W cannot exceed 1."""
    return np.diff(grid) / (grid[:, -1:] - grid[:, :1])


def wasserstein(p: Floats, q: Floats, gap: Floats) -> Floats:
    """[...] Wasserstein-1 distance of distributions [..., K] over ordered options, ``gap`` [..., K-1] apart.

    In one dimension it is the area between the two cumulative distributions (Vallender 1974):
    sum over k of |P(k) - Q(k)| * gap(k). With options 1..5, p all on 1 and q all on 5, W is 1 on
    the stated scale.
    """
    return np.sum(np.abs(np.cumsum(p - q, axis=-1)[..., :-1]) * gap, axis=-1)


def cramer(pmf: Floats, human: Floats, respondents: Ints, gap: Floats) -> Floats:
    """[C] squared distance of the cumulative distributions, without what people's sampling adds to it.

    The Cramer distance (Szekely and Rizzo 2013): sum over k of (P(k) - Q(k))^2 * gap(k). Shares Q of n people have
    the variance Q(k) (1 - Q(k)) / n around those of their population, which Q(k) (1 - Q(k)) / (n - 1) estimates
    without bias; it is subtracted, so that the truth scores 0 on average at every cell size, and a cell may score
    below 0.
    """
    p, q = np.cumsum(pmf, axis=-1)[..., :-1], np.cumsum(human, axis=-1)[..., :-1]
    noise = q * (1 - q) / np.maximum(respondents - 1, 1)[:, None]
    return np.sum(((p - q) ** 2 - noise) * gap, axis=-1)


def entropy(p: Floats) -> Floats:
    """[...] Shannon entropy in bits."""
    return -xlogy(p, p).sum(axis=-1) / np.log(2)


def ratio(top: NDArray[Any], bottom: NDArray[Any]) -> Floats:
    """[...] top over bottom; NaN where bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 1e-12)

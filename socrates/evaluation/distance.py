"""How far a predicted answer distribution lies from that of people, cell by cell.

Every function takes arrays over cells, [C, K] with padding as in ``cells``, and gives [C].
A value that is not defined (no range, no entropy) is NaN: callers count it, none is averaged away.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from socrates.evaluation.cells import Floats

Convention = Literal["paper", "stated"]


def observed_range(human: Floats, grid: Floats) -> tuple[Floats, Floats]:
    """[C] the smallest and the largest option that anyone of the cell chose."""
    chosen = human > 0
    low = np.where(chosen, grid, np.inf).min(axis=1)
    high = np.where(chosen, grid, -np.inf).max(axis=1)
    return low, high


def gaps(
    human: Floats,
    grid: Floats,
    convention: Convention,
    constant_cells: Literal["exclude", "one_level"] = "exclude",
) -> Floats:
    """[C, K-1] distance between neighbouring options, as shares of the convention's range.

    ``paper`` divides by the range people used in the cell; a prediction outside of it counts in
    full. ``stated`` divides by the range the question allows, so W cannot exceed 1.

    Where everyone agreed the observed range is 0: ``exclude`` makes the cell's gaps NaN,
    ``one_level`` divides by the cell's smallest step between options instead.
    """
    if convention == "stated":
        return np.diff(grid) / (grid[:, -1] - grid[:, 0])[:, None]
    low, high = observed_range(human, grid)
    step = np.where(np.diff(grid) > 0, np.diff(grid), np.inf).min(axis=1)
    divisor = np.where(high > low, high - low, step if constant_cells == "one_level" else np.nan)
    return np.diff(grid) / divisor[:, None]


def wasserstein(p: Floats, q: Floats, gap: Floats) -> Floats:
    """[...] Wasserstein-1 distance of distributions over ordered options.

    In one dimension it is the area between the two cumulative distributions (Vallender 1974):
    sum over k of |P(k) - Q(k)| * gap(k). With options 1..5, p all on 1 and q all on 5, W is 1 on
    the stated scale.

    Args:
        p, q: [..., K] probabilities.
        gap: [..., K-1] as from :func:`gaps`.
    """
    difference = np.cumsum(p - q, axis=-1)[..., :-1]
    return np.sum(np.abs(difference) * gap, axis=-1)


def cramer(pmf: Floats, human: Floats, respondents: NDArray[np.int64], gap: Floats) -> Floats:
    """[C] squared distance of the cumulative distributions, without what people's sampling adds to it.

    The Cramer distance (Szekely and Rizzo 2013): sum over k of (P(k) - Q(k))^2 * gap(k). Shares Q of n people have
    the variance Q(k) (1 - Q(k)) / n around those of their population, which Q(k) (1 - Q(k)) / (n - 1) estimates
    without bias; it is subtracted, so that the truth scores 0 on average at every cell size. A cell may score
    below 0.
    """
    p, q = np.cumsum(pmf, axis=-1)[..., :-1], np.cumsum(human, axis=-1)[..., :-1]
    noise = q * (1 - q) / np.maximum(respondents - 1, 1)[:, None]
    return np.sum(((p - q) ** 2 - noise) * gap, axis=-1)


def entropy(p: Floats) -> Floats:
    """[...] Shannon entropy in bits."""
    return -xlogy(p, p).sum(axis=-1) / np.log(2)


def mean(p: Floats, grid: Floats) -> Floats:
    """[...] expected option."""
    return (p * grid).sum(axis=-1)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """[...] top over bottom; NaN where bottom is 0."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 1e-12)

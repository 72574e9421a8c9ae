"""What a drawn answer earns: closeness to the person's own, and the group's fit to the people of its cell.

The fit of a group of answers x_1 .. x_G to people Y is 1 minus their squared Cramér distance,
the integral of (F_group - F_people)^2 over the scale from 0 to 1. In its kernel form (Gneiting & Raftery
2007, JASA 102, eq. 21, the continuous ranked probability score; Székely & Rizzo 2013, J. Stat. Plan.
Inference 143, for the distance between samples) that is

    fit = 1 - (mean |x - Y| - mean |x - x'| / 2 - mean |Y - Y'| / 2),

with x, x' over pairs of *different* answers of the group, the form of which a finite group neither gains nor
loses by its size (Ferro 2014, Q. J. R. Meteorol. Soc. 140). Its expectation over groups drawn from a
distribution is highest where that is the people's: the score is proper, so that all saying the mode
earns less than spreading as people do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from socrates.survey.scales import Scale

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class People:
    """How the people of a cell answered.

    Attributes:
        answers: the distinct answers in ascending order, on the scale from 0 to 1, ``[K]``.
        shares: of the people who gave each, ``[K]``, summing to 1.
        low, high: the ends of the scale.
        apart: mean distance between two of them.
    """

    answers: Floats
    shares: Floats
    low: int
    high: int
    apart: float

    @classmethod
    def of(cls, responses: Sequence[int] | NDArray[np.int64], on: Scale) -> People:
        """The people behind the responses to one question."""
        values, counts = np.unique(np.asarray(responses, dtype=np.float64), return_counts=True)
        answers, shares = (values - on.low) / (on.high - on.low), counts / counts.sum()
        below = np.cumsum(shares)[:-1]
        apart = 2 * float(np.sum(below * (1 - below) * np.diff(answers)))
        return cls(answers, shares, on.low, on.high, apart)


def stated(completion: str, on: Scale) -> int | None:
    """The answer that a completion states: an integer of the scale as a prompt's answer is written, and
    nothing else; None otherwise."""
    if not re.fullmatch(r"-?\d{1,18}", completion):
        return None
    number = int(completion)
    return number if str(number) == completion and number in on.options else None


def closeness(answer: int, response: int, on: Scale) -> float:
    """1 - |answer - response| / range: 1 for the same answer, 0 for the other end of the scale."""
    return 1 - abs(answer - response) / (on.high - on.low)


def fit_shares(group: Sequence[int], people: People) -> Floats:
    """``[G]`` what each answer of a group earns for the group's fit. An answer alone has no spread.

    Each earns the group's fit plus G times the change that leaving it out would make (with its sign
    turned). These changes sum to 0, so that the mean is the fit of the group; and since what does not
    depend on an answer is no more than a baseline for it, the policy gradient of these shares is, without
    division by the group's deviation, that of the fit itself: at the people's distribution it
    vanishes. (Crediting distances to people and to the group alone would, after the mean of the group is
    subtracted, weigh the spread by (G - 2) / (G - 1).)

    Raises:
        ValueError: the group is empty.
    """
    if not len(group):
        raise ValueError("a group without answers has no fit")
    x = (np.asarray(group, dtype=np.float64) - people.low) / (people.high - people.low)
    count = len(x)
    to_people = np.abs(x[:, None] - people.answers) @ people.shares
    apart = np.abs(x[:, None] - x).sum(axis=1)  # to all others together
    others = max(count - 1, 1)
    whole = 1 - (to_people.mean() - apart.mean() / others / 2 - people.apart / 2)
    if count == 1:
        return np.array([whole])
    nearer = (to_people.sum() - to_people) / others - to_people
    pairs_left = others * (count - 2)
    wider = apart / others - (apart.sum() - 2 * apart) / pairs_left if pairs_left else np.zeros(count)
    return whole + nearer + wider

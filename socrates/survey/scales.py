"""The scale of a question: which integers answer it, how it is written down, how a long one is thinned."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from socrates.core.errors import DataError


@dataclass(frozen=True)
class Scale:
    """The integers that answer a question: two or more, ascending and distinct.

    Evenly spaced ones are kept as a ``range``, whatever was given: equal scales compare equal, and a scale of sixty
    million dollars costs nothing.
    """

    options: Sequence[int]

    def __post_init__(self) -> None:
        options = self.options
        if len(options) < 2:
            raise DataError(f"a scale needs two options or more, not {list(options)}")
        if not isinstance(options, range):
            even = range(options[0], options[-1] + 1, max(1, options[1] - options[0]))
            same = len(even) == len(options) and all(map(int.__eq__, even, options))
            object.__setattr__(self, "options", even if same else tuple(options))

    @property
    def low(self) -> int:
        return self.options[0]

    @property
    def high(self) -> int:
        return self.options[-1]

    @property
    def notation(self) -> str:
        """``1..7``, ``0..1000/100`` (a step of 100) or ``1,2,98``; :func:`scale` reads it back."""
        options = self.options
        if isinstance(options, range) and (options.step == 1 or len(options) > 2):
            return f"{self.low}..{self.high}" + ("" if options.step == 1 else f"/{options.step}")
        return ",".join(map(str, options))


@functools.cache
def scale(notation: str) -> Scale:
    """The scale of a notation. Raises :class:`DataError` for text that is none."""
    try:
        options: Sequence[int]
        if ".." in notation:
            low, rest = notation.split("..")
            high, _, step = rest.partition("/")
            options = range(int(low), int(high) + 1, int(step or 1))
        else:
            options = sorted({int(part) for part in notation.split(",")})
        return Scale(options)
    except (ValueError, DataError):
        raise DataError(f"scale {notation!r}: expected 1..7, 0..1000/100 or 1,2,98") from None


def thin_scale(whole: Scale, max_options: int) -> Scale:
    """A scale of at most ``max_options`` (2 or more) options that stands for a longer one; a shorter one as it is.

    Answers to long scales are nearly all sums of money, hours or percentages, and people round those to a few leading
    digits. So the thinned scale has constant *relative* precision: it keeps both ends, and of each power of ten the
    multiples of the finest unit (1, 2 or 5 times a power of ten, the same share of the decade everywhere) that fits.
    0..2000 in 1001 options keeps every integer up to 100, every second one up to 1000, then 1000, 1020, ... A scale
    with a step keeps the option nearest to each such value.
    """
    if max_options < 2:
        raise DataError(f"predict.max_options is {max_options}; a scale needs 2 or more")
    if len(whole.options) <= max_options:
        return whole
    decades = [10**k for k in range(len(str(max(abs(whole.low), abs(whole.high)))))]
    for digits in range(len(decades), -2, -1):  # finest first
        for share in (1, 2, 5):
            units = [(decade, max(1, 10 * share * decade // 10 ** (digits + 1))) for decade in decades]
            if any(18 * decade > 20 * max_options * unit for decade, unit in units):
                continue  # far finer than allowed: it could be as long as the scale itself
            values = {whole.low, whole.high} | ({0} if whole.low < 0 < whole.high else set())
            for decade, unit in units:
                for low, high in ((decade, 10 * decade - 1), (1 - 10 * decade, -decade)):
                    first, last = max(low, whole.low), min(high, whole.high)
                    values.update(range(-(-first // unit) * unit, last + 1, unit))
            options = np.unique(nearest(whole, np.array(sorted(values)))).tolist()
            if len(options) <= max_options:
                return Scale(options)
    return Scale((whole.low, whole.high))


def nearest(on: Scale, responses: np.ndarray) -> np.ndarray:
    """The option nearest to each response, the lower of two equally near. Shapes: any, the same."""
    responses = np.asarray(responses, dtype=np.int64)
    if isinstance(on.options, range):
        step = on.options.step
        index = -((2 * on.low + step - 2 * responses) // (2 * step))
        return on.low + step * index.clip(0, len(on.options) - 1)
    options = np.array(on.options, dtype=np.int64)
    above = np.searchsorted(options, responses).clip(1, len(options) - 1)
    low, high = options[above - 1], options[above]
    return np.where(responses - low <= high - responses, low, high)

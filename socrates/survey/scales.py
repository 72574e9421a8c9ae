"""The scale of a question: which integers answer it, read from the question's own instruction."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from socrates.errors import DataError


@dataclass(frozen=True)
class Scale:
    """The integers that answer a question, ascending and distinct.

    Attributes:
        options: at least two integers.
    """

    options: tuple[int, ...]

    @property
    def low(self) -> int:
        """The smallest allowed integer."""
        return self.options[0]

    @property
    def high(self) -> int:
        """The largest allowed integer."""
        return self.options[-1]

    @property
    def notation(self) -> str:
        """``1..7``, ``0..1000/100`` (a step of 100) or ``1,2,98``; :func:`scale` reads it back."""
        step = self.options[1] - self.options[0]
        if self.options == tuple(range(self.low, self.high + 1, step)):
            return f"{self.low}..{self.high}" + ("" if step == 1 else f"/{step}")
        return ",".join(map(str, self.options))


@functools.cache
def scale(notation: str) -> Scale:
    """The scale of a notation. Raises :class:`DataError` for text that is none."""
    try:
        if ".." in notation:
            low, rest = notation.split("..")
            high, _, step = rest.partition("/")
            options = tuple(range(int(low), int(high) + 1, int(step or 1)))
        else:
            options = tuple(sorted({int(part) for part in notation.split(",")}))
        if len(options) < 2:
            raise ValueError
    except ValueError:
        raise DataError(f"scale {notation!r}: expected 1..7, 0..1000/100 or 1,2,98") from None
    return Scale(options)

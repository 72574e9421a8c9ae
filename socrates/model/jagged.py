"""Sequences of unequal length in two flat arrays: millions of them cost no Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ragged(Sequence[NDArray[Any]]):
    """N sequences, one after another; ``ragged[i]`` is a view of the i-th.

    Attributes:
        values: all of them, ``[total]``.
        offsets: where each begins, and the end, ``[N + 1]``.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, sequences: Iterable[Sequence[int] | NDArray[Any]], dtype: Any) -> Ragged:
        """The given sequences."""
        arrays = [np.asarray(sequence, dtype=dtype) for sequence in sequences]
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, dtype), *arrays]), offsets_of(lengths))

    @classmethod
    def concatenate(cls, parts: Sequence[Ragged], dtype: Any) -> Ragged:
        """The sequences of all parts, one part after another."""
        lengths = [np.zeros(0, np.int64), *(part.lengths for part in parts)]
        values = [np.zeros(0, dtype), *(part.values for part in parts)]
        return cls(np.concatenate(values), offsets_of(np.concatenate(lengths)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{index} of {len(self)}")
        index = index % len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """``[N]``."""
        return np.diff(self.offsets)

    def take(self, index: NDArray[np.int64]) -> Ragged:
        """The sequences at ``index`` ``[M]``, copied."""
        lengths = self.lengths[index]
        offsets = offsets_of(lengths)
        shift = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths)
        return Ragged(self.values[np.arange(offsets[-1]) + shift], offsets)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where sequences of these lengths begin, and the end, ``[N + 1]``."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def join(parts: Sequence[Ragged]) -> Ragged:
    """Element by element, the i-th sequences of all parts one after another."""
    lengths = np.stack([part.lengths for part in parts], axis=1)  # [N, parts]
    offsets = offsets_of(lengths.ravel())
    values = np.empty(offsets[-1], dtype=np.result_type(*(part.values for part in parts)))
    for number, part in enumerate(parts):
        starts = offsets[number : -1 : len(parts)]
        values[np.arange(len(part.values)) + np.repeat(starts - part.offsets[:-1], part.lengths)] = (
            part.values
        )
    return Ragged(values, offsets[:: len(parts)])

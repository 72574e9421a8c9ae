"""Sequences of unequal length as values and offsets (CSR): millions of them cost no Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]  # lengths, positions, numbers of rows


@dataclass(frozen=True, eq=False)
class JaggedArray(Sequence[NDArray[Any]]):
    """N sequences, one after another; ``jagged[i]`` is a view of the i-th."""

    values: NDArray[Any]  # all of them, [total]
    offsets: Ints  # where each begins, and the end, [N + 1]

    @classmethod
    def from_sequences(cls, sequences: Iterable[Sequence[int] | NDArray[Any]], dtype: Any) -> JaggedArray:
        """The given sequences."""
        arrays = [np.asarray(sequence, dtype=dtype) for sequence in sequences]
        return cls(np.concatenate([np.zeros(0, dtype), *arrays]), offsets_of([*map(len, arrays)]))

    @classmethod
    def concatenate(cls, arrays: Sequence[JaggedArray], dtype: Any) -> JaggedArray:
        """The sequences of all arrays, one array after another."""
        lengths = [np.zeros(0, np.int64), *(array.lengths for array in arrays)]
        values = [np.zeros(0, dtype), *(array.values for array in arrays)]
        return cls(np.concatenate(values), offsets_of(np.concatenate(lengths)))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: Any) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"{index} of {len(self)}")
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> Ints:
        """``[N]``."""
        return np.diff(self.offsets)

    def take(self, index: Ints) -> JaggedArray:
        """The sequences at ``index`` ``[M]``, copied."""
        lengths = self.lengths[index]
        offsets = offsets_of(lengths)
        shift = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths)
        return JaggedArray(self.values[np.arange(offsets[-1]) + shift], offsets)


def offsets_of(lengths: Sequence[int] | Ints) -> Ints:
    """Where sequences of these lengths begin, and the end, ``[N + 1]``."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])

"""Sequences of unequal length as values and offsets (CSR): millions of them cost no Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class JaggedArray(Sequence[NDArray[Any]]):
    """N sequences, one after another; ``jagged[i]`` is a view of the i-th.

    Attributes:
        values: all of them, ``[total]``.
        offsets: where each begins, and the end, ``[N + 1]``.
    """

    values: NDArray[Any]
    offsets: NDArray[np.int64]

    @classmethod
    def from_sequences(cls, sequences: Iterable[Sequence[int] | NDArray[Any]], dtype: Any) -> JaggedArray:
        """The given sequences."""
        arrays = [np.asarray(sequence, dtype=dtype) for sequence in sequences]
        lengths = np.array([len(array) for array in arrays], dtype=np.int64)
        return cls(np.concatenate([np.zeros(0, dtype), *arrays]), offsets_of(lengths))

    @classmethod
    def concatenate(cls, arrays: Sequence[JaggedArray], dtype: Any) -> JaggedArray:
        """The sequences of all arrays, one array after another."""
        lengths = [np.zeros(0, np.int64), *(array.lengths for array in arrays)]
        values = [np.zeros(0, dtype), *(array.values for array in arrays)]
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

    def take(self, index: NDArray[np.int64]) -> JaggedArray:
        """The sequences at ``index`` ``[M]``, copied."""
        lengths = self.lengths[index]
        offsets = offsets_of(lengths)
        shift = np.repeat(self.offsets[:-1][index] - offsets[:-1], lengths)
        return JaggedArray(self.values[np.arange(offsets[-1]) + shift], offsets)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where sequences of these lengths begin, and the end, ``[N + 1]``."""
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])


def concatenate_elementwise(arrays: Sequence[JaggedArray]) -> JaggedArray:
    """Sequence i of the result is sequence i of the first array, then that of the second, and so on."""
    lengths = np.stack([array.lengths for array in arrays], axis=1)  # [N, arrays]
    offsets = offsets_of(lengths.ravel())
    values = np.empty(offsets[-1], dtype=np.result_type(*(array.values for array in arrays)))
    for number, array in enumerate(arrays):
        starts = offsets[number : -1 : len(arrays)]
        index = np.arange(len(array.values)) + np.repeat(starts - array.offsets[:-1], array.lengths)
        values[index] = array.values
    return JaggedArray(values, offsets[:: len(arrays)])

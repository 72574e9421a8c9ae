"""Rows as the batches a trainer reads: packed batches that share prefixes, or padded rows the way TRL does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from datasets.table import InMemoryTable
from numpy.typing import NDArray

from socrates.model.encoding import Encoded
from socrates.model.jagged import JaggedArray, concatenate_elementwise
from socrates.model.prefix_sharing import IGNORED, pack, suffix_offsets


@dataclass(frozen=True)
class Rows:
    """Encoded rows, and which of them, by row number and in order, are trained on and validated with.

    Attributes:
        too_long: rows left out for their length, in ``train`` and in ``validation``.
    """

    data: Encoded
    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    too_long: dict[str, int] = field(default_factory=dict)


def shared_dataset(order: NDArray[np.int64], micro: int) -> Dataset:
    """One item per forward pass: the row numbers it computes, ``micro`` of them (the last may have fewer)."""
    offsets = np.append(np.arange(0, len(order), micro), len(order))
    return _dataset({"rows": JaggedArray(order, offsets)})


@dataclass(frozen=True)
class SharedCollator:
    """Turns items of :func:`shared_dataset` into packed batches.

    The labels cover the answer and its end token, ``[1, answer tokens]``, and only the positions before
    them reach the vocabulary. The prompt's tokens carry no loss, so none sits where a suffix follows
    its prefix.
    """

    data: Encoded

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [row for item in items for row in item["rows"]]
        prefixes, prefix_index = self.data.distinct_prefixes(rows)
        answers = [self.data.answer_ids(row) for row in rows]
        suffixes = [
            np.concatenate([self.data.suffix_ids(row), ids]) for row, ids in zip(rows, answers, strict=True)
        ]
        # An answer of n tokens is predicted by the n tokens before its last; labels are shifted already.
        ends = suffix_offsets(prefixes, suffixes) + [len(suffix) for suffix in suffixes]
        spans = [np.arange(end - len(ids), end) - 1 for end, ids in zip(ends, answers, strict=True)]
        inputs = pack(prefixes, suffixes, prefix_index, logits_to_keep=np.concatenate(spans))
        labels = torch.from_numpy(np.concatenate(answers).astype(np.int64))[None]
        return inputs | {"labels": labels, "shift_labels": labels}


def plain_dataset(data: Encoded, order: NDArray[np.int64]) -> Dataset:
    """One item per row, tokens and labels in full, for TRL's own collator.

    Keeps ids and labels of the whole run in memory; only used without prefix sharing.
    """
    prompts, answers = data.prompts(order), data.answers.take(data.answer_of_row[order])
    ignored = JaggedArray(np.full_like(prompts.values, IGNORED), prompts.offsets)
    return _dataset(
        {
            "input_ids": concatenate_elementwise([prompts, answers]),
            "labels": concatenate_elementwise([ignored, answers]),
        }
    )


def _dataset(columns: dict[str, JaggedArray]) -> Dataset:
    arrays = {
        name: pa.LargeListArray.from_arrays(pa.array(column.offsets), pa.array(column.values))
        for name, column in columns.items()
    }
    return Dataset(InMemoryTable(pa.table(arrays)))

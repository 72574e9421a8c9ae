"""Rows as the batches a trainer reads: packed trees, or padded rows the way TRL does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray

from socrates.model.encoding import Encoded, stems
from socrates.model.shared import IGNORED, pack


def shared_dataset(order: NDArray[np.int64], micro: int) -> Dataset:
    """One item per forward pass: the row numbers it computes, ``micro`` of them (the last may have fewer)."""
    return Dataset.from_dict({"rows": [order[i : i + micro].tolist() for i in range(0, len(order), micro)]})


@dataclass(frozen=True)
class SharedCollator:
    """Turns items of :func:`shared_dataset` into packed trees.

    The labels cover the answer and its end token. The prompt's tokens carry no loss, so none sits
    where a branch leaves its stem.
    """

    data: Encoded

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [row for item in items for row in item["rows"]]
        shared, of_branch = stems(self.data, rows)
        own = [self.data.own(row) for row in rows]
        answers = [self.data.answer(row) for row in rows]
        inputs = pack(shared, [np.concatenate(parts) for parts in zip(own, answers, strict=True)], of_branch)
        labels = [np.full(sum(map(len, shared)), IGNORED)]
        for prompt, answer in zip(own, answers, strict=True):
            labels += [np.full(len(prompt), IGNORED), answer]
        inputs["labels"] = torch.from_numpy(np.concatenate(labels).astype(np.int64))[None]
        return inputs


def plain_dataset(data: Encoded, order: NDArray[np.int64]) -> Dataset:
    """One item per row, tokens and labels in full, for TRL's own collator."""

    def item(row: int) -> dict[str, list[int]]:
        prompt, answer = np.concatenate([data.shared(row), data.own(row)]), data.answer(row)
        return {
            "input_ids": [*prompt.tolist(), *answer.tolist()],
            "labels": [*[IGNORED] * len(prompt), *answer.tolist()],
        }

    return Dataset.from_list([item(int(row)) for row in order])

"""Rows as the batches a trainer reads: packed batches that share prefixes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from datasets.table import InMemoryTable

from socrates.model.encoding import Encoded
from socrates.model.jagged import Ints
from socrates.model.prefix_sharing import pack, suffix_offsets


@dataclass(frozen=True)
class Rows:
    """Encoded rows, and which of them, by row number and in order, are trained on and validated with."""

    data: Encoded
    train: Ints
    validation: Ints
    # rows of either that were left out for their length
    too_long: dict[str, int] = field(default_factory=dict)
    # of method dpo, for each encoded row another with the answer that it rejects
    rejected: Ints | None = None


def shared_dataset(order: Ints, micro: int) -> Dataset:
    """One item per forward pass: the row numbers it computes, ``micro`` of them (the last may have fewer)."""
    offsets = np.append(np.arange(0, len(order), micro), len(order))
    column = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(order))
    return Dataset(InMemoryTable(pa.table({"rows": column})))


def pass_tokens(data: Encoded, order: Ints, micro: int) -> Ints:
    """Packed tokens of each whole pass of ``micro`` rows, ``[passes]``."""
    rows = order[: len(order) // micro * micro].reshape(-1, micro)
    scenario = np.sort(data.scenario_of_row[rows], axis=1)
    prefix = data.scenarios.lengths[scenario] * (data.layout == "scenario_first")
    own = data.lengths() - data.prefix_lengths()
    return own[rows].sum(axis=1) + (prefix * (np.diff(scenario, axis=1, prepend=-1) != 0)).sum(axis=1)


def by_pass(rows: Rows, global_batch: int, micro: int) -> Ints:
    """The training rows, those of each optimiser step so ordered that few scenarios lie in two of its passes."""
    if micro == global_batch or rows.data.layout == "persona_first":
        return rows.train
    steps = rows.train.reshape(-1, global_batch)
    return np.concatenate([step[_fill(rows.data.scenario_of_row[step], micro)] for step in steps])


def _fill(scenario: Ints, micro: int) -> Ints:
    """An order of rows by whose scenario passes of ``micro`` rows end where scenarios do: first fit, largest first."""
    by_scenario = np.argsort(scenario, kind="stable")
    groups = np.split(by_scenario, np.flatnonzero(np.diff(scenario[by_scenario])) + 1)
    passes: list[list[Ints]] = [[] for _ in range(-(-len(scenario) // micro))]
    room = [micro] * len(passes)
    left = sorted(groups, key=len)
    while left:
        group = left.pop()
        i = next((i for i, free in enumerate(room) if free >= len(group)), int(np.argmax(room)))
        if len(group) > room[i]:  # it fits nowhere: as much as the emptiest pass takes
            left.append(group[room[i] :])
        passes[i].append(group[: room[i]])
        room[i] -= len(passes[i][-1])
    return np.concatenate([group for parts in passes for group in parts])


def training_batch(data: Encoded, rows: Sequence[int] | Ints) -> dict[str, Any]:
    """The packed batch of some rows. The labels cover the answer and its end token, ``[1, answer tokens]``, and only
    the positions before them reach the vocabulary: nothing that carries loss sits where a suffix begins."""
    prefixes, prefix_index = data.distinct_prefixes(rows)
    answers = [data.answer_ids(row) for row in rows]
    suffixes = [np.concatenate([data.suffix_ids(row), ids]) for row, ids in zip(rows, answers, strict=True)]
    # An answer of n tokens is predicted by the n tokens before its last; labels are shifted already.
    ends = suffix_offsets(prefixes, suffixes) + [len(suffix) for suffix in suffixes]
    spans = [np.arange(end - len(ids), end) - 1 for end, ids in zip(ends, answers, strict=True)]
    inputs = pack(prefixes, suffixes, prefix_index, logits_to_keep=np.concatenate(spans))
    labels = torch.from_numpy(np.concatenate(answers).astype(np.int64))[None]
    return inputs | {"labels": labels, "shift_labels": labels}

"""Which rows each optimiser step sees: fixed by the params, the same on any number of processes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from socrates.core.errors import TrainingError
from socrates.model.jagged import Ints

CPU_MICRO_BATCH = 16  # rows of a forward pass where train.micro_batch is null and there is no GPU


@dataclass(frozen=True)
class BatchPlan:
    """How a run is cut into optimiser steps and forward passes."""

    max_steps: int  # optimiser steps
    micro_batch_size: int  # rows of one forward pass of one process
    grad_accum_steps: int  # forward passes of one process per optimiser step
    checkpointed: int = 0  # every so many layers one computes its activations twice; 0: none


def plan_batches(train: Any, rows: int, processes: int) -> BatchPlan:
    """Cut the ``global_batch`` of section ``train`` or ``grpo`` for a number of processes; the batch never changes. The
    micro batch is the largest that divides a process's share and is at most ``micro_batch``, or where that is null
    ``CPU_MICRO_BATCH``; on a GPU :mod:`socrates.training.batch_size` then finds what is fastest."""
    if rows == 0:
        raise TrainingError(
            "no rows to train on: raise sample.fraction or the length limit, or lower global_batch"
        )
    share, rest = divmod(train.global_batch, processes)
    if rest or not share:
        possible = [n for n in range(1, train.global_batch + 1) if train.global_batch % n == 0]
        nearest = sorted(sorted(possible, key=lambda n: abs(n - processes))[:2])
        raise TrainingError(
            f"{type(train).__name__.lower()}.global_batch: {train.global_batch} rows cannot be shared by {processes} "
            f"processes; nearest process counts that can: {', '.join(map(str, nearest))}"
        )
    limit = train.micro_batch or CPU_MICRO_BATCH
    micro = max(n for n in range(1, min(limit, share) + 1) if share % n == 0)
    steps = train.max_steps or -(-round(rows * train.epochs) // train.global_batch)
    return BatchPlan(max(steps, 1), micro, share // micro, int(train.gradient_checkpointing or 0))


def make_schedule(rows: Ints, scenario_of_row: Ints, count: int, group_size: int, seed: int) -> Ints:
    """``count`` of the given rows in training order, one shuffled epoch after another; rows of one scenario lie in
    groups of at most ``group_size``, so that neighbours share a scenario and a step still mixes several.
    ``scenario_of_row`` is indexed by row number."""
    epochs = []
    for epoch in range(-(-count // len(rows))):
        rng = np.random.default_rng([seed, epoch])
        shuffled = rng.permutation(rows)
        if group_size > 1:
            shuffled = shuffled[np.argsort(scenario_of_row[shuffled], kind="stable")]
            scenario = scenario_of_row[shuffled]
            starts = np.flatnonzero(np.diff(scenario, prepend=-1))
            index = np.arange(len(scenario)) - np.repeat(starts, np.diff(np.append(starts, len(scenario))))
            group = np.cumsum(index % group_size == 0) - 1
            order = rng.permutation(group[-1] + 1)
            shuffled = shuffled[np.argsort(order[group], kind="stable")]
        epochs.append(shuffled)
    return np.concatenate(epochs)[:count]

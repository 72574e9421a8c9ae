"""Shards of a prediction: what several processes compute, and what survives a kill.

The batches of a plan are the same whatever the number of processes. Runs of neighbouring batches are shards, shared out
among the processes, each a file in the run's folder (on a disk that all see). What lies there is not computed again.
"""

import logging
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from peft import PeftModel
from tqdm import tqdm
from transformers import PreTrainedModel

from socrates.core.errors import ModelError
from socrates.core.files import atomic_path
from socrates.model.jagged import JaggedArray
from socrates.prediction.distributions import Scored, ScoringBatch, ScoringPlan
from socrates.runs.launch import Process

SHARD_ROWS = 2048  # at most about so many rows are lost to a kill, for each process
SHARDS = 64  # at least so many are wanted, to be shared out evenly

log = logging.getLogger(__name__)


def cut_shards(batches: Sequence[ScoringBatch], rows: int) -> list[list[ScoringBatch]]:
    """Runs of batches of about equally many rows, in their order; ``rows`` is what the batches hold in all."""
    size = max(1, min(SHARD_ROWS, rows // SHARDS))
    shards: list[list[ScoringBatch]] = []
    filled = size
    for batch in batches:
        if filled >= size:
            shards.append([])
            filled = 0
        shards[-1].append(batch)
        filled += len(batch.rows)
    return shards


def compute_shards(
    plan: ScoringPlan,
    shards: Sequence[Sequence[ScoringBatch]],
    folder: Path,
    process: Process,
    model: Callable[[], PreTrainedModel | PeftModel],
    name: str,
) -> None:
    """Compute this process's shards that are not in ``folder`` yet, and show how long the rest will take."""
    rows = {
        number: sum(len(batch.rows) for batch in shards[number])
        for number in range(process.rank, len(shards), process.world_size)
    }
    left = [number for number in rows if not whole(folder, number)]
    several = f", process {process.rank + 1} of {process.world_size}" if process.world_size > 1 else ""
    total = sum(rows.values())
    done = total - sum(rows[number] for number in left)
    pause = 0.5 if sys.stderr.isatty() else 30
    shown = {"unit": "row", "mininterval": pause, "disable": not process.is_main}
    with tqdm(desc=name + several, total=total, initial=done, **shown) as bar:
        for number in left:
            parts = []
            for batch in shards[number]:
                parts.append(plan.score(model(), batch))
                bar.update(len(batch.rows))
            write_shard(folder, number, parts)


def whole(folder: Path, number: int) -> bool:
    """Whether a shard is there and can be read; a damaged one is computed again."""
    try:
        read_shard(folder, number)
    except FileNotFoundError:
        return False
    except (ValueError, EOFError, OSError, KeyError, zipfile.BadZipFile) as error:
        log.warning("%s: damaged (%s); computed again", shard_path(folder, number), error)
        return False
    return True


def shard_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:06d}.npz"


def write_shard(folder: Path, number: int, parts: Sequence[Scored]) -> None:
    """Write a shard; the file appears when it is whole. Raises :class:`ModelError` for a model that gives NaN."""
    scored = Scored.joined(parts)
    values, offsets = scored.probabilities.values, scored.probabilities.offsets
    if not np.isfinite(values).all():
        problem = "the model gives probabilities that are no numbers"
        raise ModelError(f"{problem}: its weights are damaged; train it again")
    with atomic_path(shard_path(folder, number)) as partial, partial.open("wb") as file:
        np.savez(file, rows=scored.rows, probabilities=values, offsets=offsets, mass=scored.mass)


def read_shard(folder: Path, number: int) -> Scored:
    """The distributions of a shard."""
    with np.load(shard_path(folder, number), allow_pickle=False) as part:
        return Scored(part["rows"], JaggedArray(part["probabilities"], part["offsets"]), part["mass"])

"""Prediction by several processes, in parts that survive a kill.

The batches of a job are the same whatever the number of processes. Runs of neighbouring batches are
shards; a process computes every so many-th of them and writes each as a file of its own in the run's
scratch folder (on a disk that all processes see). What lies there is not computed again.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from peft import PeftModel
from tqdm import tqdm
from transformers import PreTrainedModel

from socrates.core.files import atomic_folder, atomic_path, read_json, read_table, write_json, write_table
from socrates.model.jagged import JaggedArray
from socrates.model.loading import load_model, load_tokenizer
from socrates.model.params import Model, Prompt
from socrates.prediction.distributions import Answers, Budget, Job, Work, find_budget
from socrates.prediction.params import Predict
from socrates.prediction.predict import usable_rows
from socrates.prediction.table import predictions_table
from socrates.runs.fingerprint import run_config, run_directory_lock
from socrates.runs.launch import Place, meet, told_by_first, wait_for_all
from socrates.runs.token_cache import tokenised
from socrates.survey.tables import SCALED_RESPONSES

SHARD_ROWS = 2048  # at most about so many rows are lost to a kill, for each process
SHARDS = 64  # at least so many are wanted, to be shared out evenly
PLAN = "plan.json"


def predict_split(
    test: Path,
    base: Path,
    adapter: Path | None,
    out: Path,
    place: Place,
    model_params: Model,
    prompt: Prompt,
    params: Predict,
) -> str:
    """Predict a table with all processes and write ``out``; returns one line about it (on the first).

    Args:
        test: the rows to predict (``SCALED_RESPONSES``).
        adapter: an adapter folder, or None for the base model alone.
        out: gets predictions.parquet and manifest.json.

    Raises:
        TrainingError: another process predicts the same, or the scratch cannot be written.
    """
    meet(place)
    adapter_files = sorted(path for path in adapter.iterdir() if path.is_file()) if adapter else []
    table = read_table(test, SCALED_RESPONSES)
    tokenizer = load_tokenizer(base)
    with contextlib.ExitStack() as stack:
        folder = Path()
        if place.first:
            sections = {"model": model_params, "prompt": prompt, "predict": params}
            config = run_config(sections, [test, base / "manifest.json", *adapter_files], __name__)
            folder = stack.enter_context(run_directory_lock("predict", config))
            for torn in folder.glob(".*.partial"):
                torn.unlink()
        folder = told_by_first(place, folder)
        data = tokenised([test], base, prompt.layout)
        scaled, data, excluded = usable_rows(table, data, prompt, params)
        job = Job(tokenizer, data, scaled["scale"].to_list())
        models: list[PreTrainedModel | PeftModel] = []

        def model() -> PreTrainedModel | PeftModel:
            """Loaded when something is left to compute."""
            if not models:
                models.append(load_model(base, adapter, model_params))
            return models[0]

        tokens = params.tokens_per_batch
        if tokens is None:
            tokens = told_by_first(place, _planned(folder, model, job) if place.first else 0)
        shards = cut_shards(list(job.cut(job.rows, tokens)), len(job.rows))
        name = f"predict {'adapter' if adapter else 'base'}"
        compute_shards(job, shards, folder, place, Budget(tokens), model, name)
        wait_for_all(place)
        if not place.first:
            return ""
        found = job.for_all_rows(read_part(part_path(folder, number)) for number in range(len(shards)))
        predictions, manifest = predictions_table(
            scaled, found.probabilities.values, found.probabilities.offsets, found.mass, excluded
        )
        with atomic_folder(out) as partial:
            write_table(partial / "predictions.parquet", predictions)
            write_json(partial / "manifest.json", manifest)
        shutil.rmtree(folder)
    reasons = ", ".join(f"{reason} {count}" for reason, count in excluded.items() if count)
    return f"{len(predictions):,} of {len(table):,} rows; excluded: {reasons or 'none'}"


def cut_shards(works: Sequence[Work], rows: int) -> list[list[Work]]:
    """Runs of batches of about equally many rows, in their order; ``rows`` is what the batches hold in all."""
    size = max(1, min(SHARD_ROWS, rows // SHARDS))
    shards: list[list[Work]] = []
    filled = size
    for work in works:
        if filled >= size:
            shards.append([])
            filled = 0
        shards[-1].append(work)
        filled += len(work.rows)
    return shards


def compute_shards(
    job: Job,
    shards: Sequence[Sequence[Work]],
    folder: Path,
    place: Place,
    budget: Budget,
    model: Callable[[], PreTrainedModel | PeftModel],
    name: str,
) -> None:
    """Compute this process's shards that are not in ``folder`` yet, and show how long the rest will take."""
    mine = range(place.rank, len(shards), place.processes)
    left = [number for number in mine if not part_path(folder, number).exists()]
    rows = {number: sum(len(work.rows) for work in shards[number]) for number in mine}
    total = sum(rows.values())
    label = name if place.processes == 1 else f"{name}, process {place.rank + 1} of {place.processes}"
    with tqdm(
        desc=label,
        total=total,
        initial=total - sum(rows[number] for number in left),
        unit="row",
        mininterval=0.5 if sys.stderr.isatty() else 30,
        disable=not place.first,
    ) as bar:
        for number in left:
            parts = []
            for work in shards[number]:
                parts.append(job.compute(model(), work, budget))
                bar.update(len(work.rows))
            write_part(part_path(folder, number), parts)


def part_path(folder: Path, number: int) -> Path:
    """Where shard ``number`` lies."""
    return folder / f"part-{number:06d}.npz"


def write_part(path: Path, parts: Sequence[Answers]) -> None:
    """Write a shard's answers; the file appears when it is whole."""
    probabilities = JaggedArray.concatenate([part.probabilities for part in parts], np.float32)
    with atomic_path(path) as partial, partial.open("wb") as file:
        np.savez(
            file,
            rows=np.concatenate([part.rows for part in parts]),
            probabilities=probabilities.values,
            offsets=probabilities.offsets,
            mass=np.concatenate([part.mass for part in parts]),
        )


def read_part(path: Path) -> Answers:
    """A shard's answers."""
    with np.load(path, allow_pickle=False) as part:
        return Answers(part["rows"], JaggedArray(part["probabilities"], part["offsets"]), part["mass"])


def _planned(folder: Path, model: Callable[[], PreTrainedModel | PeftModel], job: Job) -> int:
    """The budget found on this machine at the first start: shards must be the same after a kill."""
    path = folder / PLAN
    if not path.exists():
        write_json(path, {"tokens_per_batch": find_budget(model(), job)})
    return int(read_json(path, f"delete {folder} to begin anew")["tokens_per_batch"])

"""One training run, from tables to an adapter folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from transformers import set_seed

from socrates.core.errors import TrainingError
from socrates.model.loading import load_base, load_tokenizer
from socrates.model.params import Prompt
from socrates.runs.fingerprint import run_config
from socrates.runs.session import kept_safe
from socrates.runs.token_cache import tokenised
from socrates.training.batch_size import find
from socrates.training.config import leave
from socrates.training.job import Job
from socrates.training.params import Train
from socrates.training.schedule import batches, row_order
from socrates.training.sft import arguments, trainer

RUN_LOG = Path("runs/train.jsonl")
# Curves: the trainer's names -> ours.
CURVES = {
    "step": "step",
    "loss": "loss",
    "eval_loss": "validation_loss",
    "mean_token_accuracy": "answer_token_accuracy",
    "entropy": "entropy",
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
}


def fine_tune(job: Job, data_files: tuple[Path, Path], prompt: Prompt, train: Train) -> str:
    """Fine-tune and write the adapter folder and the curves; returns one line about the run.

    Args:
        data_files: the training and the validation table (``RESPONSES``).

    Raises:
        TrainingError: the params cannot be run, or a guard stopped the run.
    """
    if train.share_scenario and prompt.layout != "scenario_first":
        raise TrainingError(
            "train.share_scenario: needs prompt.layout scenario_first (with the persona first no text is "
            "shared); set train.share_scenario: false"
        )
    set_seed(train.seed)
    tokenizer = load_tokenizer(job.base)
    # One encoding for both splits; validation rows come after the training rows.
    data = tokenised(data_files, job.base, prompt.layout)
    train_rows = pq.read_metadata(data_files[0]).num_rows
    fits = data.lengths() <= prompt.max_length
    rows = np.flatnonzero(fits[:train_rows])
    held_out = train_rows + np.flatnonzero(fits[train_rows:])
    for name, kept, lengths in (
        ("training", rows, data.lengths()[:train_rows]),
        ("validation", held_out, data.lengths()[train_rows:]),
    ):
        if not len(kept):
            raise TrainingError(
                f"prompt.max_length: all {len(lengths):,} {name} rows are longer than {prompt.max_length} tokens, the "
                f"shortest has {lengths.min():,}; raise it"
            )
    cut = batches(train, len(rows), job.place.processes)
    group = train.group_size if train.share_scenario else 1
    order = row_order(rows, data.scenario_of_row, cut.steps * train.global_batch, group, train.seed)
    held_out = row_order(
        held_out, data.scenario_of_row, min(train.eval_rows, len(held_out)), group, train.seed
    )
    sections = job.sections(prompt=prompt, train=train)
    config = run_config(sections, [*data_files, job.base / "manifest.json"], __name__)
    args = arguments(train, job.run, job.deepspeed, cut)
    if train.micro_batch is None and torch.cuda.is_available():
        found = find(job.base, job.model, job.lora, train, data, rows, job.place.processes)
        cut = batches(train, len(rows), job.place.processes, found)
        args = arguments(train, job.run, job.deepspeed, cut)
        set_seed(train.seed)  # the trial has drawn from the random state
    with kept_safe("train", job.place, config, job.run, cut.steps, RUN_LOG) as safety:
        model = load_base(job.base, job.model)
        run = trainer(model, tokenizer, data, order, held_out, train, job.lora, cut, args, safety)
        if safety.log is not None:
            safety.log.write("plan", micro_batch=cut.micro, accumulation=cut.accumulation)
        trainable = run.get_num_trainable_parameters()
        try:
            safety.train(run, job.run.backup.finish_minutes)
        except torch.OutOfMemoryError:
            raise TrainingError(
                f"out of memory with passes of {cut.micro} rows: lower train.micro_batch (the global batch stays "
                "the same), set train.gradient_checkpointing: true, or lower prompt.max_length"
            ) from None
    if not job.place.first:
        run.save_model()  # under ZeRO-3 it gives its share of the weights; only the first process writes
        return ""
    last = {key: value for entry in run.state.log_history for key, value in entry.items()}
    about = {
        "steps": cut.steps,
        "rows": len(order),
        "tokens": int(data.lengths()[order].sum()),
        "rows_too_long": {
            "train": train_rows - len(rows),
            "validation": int((~fits[train_rows:]).sum()),
        },
        "trainable_parameters": trainable,
        "loss": last.get("loss"),
        "validation_loss": last.get("eval_loss"),
    }
    leave(run, job, sections, CURVES, about)
    return (
        f"{cut.steps} steps of {train.global_batch} rows, {len(rows):,} rows kept, "
        f"{train_rows - len(rows)} too long, validation loss {about['validation_loss']:.4f}"
    )

"""Fine-tuning an adapter, from tables to a folder."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from accelerate.utils import set_seed

from socrates.core.errors import TrainingError
from socrates.model.loading import check_targets, load_base, load_tokenizer, require_gpu
from socrates.model.params import Prompt
from socrates.runs.fingerprint import run_config
from socrates.runs.launch import Process
from socrates.runs.session import TrainingSession, training_session
from socrates.runs.token_cache import tokenised
from socrates.training import dpo, sft
from socrates.training.batch_size import find_plan
from socrates.training.collator import Rows
from socrates.training.config import TrainParams, TrainPaths, save_outputs, training_curves
from socrates.training.params import Train
from socrates.training.schedule import BatchPlan, make_schedule, plan_batches

METHODS = {"sft": (sft.arguments, sft.AdapterTrainer), "dpo": (dpo.arguments, dpo.PreferenceTrainer)}

CURVES = {  # the trainer's names: ours
    "step": "step",
    "loss": "loss",
    "eval_loss": "validation_loss",
    "mean_token_accuracy": "answer_token_accuracy",
    "entropy": "entropy",
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
}


def fine_tune(
    paths: TrainPaths,
    data_files: tuple[Path, Path],
    params: TrainParams,
    prompt: Prompt,
    train: Train,
    process: Process,
) -> str:
    """Fine-tune on a training table, with a validation table (``RESPONSES``), and write the adapter folder and the
    curves; returns one line about the run."""
    require_gpu(paths.base)
    check_targets(paths.base, params.lora.target_modules)
    rows = load_rows(data_files, paths.base, prompt)
    if train.method == "dpo":
        rows = dpo.usable_rows(rows, data_files, train.seed)
    plan = plan_batches(train, len(rows.train), process.world_size)
    sections = params.shaping(prompt=prompt, train=train)
    config = run_config(sections, [*data_files, paths.base / "manifest.json"], __name__)
    arguments, _ = METHODS[train.method]
    args = arguments(train, params.run, params.deepspeed, plan)

    def ordered(part: np.ndarray, count: int) -> np.ndarray:
        return make_schedule(part, rows.data.scenario_of_row, count, train.group_size, train.seed)

    scheduled = replace(
        rows,
        train=ordered(rows.train, plan.max_steps * train.global_batch),
        validation=ordered(rows.validation, min(train.eval_rows, len(rows.validation))),
    )
    with training_session("train", process, config, params.run, plan.max_steps, paths.run_log) as session:
        if not session.trained:
            train_adapter(session, paths.base, params, train, scheduled, plan, args)
    if not process.is_main:
        return ""
    curves = training_curves(session.last_checkpoint, CURVES, plan.max_steps)
    record = {
        "steps": plan.max_steps,
        "rows": len(scheduled.train),
        "tokens": int(rows.data.lengths()[scheduled.train].sum()),
        "rows_too_long": rows.too_long,
        "loss": curves["loss"].drop_nulls()[-1],
        "validation_loss": curves["validation_loss"].drop_nulls()[-1],
    }
    if params.lora.dropout:  # each process draws its own, so that their number shapes the weights
        record["processes"] = process.world_size
    save_outputs(session.last_checkpoint, paths, sections, curves, **record)
    return (
        f"{plan.max_steps} steps of {train.global_batch} rows, {len(rows.train):,} rows kept, "
        f"{rows.too_long['train']} too long, validation loss {record['validation_loss']:.4f}"
    )


def load_rows(data_files: tuple[Path, Path], base: Path, prompt: Prompt) -> Rows:
    """Both tables as one encoding, validation rows after training rows, and the rows within the length limit."""
    data = tokenised(data_files, base, prompt.layout, prompt.format)
    first = pq.read_metadata(data_files[0]).num_rows
    lengths = data.lengths()
    kept = []
    for name, start, end in (("training", 0, first), ("validation", first, len(lengths))):
        fits = lengths[start:end] <= prompt.max_length
        if not fits.any():
            raise TrainingError(
                f"prompt.max_length: all {end - start:,} {name} rows are longer than {prompt.max_length} tokens, "
                f"the shortest has {lengths[start:end].min():,}; raise it"
            )
        kept.append(start + np.flatnonzero(fits))
    train, validation = kept
    too_long = {"train": first - len(train), "validation": len(lengths) - first - len(validation)}
    return Rows(data, train, validation, too_long)


def train_adapter(
    session: TrainingSession,
    base: Path,
    params: TrainParams,
    train: Train,
    rows: Rows,
    plan: BatchPlan,
    args: Any,
) -> None:
    """Train to the last checkpoint."""
    arguments, make_trainer = METHODS[train.method]
    if None in (train.micro_batch, train.gradient_checkpointing) and torch.cuda.is_available():
        plan, tried = find_plan(base, params, train, rows, plan)
        args = arguments(train, params.run, params.deepspeed, plan)
        session.log("trial", passes=tried)
        if session.process.is_main:
            print(f"train: {tried}", flush=True)
    session.prepare(args)
    session.log("plan", **vars(plan))
    set_seed(train.seed)
    model, tokenizer = load_base(base, params.model), load_tokenizer(base)
    try:
        trainer = make_trainer(model, tokenizer, rows, plan, params.lora, args)
        set_seed(train.seed, device_specific=True)  # each process draws its own dropout
        session.train(trainer)
    except torch.OutOfMemoryError:
        raise TrainingError(
            f"out of memory with passes of {plan.micro_batch_size} rows: lower train.micro_batch (the global batch "
            "stays the same), set train.gradient_checkpointing: true, or lower prompt.max_length"
        ) from None

"""One training run, from tables to an adapter folder."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import set_seed

from socrates.errors import TrainingError
from socrates.files import atomic_folder, json_text, sha256, write_table
from socrates.model.base import load_base, load_tokenizer
from socrates.model.encoding import encode
from socrates.params.backup import Backup
from socrates.params.deepspeed import Deepspeed
from socrates.params.lora import Lora
from socrates.params.model import Model
from socrates.params.prompt import Prompt
from socrates.params.train import Train
from socrates.survey.tables import RESPONSES, read_table
from socrates.training.fingerprint import of_code, of_files, of_packages, of_sections
from socrates.training.launch import Place
from socrates.training.micro import find
from socrates.training.plan import batches, row_order
from socrates.training.safety import kept_safe
from socrates.training.sft import arguments, save_adapter, trainer

RUN_LOG = Path("runs/train.jsonl")
# The code that shapes the weights: a run resumes only under the same.
CODE = [
    *(f"socrates.model.{name}" for name in ("base", "encoding", "shared")),
    *(f"socrates.training.{name}" for name in ("batches", "plan", "run", "sft")),
    "socrates.survey.prompts",
]
PACKAGES = ["torch", "transformers", "trl", "peft", "bitsandbytes", "deepspeed", "accelerate"]
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


def fine_tune(
    data_files: tuple[Path, Path],
    base: Path,
    adapter: Path,
    curves: Path,
    place: Place,
    model_params: Model,
    prompt: Prompt,
    lora: Lora,
    train: Train,
    deepspeed: Deepspeed,
    backup: Backup,
) -> str:
    """Fine-tune and write the adapter folder and the curves; returns one line about the run.

    Args:
        data_files: the training and the validation table (``RESPONSES``).

    Raises:
        TrainingError: the params cannot be run, or a guard stopped the run.
    """
    train_table, validation_table = (read_table(path, RESPONSES) for path in data_files)
    if train.share_scenario and prompt.layout != "scenario_first":
        raise TrainingError(
            "train.share_scenario: needs prompt.layout scenario_first (with the persona first no text is "
            "shared); set train.share_scenario: false"
        )
    set_seed(train.seed)
    tokenizer = load_tokenizer(base)
    # One encoding for both splits; validation rows come after the training rows.
    data = encode(pl.concat([train_table, validation_table]), tokenizer, prompt.layout)
    fits = data.lengths() <= prompt.max_length
    rows = np.flatnonzero(fits[: len(train_table)])
    held_out = len(train_table) + np.flatnonzero(fits[len(train_table) :])
    cut = batches(train, len(rows), place.processes)
    group = train.group_size if train.share_scenario else 1
    order = row_order(rows, data.scenario_of_row, cut.steps * train.global_batch, group, train.seed)
    held_out = row_order(
        held_out, data.scenario_of_row, min(train.eval_rows, len(held_out)), group, train.seed
    )
    facts = (
        of_sections(
            {"model": model_params, "prompt": prompt, "lora": lora, "train": train, "deepspeed": deepspeed}
        )
        | of_files([*data_files, base / "manifest.json"])
        | of_code(CODE)
        | of_packages()
    )
    args = arguments(train, deepspeed, cut)
    if train.micro_batch is None and torch.cuda.is_available():
        found = find(base, model_params, lora, train, data, rows, place.processes)
        cut = batches(train, len(rows), place.processes, found)
        args = arguments(train, deepspeed, cut)
        set_seed(train.seed)  # the trial has drawn from the random state
    with kept_safe("train", place, facts, train, backup, cut.steps, RUN_LOG) as safety:
        model = load_base(base, model_params)
        run = trainer(model, tokenizer, data, order, held_out, train, lora, cut, args, safety)
        if safety.log is not None:
            safety.log.write("plan", micro_batch=cut.micro, accumulation=cut.accumulation)
        trainable = run.get_num_trainable_parameters()
        run.train(resume_from_checkpoint=None if safety.resume is None else str(safety.resume))
        safety.finish(run.terminated, backup.finish_minutes)
        if safety.log is not None:
            safety.log.write("end", step=run.state.global_step)
    history = run.state.log_history
    if not place.first:
        return ""
    tokens = int(data.lengths()[order].sum())
    last = {key: value for entry in history for key, value in entry.items()}
    record = {
        "params": {
            "model": model_params.model_dump(),
            "prompt": prompt.model_dump(),
            "lora": lora.model_dump(),
            "train": train.model_dump(),
            "deepspeed": deepspeed.model_dump(),
        },
        "base": sha256(base / "manifest.json"),
        "versions": {name: version(name) for name in PACKAGES},
        "steps": cut.steps,
        "rows": len(order),
        "tokens": tokens,
        "rows_too_long": {
            "train": int(len(train_table) - len(rows)),
            "validation": int((~fits[len(train_table) :]).sum()),
        },
        "trainable_parameters": trainable,
        "loss": last.get("loss"),
        "validation_loss": last.get("eval_loss"),
    }
    with atomic_folder(adapter) as folder:
        save_adapter(run, folder)
        (folder / "training.json").write_text(json_text(record))
    write_table(curves, curve_table(history))
    return (
        f"{cut.steps} steps of {train.global_batch} rows, {len(rows):,} rows kept, "
        f"{len(train_table) - len(rows)} too long, validation loss {record['validation_loss']:.4f}"
    )


def curve_table(history: list[dict[str, Any]]) -> pl.DataFrame:
    """The trainer's log as one row per logged step (see :data:`CURVES`), null where not measured."""
    steps: dict[int, dict[str, Any]] = {}
    for entry in history:
        row = steps.setdefault(entry["step"], dict.fromkeys(CURVES.values()))
        row.update({CURVES[key]: value for key, value in entry.items() if key in CURVES})
    schema: dict[str, Any] = {name: pl.Int64 if name == "step" else pl.Float64 for name in CURVES.values()}
    return pl.DataFrame([steps[step] for step in sorted(steps)], schema=schema)

"""One run of GRPO from prompts to a folder with what was trained, whatever the prompts are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PreTrainedTokenizerBase, set_seed

from gsm8k.grpo.params import Grpo
from gsm8k.grpo.trainer import arguments, trainer
from socrates.core.errors import TrainingError
from socrates.core.params import Section
from socrates.model.loading import load_base
from socrates.model.params import Model
from socrates.runs.fingerprint import run_config
from socrates.runs.session import kept_safe
from socrates.training.config import leave
from socrates.training.job import Job
from socrates.training.schedule import Batches, batches


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        stage: names the run's folder.
        run_log: the machine's record of the run.
        sections: params that shape the weights, besides the job's.
        files: data that do, besides the base model.
        entry: the module that does, with all it imports.
        rows, rewards: see :func:`gsm8k.grpo.trainer.trainer`.
        curves: the trainer's names -> the columns of the curves.
        about: what training.json says besides.
    """

    stage: str
    run_log: Path
    sections: Mapping[str, Section]
    files: list[Path]
    entry: str
    rows: list[dict[str, Any]]
    rewards: list[Callable[..., list[float | None]]]
    curves: Mapping[str, str]
    about: Mapping[str, Any]


def check(model: Model, grpo: Grpo) -> None:
    """Raises :class:`TrainingError` for weights that cannot be trained."""
    if model.quantization != "none" and not grpo.lora:
        raise TrainingError(
            "grpo.lora: quantised weights cannot be trained; set it to true, or quantization none"
        )


def plan(grpo: Grpo, prompts: int, processes: int) -> Batches:
    """The steps, and how the completions of each are shared. Prompts that fill no step are left out.

    Raises:
        TrainingError: too few prompts for one step, or the processes cannot share it evenly.
    """
    whole = prompts // grpo.prompts_per_step
    if not whole:
        raise TrainingError(
            f"{prompts} prompts are fewer than the {grpo.prompts_per_step} of one step: lower "
            "grpo.global_batch or raise grpo.max_prompt_length"
        )
    cut = batches(grpo, whole * grpo.global_batch, processes)
    return cut if grpo.max_steps is not None else replace(cut, steps=cut.steps * grpo.updates)


def prompts_needed(grpo: Grpo, cut: Batches) -> int:
    """Prompts answered in all steps together."""
    return -(-cut.steps // grpo.updates) * grpo.prompts_per_step


def improve(
    job: Job, task: Task, grpo: Grpo, cut: Batches, tokenizer: PreTrainedTokenizerBase
) -> pl.DataFrame | None:
    """Train and write the folder and the curves, which are returned, on process 0 only.

    Args:
        cut: from :func:`plan`.

    Raises:
        TrainingError: the params cannot be run, a reward is not a number, or a guard stopped the run.
    """
    set_seed(grpo.seed)
    sections = job.sections(**task.sections)
    config = run_config(sections, [*task.files, job.base / "manifest.json"], task.entry)
    args = arguments(grpo, job.run, job.model, job.deepspeed, cut)
    with kept_safe(task.stage, job.place, config, job.run, cut.steps, task.run_log) as safety:
        model = load_base(job.base, job.model)
        run = trainer(model, tokenizer, task.rows, task.rewards, grpo, job.lora, args, safety)
        trainable = run.get_num_trainable_parameters()
        safety.train(run, job.run.backup.finish_minutes)
    if not job.place.first:
        run.save_model()  # under ZeRO-3 it gives its share of the weights; only the first process writes
        return None
    about = {
        "steps": cut.steps,
        "completions": cut.steps // grpo.updates * grpo.global_batch,
        "trainable_parameters": trainable,
        **task.about,
    }
    return leave(run, job, sections, task.curves, about)

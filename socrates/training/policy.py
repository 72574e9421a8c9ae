"""One run of GRPO from prompts to a folder with what was trained, whatever the prompts are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
from transformers import PreTrainedTokenizerBase, set_seed

from socrates.errors import TrainingError
from socrates.files import atomic_folder, json_text, write_table
from socrates.fingerprint import of_code, of_files, of_packages, of_sections
from socrates.launch import Place
from socrates.model.base import load_base
from socrates.params import Section
from socrates.params.backup import Backup
from socrates.params.deepspeed import Deepspeed
from socrates.params.grpo import Grpo
from socrates.params.lora import Lora
from socrates.params.model import Model
from socrates.training.grpo import arguments, trainer
from socrates.training.plan import Batches, batches
from socrates.training.safety import kept_safe, limits
from socrates.training.setup import curve_table, record, save_weights

# The code that shapes the weights of any run.
CODE = [f"socrates.training.{name}" for name in ("grpo", "plan", "policy", "setup")]


@dataclass(frozen=True)
class Task:
    """What is learned.

    Attributes:
        stage: names the run's folder.
        run_log: the machine's record of the run.
        files: data that shape the weights, besides the base model.
        code: modules that do, besides :data:`CODE`: a run resumes only under the same.
        rows, rewards: see :func:`socrates.training.grpo.trainer`.
        curves: the trainer's names -> the columns of the curves.
        about: what training.json says besides.
    """

    stage: str
    run_log: Path
    files: list[Path]
    code: list[str]
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
    task: Task,
    cut: Batches,
    base: Path,
    tokenizer: PreTrainedTokenizerBase,
    trained: Path,
    curves: Path,
    place: Place,
    sections: Mapping[str, Section],
    model_params: Model,
    lora: Lora,
    grpo: Grpo,
    deepspeed: Deepspeed,
    backup: Backup,
) -> pl.DataFrame | None:
    """Train and write the folder and the curves, which are returned, on process 0 only.

    Args:
        cut: from :func:`plan`.
        sections: all that shape the weights, for the record.

    Raises:
        TrainingError: the params cannot be run, a reward is not a number, or a guard stopped the run.
    """
    set_seed(grpo.seed)
    facts = (
        of_sections(dict(sections))
        | of_files([*task.files, base / "manifest.json"])
        | of_code([*task.code, *CODE])
        | of_packages()
    )
    args = arguments(grpo, model_params, deepspeed, cut)
    with kept_safe(task.stage, place, facts, limits(grpo), backup, cut.steps, task.run_log) as safety:
        model = load_base(base, model_params)
        run = trainer(model, tokenizer, task.rows, task.rewards, grpo, lora, args, safety)
        trainable = run.get_num_trainable_parameters()
        safety.train(run, backup.finish_minutes)
    if not place.first:
        run.save_model()  # under ZeRO-3 it gives its share of the weights; only the first process writes
        return None
    table = curve_table(run.state.log_history, task.curves)
    about = {
        **record(sections, base),
        "steps": cut.steps,
        "completions": cut.steps // grpo.updates * grpo.global_batch,
        "trainable_parameters": trainable,
        **task.about,
    }
    with atomic_folder(trained) as folder:
        save_weights(run, folder)
        (folder / "training.json").write_text(json_text(about))
    write_table(curves, table)
    return table

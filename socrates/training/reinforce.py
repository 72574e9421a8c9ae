"""One run of GRPO on word problems, from tables to a folder with what was trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerBase, set_seed

from socrates.errors import TrainingError
from socrates.files import atomic_folder, json_text, write_table
from socrates.fingerprint import of_code, of_files, of_packages, of_sections
from socrates.launch import Place
from socrates.maths import rewards as parts
from socrates.maths.problems import PROBLEMS, within_limit
from socrates.model.base import load_base, load_tokenizer
from socrates.model.encoding import token_ids
from socrates.model.warmup import prompt_text
from socrates.params import Section
from socrates.params.backup import Backup
from socrates.params.deepspeed import Deepspeed
from socrates.params.grpo import Grpo
from socrates.params.lora import Lora
from socrates.params.model import Model
from socrates.params.rewards import Rewards
from socrates.survey.tables import read_table
from socrates.training.grpo import ROW, arguments, checked, trainer
from socrates.training.plan import Batches, batches, row_order
from socrates.training.safety import kept_safe, limits
from socrates.training.setup import curve_table, record, save_weights

RUN_LOG = Path("runs/gsm8k.jsonl")
# The code that shapes the weights: a run resumes only under the same.
CODE = [
    *(f"socrates.maths.{name}" for name in ("answers", "problems", "rewards")),
    *(f"socrates.model.{name}" for name in ("base", "encoding", "warmup")),
    *(f"socrates.training.{name}" for name in ("grpo", "plan", "reinforce", "setup")),
]
# Curves: the trainer's names -> ours.
CURVES = {
    "step": "step",
    "reward": "reward",
    **{f"rewards/{part}/mean": part for part in parts.PARTS},
    "reward_std": "reward_deviation",
    "frac_reward_zero_std": "groups_without_difference",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "completion_tokens",
    "completions/clipped_ratio": "truncated",
    "clip_ratio/region_mean": "clipped",
    "loss": "loss",
    "grad_norm": "gradient_norm",
    "learning_rate": "learning_rate",
}


def reinforce(
    data_file: Path,
    base: Path,
    trained: Path,
    curves: Path,
    place: Place,
    model_params: Model,
    lora: Lora,
    grpo: Grpo,
    rewards: Rewards,
    deepspeed: Deepspeed,
    backup: Backup,
) -> str:
    """Train and write the folder and the curves; returns one line about the run.

    Args:
        data_file: the training problems (``maths.problems.PROBLEMS``).

    Raises:
        TrainingError: the params cannot be run, a reward is not a number, or a guard stopped the run.
        DataError: no prompt is within the limit.
    """
    if model_params.quantization != "none" and not grpo.lora:
        raise TrainingError(
            "grpo.lora: quantised weights cannot be trained; set it to true, or quantization none"
        )
    set_seed(grpo.seed)
    tokenizer = load_tokenizer(base)
    table = read_table(data_file, PROBLEMS)
    problems, too_long = prompts_within(table, tokenizer, grpo.max_prompt_length)
    cut = plan(grpo, problems.height, place.processes)
    order = row_order(
        np.arange(problems.height),
        np.arange(problems.height),
        -(-cut.steps // grpo.updates) * grpo.prompts_per_step,
        group_size=1,
        seed=grpo.seed,
    )
    sections: dict[str, Section] = {
        "model": model_params,
        "lora": lora,
        "grpo": grpo,
        "rewards": rewards,
        "deepspeed": deepspeed,
    }
    facts = (
        of_sections(sections) | of_files([data_file, base / "manifest.json"]) | of_code(CODE) | of_packages()
    )
    args = arguments(grpo, model_params, deepspeed, cut)
    with kept_safe("gsm8k", place, facts, limits(grpo), backup, cut.steps, RUN_LOG) as safety:
        rows = problems[order].to_dicts()
        run = trainer(
            load_base(base, model_params), tokenizer, rows, of_parts(rewards), grpo, lora, args, safety
        )
        trainable = run.get_num_trainable_parameters()
        safety.train(run, backup.finish_minutes)
    if not place.first:
        return ""
    table_of_curves = curve_table(run.state.log_history, CURVES)
    about = {
        **record(sections, base),
        "steps": cut.steps,
        "problems": problems.height,
        "prompts_too_long": too_long,
        "completions": cut.steps // grpo.updates * grpo.global_batch,
        "trainable_parameters": trainable,
    }
    with atomic_folder(trained) as folder:
        save_weights(run, folder)
        (folder / "training.json").write_text(json_text(about))
    write_table(curves, table_of_curves)
    known = table_of_curves["reward"].drop_nulls()
    return (
        f"{cut.steps} steps of {grpo.prompts_per_step} problems x {grpo.generations} completions, "
        f"{problems.height:,} problems kept, {too_long} too long, reward {known[0]:.3f} -> {known[-1]:.3f}"
    )


def plan(grpo: Grpo, problems: int, processes: int) -> Batches:
    """The steps, and how the completions of each are shared. Problems that fill no step are left out.

    Raises:
        TrainingError: too few problems for one step, or the processes cannot share it evenly.
    """
    whole = problems // grpo.prompts_per_step
    if not whole:
        raise TrainingError(
            f"{problems} problems are fewer than the {grpo.prompts_per_step} of one step: lower "
            "grpo.global_batch or raise grpo.max_prompt_length"
        )
    cut = batches(grpo, whole * grpo.global_batch, processes)
    return cut if grpo.max_steps is not None else replace(cut, steps=cut.steps * grpo.updates)


def prompts_within(
    table: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, limit: int
) -> tuple[pl.DataFrame, int]:
    """The problems with their ``prompt`` and name, those over the limit left out, and how many those are."""
    prompts = [prompt_text(tokenizer, question) for question in table["question"]]
    lengths = [len(ids) for ids in token_ids(tokenizer, prompts)]
    named = table.select(
        "answer",
        pl.Series("prompt", prompts, dtype=pl.String),
        pl.format("problem {}", "problem_id").alias(ROW),
    )
    return within_limit(named, lengths, limit)


def of_parts(weights: Rewards) -> list[Callable[..., list[float | None]]]:
    """The rewards that have a weight, in the trainer's form."""

    def part(name: str) -> Callable[[Sequence[Mapping[str, Any]], Sequence[str]], list[float]]:
        def reward(rows: Sequence[Mapping[str, Any]], completions: Sequence[str]) -> list[float]:
            return [
                parts.score(text, row["answer"], weights)[name]
                for row, text in zip(rows, completions, strict=True)
            ]

        return reward

    return [checked(name, part(name)) for name in parts.PARTS if getattr(weights, name)]

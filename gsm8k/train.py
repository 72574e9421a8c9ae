"""One run of GRPO on word problems, from tables to a folder with what was trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerBase, set_seed

from gsm8k import rewards as scoring
from gsm8k.grpo.params import Grpo
from gsm8k.grpo.trainer import (
    Prompt,
    build_trainer,
    check,
    curve_names,
    grpo_config,
    plan_steps,
)
from gsm8k.params import Rewards
from gsm8k.problems import PROBLEMS, messages, prompt_text, within_limit
from socrates.core.files import read_table
from socrates.model.loading import load_base, load_tokenizer, require_gpu
from socrates.model.tokenisation import token_ids
from socrates.runs.fingerprint import run_config
from socrates.runs.launch import Process
from socrates.runs.session import training_session
from socrates.training.config import TrainParams, TrainPaths, save_outputs, training_curves
from socrates.training.schedule import make_schedule

CURVES = curve_names(scoring.PARTS)


def train_grpo(
    paths: TrainPaths, data_file: Path, params: TrainParams, grpo: Grpo, rewards: Rewards, process: Process
) -> str:
    """Train and write the folder and the curves; returns one line about the run.

    Args:
        data_file: the training problems (:data:`gsm8k.problems.PROBLEMS`).

    Raises:
        TrainingError: the params cannot be run, a reward is not a number, or a guard stopped the run.
        DataError: no prompt is within the limit.
    """
    check(params.model, grpo)
    require_gpu(paths.base)
    tokenizer = load_tokenizer(paths.base)
    table = read_table(data_file, PROBLEMS)
    problems, too_long = problems_within(table, tokenizer, grpo.max_prompt_length)
    plan = plan_steps(grpo, problems.height, process.world_size)
    sections = params.shaping(grpo=grpo, rewards=rewards)
    config = run_config(sections, [data_file, paths.base / "manifest.json"], __name__)
    args = grpo_config(grpo, params.run, params.model, params.deepspeed, plan)
    with training_session("gsm8k", process, config, params.run, plan.max_steps, paths.run_log) as session:
        if not session.trained:
            session.prepare(args)
            set_seed(grpo.seed)
            model = load_base(paths.base, params.model)
            prompts = scheduled_prompts(problems, plan.max_steps * grpo.prompts_per_step, grpo.seed)
            session.train(
                build_trainer(model, tokenizer, prompts, weighted(rewards), grpo, params.lora, args)
            )
    if not process.is_main:
        return ""
    curves = training_curves(session.last_checkpoint, CURVES, plan.max_steps)
    save_outputs(
        session.last_checkpoint,
        paths,
        sections,
        curves,
        steps=plan.max_steps,
        completions=plan.max_steps * grpo.global_batch,
        problems=problems.height,
        prompts_too_long=too_long,
        processes=process.world_size,  # each draws its own completions and dropout
    )
    earned = curves["reward"].drop_nulls()
    return (
        f"{plan.max_steps} steps of {grpo.prompts_per_step} problems x {grpo.generations} completions, "
        f"{problems.height:,} problems kept, {too_long} too long, reward {earned[0]:.3f} -> {earned[-1]:.3f}"
    )


def problems_within(
    table: pl.DataFrame, tokenizer: PreTrainedTokenizerBase, limit: int
) -> tuple[pl.DataFrame, int]:
    """The problems whose prompt has at most ``limit`` tokens, and how many have more."""
    prompts = [prompt_text(tokenizer, question) for question in table["question"]]
    return within_limit(table, [len(ids) for ids in token_ids(tokenizer, prompts)], limit)


def scheduled_prompts(problems: pl.DataFrame, count: int, seed: int) -> list[Prompt]:
    """``count`` problems as prompts in training order. TRL applies the tokenizer's chat template."""
    rows = np.arange(problems.height)
    order = make_schedule(rows, rows, count, group_size=1, seed=seed)
    return [
        {
            "prompt": messages(row["question"]),
            "row": f"problem {row['problem_id']}",
            "answer": row["answer"],
        }
        for row in problems[order].iter_rows(named=True)
    ]


def weighted(weights: Rewards) -> dict[str, Callable[[str, str], float]]:
    """The parts of the reward that have a weight, by name."""

    def part(name: str, completion: str, answer: str) -> float:
        return scoring.score(completion, answer, weights)[name]

    return {name: partial(part, name) for name in scoring.PARTS if getattr(weights, name)}

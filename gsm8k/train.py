"""One run of GRPO on word problems, from tables to a folder with what was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
from transformers import PreTrainedTokenizerBase

from gsm8k import rewards as parts
from gsm8k.grpo.params import Grpo
from gsm8k.grpo.run import Task, check, improve, plan, prompts_needed
from gsm8k.grpo.trainer import ROW, Rows, by_part, curve_names
from gsm8k.params import Rewards
from gsm8k.problems import PROBLEMS, prompt_text, within_limit
from socrates.core.files import read_table
from socrates.model.loading import load_tokenizer
from socrates.model.tokenisation import token_ids
from socrates.training.job import Job
from socrates.training.schedule import row_order

RUN_LOG = Path("runs/gsm8k.jsonl")
CURVES = curve_names(parts.PARTS)


def reinforce(job: Job, data_file: Path, grpo: Grpo, rewards: Rewards) -> str:
    """Train and write the folder and the curves; returns one line about the run.

    Args:
        data_file: the training problems (``maths.problems.PROBLEMS``).

    Raises:
        TrainingError: the params cannot be run, a reward is not a number, or a guard stopped the run.
        DataError: no prompt is within the limit.
    """
    check(job.model, grpo)
    tokenizer = load_tokenizer(job.base)
    table = read_table(data_file, PROBLEMS)
    problems, too_long = prompts_within(table, tokenizer, grpo.max_prompt_length)
    cut = plan(grpo, problems.height, job.place.processes)
    places = np.arange(problems.height)
    order = row_order(places, places, prompts_needed(grpo, cut), group_size=1, seed=grpo.seed)
    task = Task(
        "gsm8k",
        RUN_LOG,
        {"grpo": grpo, "rewards": rewards},
        [data_file],
        __name__,
        problems[order].to_dicts(),
        of_parts(rewards),
        CURVES,
        {"problems": problems.height, "prompts_too_long": too_long},
    )
    learned = improve(job, task, grpo, cut, tokenizer)
    if learned is None:
        return ""
    known = learned["reward"].drop_nulls()
    return (
        f"{cut.steps} steps of {grpo.prompts_per_step} problems x {grpo.generations} completions, "
        f"{problems.height:,} problems kept, {too_long} too long, reward {known[0]:.3f} -> {known[-1]:.3f}"
    )


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

    def score(rows: Rows, completions: Sequence[str]) -> dict[str, list[float]]:
        each = [
            parts.score(text, row["answer"], weights) for row, text in zip(rows, completions, strict=True)
        ]
        return {name: [earned[name] for earned in each] for name in parts.PARTS}

    return by_part([name for name in parts.PARTS if getattr(weights, name)], score)

"""One run of GRPO on survey answers, from tables to an adapter folder.

The policy answers as the respondent, several times for each; what an answer earns is in
``socrates.survey.rewards``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from socrates.errors import TrainingError
from socrates.model.base import load_tokenizer
from socrates.model.encoding import end_token, token_ids
from socrates.model.prepared import prepared
from socrates.params.grpo import Grpo
from socrates.params.prompt import Prompt
from socrates.params.reward import Reward
from socrates.params.train import Train
from socrates.survey.prompts import Layout, answer_part, persona_expression, prompt
from socrates.survey.resolution import resolve_scales
from socrates.survey.rewards import People, closeness, fit_shares, stated
from socrates.survey.scales import scale
from socrates.survey.tables import CELL, RESPONSES, read_table
from socrates.training.grpo import ROW, Rows, by_part, curve_names
from socrates.training.job import Job
from socrates.training.plan import row_order
from socrates.training.policy import Task, check, improve, plan, prompts_needed

RUN_LOG = Path("runs/train.jsonl")
PARTS = ("closeness", "fit", "invalid")
# The code that shapes the weights, besides that of every run of GRPO.
CODE = [
    *(f"socrates.model.{name}" for name in ("base", "encoding")),
    *(f"socrates.survey.{name}" for name in ("grammar", "instructions", "prompts", "resolution", "rewards")),
    "socrates.survey.scales",
    "socrates.training.respond",
]
# A loss of GRPO is no likelihood: it is not to be drawn with those of supervised training.
CURVES = curve_names(PARTS) | {"loss": "policy_loss"}


@dataclass(frozen=True)
class Questions:
    """What the policy is asked, one row per respondent and question.

    Attributes:
        table: ``stimuli``, ``persona``, ``response``, ``scale`` (a notation), ``cell`` and the name :data:`ROW`.
        people: of each ``cell``: all whose answers may be trained on.
    """

    table: pl.DataFrame
    people: list[People]

    def rows(self, order: NDArray[np.int64], layout: Layout) -> list[dict[str, Any]]:
        """The rows that the trainer reads, each with its text under ``prompt``."""
        return [
            {
                "prompt": prompt(row["stimuli"], row["persona"], layout),
                **{key: row[key] for key in (ROW, "response", "scale", "cell")},
            }
            for row in self.table[order].iter_rows(named=True)
        ]


def reinforce_answers(
    job: Job, data_file: Path, prompt_params: Prompt, train: Train, grpo: Grpo, reward: Reward
) -> str:
    """Train from the base model and write the adapter folder and the curves; returns one line about the run.

    Args:
        data_file: the training table (``RESPONSES``).

    Raises:
        TrainingError: the params cannot be run, a reward is not a number, or a guard stopped the run.
    """
    check(job.model, grpo)
    tokenizer = load_tokenizer(job.base)
    asked = questions(read_table(data_file, RESPONSES))
    data = prepared([data_file], job.base, prompt_params.layout)
    lengths = data.lengths() - data.answers.lengths[data.answer_of_row]
    fits = lengths <= grpo.max_prompt_length
    known = asked.table["scale"].is_not_null().to_numpy()
    rows = np.flatnonzero(fits & known)
    cut = plan(grpo, len(rows), job.place.processes)
    if cut.micro * cut.accumulation % grpo.generations:
        raise TrainingError(
            f"grpo.generations: the {grpo.generations} answers of a group do not fit whole into a process's "
            f"{cut.micro * cut.accumulation} of {grpo.global_batch}: use fewer processes or raise grpo.global_batch"
        )
    order = row_order(rows, data.scenario_of_row, prompts_needed(grpo, cut), 1, grpo.seed)
    check_lengths(asked.table["scale"][order], tokenizer, grpo.max_completion_length)
    too_long, no_scale = int((~fits).sum()), int((fits & ~known).sum())
    about = {
        "rows": len(order),
        "tokens": int(lengths[order].sum()),
        "rows_too_long": {"train": too_long},
        "rows_without_scale": no_scale,
    }
    task = Task(
        "train",
        RUN_LOG,
        {"prompt": prompt_params, "train": train, "grpo": grpo, "reward": reward},
        [data_file],
        CODE,
        asked.rows(order, prompt_params.layout),
        rewards(reward, asked.people, grpo.generations, end_token(tokenizer)),
        CURVES,
        about,
    )
    learned = improve(job, task, grpo, cut, tokenizer)
    if learned is None:
        return ""
    earned = learned["reward"].drop_nulls()
    return (
        f"{cut.steps} steps of {grpo.prompts_per_step} respondents x {grpo.generations} answers, "
        f"{len(rows):,} rows kept, {too_long} too long, "
        f"{no_scale} without a scale, reward {earned[0]:.3f} -> {earned[-1]:.3f}"
    )


def questions(table: pl.DataFrame) -> Questions:
    """The rows of a responses table, in its order; the scale and cell of one that has no scale are null.

    People are compared where study, condition, task *and* scale are the same.
    """
    scaled = resolve_scales(table, table)
    key = [*CELL, "scale"]
    groups = (
        scaled.filter(pl.col("scale").is_not_null())
        .group_by(key)
        .agg("response")
        .sort(key)
        .with_row_index("cell")
    )
    people = [
        People.of(responses, scale(notation))
        for notation, responses in groups.select("scale", "response").iter_rows()
    ]
    named = scaled.join(groups.select("cell", *key), on=key, how="left", maintain_order="left").select(
        "stimuli",
        persona_expression(),
        "response",
        "scale",
        "cell",
        pl.format("study {}, sample {}", "study_id", "sample_id").alias(ROW),
    )
    return Questions(named, people)


def check_lengths(scales: pl.Series, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
    """Raises :class:`TrainingError` where an allowed answer and its end token are longer than ``limit``."""
    ends = {end for notation in scales.unique() for end in (scale(notation).low, scale(notation).high)}
    longest = 1 + max(len(ids) for ids in token_ids(tokenizer, [answer_part(end) for end in sorted(ends)]))
    if longest > limit:
        raise TrainingError(
            f"grpo.max_completion_length: {limit} tokens cannot hold every allowed answer; set it to {longest}"
        )


def rewards(
    weights: Reward, people: list[People], generations: int, end: int
) -> list[Callable[..., list[float | None]]]:
    """The parts of the reward that have a weight, in the trainer's form.

    Args:
        people: of each cell.
        generations: answers of a group; those of one lie together.
        end: the token without which an answer is not finished.
    """

    def score(rows: Rows, texts: Sequence[str]) -> dict[str, list[float]]:
        answers = [
            stated(text, scale(row["scale"])) if row["completion_ids"][-1:] == [end] else None
            for row, text in zip(rows, texts, strict=True)
        ]
        near = [
            0.0 if given is None else closeness(given, row["response"], scale(row["scale"]))
            for row, given in zip(rows, answers, strict=True)
        ]
        shares = np.zeros(len(answers))
        for start in range(0, len(answers), generations):
            group = {
                place: given
                for place in range(start, start + generations)
                if (given := answers[place]) is not None
            }
            if group:
                shares[list(group)] = fit_shares(list(group.values()), people[rows[start]["cell"]])
        return {
            "closeness": [weights.closeness * value for value in near],
            "fit": [weights.fit * value for value in shares.tolist()],
            "invalid": [weights.invalid if given is None else 0.0 for given in answers],
        }

    return by_part([name for name in PARTS if getattr(weights, name)], score)

"""What GRPO is given, and what it refuses, without a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gsm8k.grpo.params import Grpo
from gsm8k.grpo.trainer import check, grpo_config, plan_steps, reward_function
from gsm8k.problems import PROBLEMS, prompt_text
from gsm8k.train import problems_within, scheduled_prompts, weighted
from gsm8k.warm_start import CHAT_TEMPLATE
from socrates.core import params
from socrates.core.errors import DataError, TrainingError
from socrates.model.tokenisation import token_ids
from socrates.training.schedule import BatchPlan
from tests import tiny

SECTIONS: dict[str, Any] = params.parse(
    params.read_yaml(tiny.ROOT / "gsm8k/params.yaml"), sections=params.GSM8K_SECTIONS
)
GRPO: Grpo = SECTIONS["grpo"].model_copy(update={"global_batch": 16, "generations": 4, "micro_batch": 16})
TABLE = pl.DataFrame([(0, "a" * 40, "", "1"), (1, "b", "", "2")], schema=PROBLEMS, orient="row")


def said(*texts: str) -> list[list[dict[str, str]]]:
    """Completions as TRL gives them to a reward."""
    return [[{"role": "assistant", "content": text}] for text in texts]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_no_number_stops_and_names_part_and_problem(value: float) -> None:
    reward = reward_function("tags", lambda completion, answer: value if answer == "5" else 0.5)
    with pytest.raises(TrainingError, match=r"reward tags of problem 8 is (nan|inf)"):
        reward(completions=said("x", "y"), answer=["4", "5"], row=["problem 3", "problem 8"], prompts=[])


def test_each_part_with_a_weight_rewards_its_own_problem_s_answer() -> None:
    parts = weighted(SECTIONS["rewards"].model_copy(update={"soft_format": 0.0}))
    assert list(parts) == ["correctness", "integer", "strict_format", "tags"]
    good = "<reasoning>\n2+2=4\n</reasoning>\n<answer>\n4\n</answer>"
    assert [parts["correctness"](good, answer) for answer in ("4", "5")] == [2.0, 0.0]


@pytest.mark.parametrize(
    ("epochs", "most", "updates", "steps"),
    [(1.0, None, 1, 25), (2.0, None, 1, 50), (1.0, None, 2, 50), (1.0, 7, 1, 7)],
)
def test_steps_are_whole_batches_of_problems(
    epochs: float, most: int | None, updates: int, steps: int
) -> None:
    grpo = GRPO.model_copy(update={"epochs": epochs, "max_steps": most, "updates": updates})
    assert plan_steps(grpo, 103, 1) == BatchPlan(steps, 16, 1)  # 4 problems a step; the last 3 fill none


def test_too_few_problems_and_processes_that_cannot_share_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 prompts are fewer than the 4 of one step"):
        plan_steps(GRPO, 3, 1)
    with pytest.raises(TrainingError, match=r"grpo.global_batch: 16 .* by 3 processes; .* 2, 4"):
        plan_steps(GRPO, 100, 3)


@pytest.mark.parametrize(("save_steps", "updates", "saved_every"), [(50, 1, 50), (50, 4, 52), (3, 2, 4)])
def test_a_checkpoint_comes_after_the_last_use_of_its_completions(
    save_steps: int, updates: int, saved_every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = SECTIONS["run"].model_copy(update={"save_steps": save_steps})
    grpo = GRPO.model_copy(update={"updates": updates})
    zero = SECTIONS["deepspeed"].model_copy(update={"zero_stage": 0})
    config = grpo_config(grpo, run, SECTIONS["model"], zero, BatchPlan(8, 16, 1))
    assert config.save_steps == saved_every


def test_prompts_over_the_limit_are_dropped_and_counted() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    kept, dropped = problems_within(TABLE, tokenizer, 10)
    assert kept["problem_id"].to_list() == [1] and dropped == 1
    with pytest.raises(DataError, match="every prompt is over the limit of 1 tokens"):
        problems_within(TABLE, tokenizer, 1)


def test_trl_tokenises_a_prompt_as_it_was_counted() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    (prompt,) = scheduled_prompts(TABLE[1:], 1, seed=1)
    assert (prompt["row"], prompt["answer"]) == ("problem 1", "2")
    ids = tokenizer.apply_chat_template([prompt["prompt"]], add_generation_prompt=True, return_dict=True)
    assert ids["input_ids"] == [one.tolist() for one in token_ids(tokenizer, [prompt_text(tokenizer, "b")])]


def test_what_cannot_be_trained_is_refused_in_one_line() -> None:
    with pytest.raises(TrainingError, match="quantised weights cannot be trained"):
        check(SECTIONS["model"].model_copy(update={"quantization": "nf4"}), GRPO)

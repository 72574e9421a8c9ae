"""What GRPO is given, and what it refuses, without a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from gsm8k.grpo.params import Grpo
from gsm8k.grpo.trainer import check, grpo_config, plan_steps, reward_function
from gsm8k.problems import PROBLEMS, prompt_text
from gsm8k.train import problems_within, scheduled_prompts, weighted
from gsm8k.warm_start import CHAT_TEMPLATE
from socrates.core import params
from socrates.core.errors import DataError, TrainingError
from socrates.model.tokenisation import token_ids
from socrates.training.config import train_in_float32
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


@pytest.mark.parametrize(("epochs", "most", "steps"), [(1.0, None, 25), (2.0, None, 50), (1.0, 7, 7)])
def test_steps_are_whole_batches_of_problems(epochs: float, most: int | None, steps: int) -> None:
    grpo = GRPO.model_copy(update={"epochs": epochs, "max_steps": most})
    assert plan_steps(grpo, 103, 1) == BatchPlan(steps, 16, 1)  # 4 problems a step; the last 3 fill none


def test_too_few_problems_and_processes_that_cannot_share_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 prompts are fewer than the 4 of one step"):
        plan_steps(GRPO, 3, 1)
    with pytest.raises(TrainingError, match=r"grpo.global_batch: 16 .* by 3 processes; .* 2, 4"):
        plan_steps(GRPO, 100, 3)


@pytest.mark.parametrize("zero_stage", [0, 1])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_types_are_one_decision_for_trainer_and_deepspeed(
    zero_stage: int, bfloat16: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "socrates.training.config.compute_dtype", lambda: (torch.float32, torch.bfloat16)[bfloat16]
    )
    zero = SECTIONS["deepspeed"].model_copy(update={"zero_stage": zero_stage})
    config = grpo_config(GRPO, SECTIONS["run"], SECTIONS["model"], zero, BatchPlan(8, 4, 4, 2))
    assert config.bf16 == bfloat16
    assert (config.deepspeed or {}).get("bf16", {"enabled": bfloat16})["enabled"] == bfloat16
    assert bool(config.deepspeed) == bool(zero_stage)
    assert config.activation_checkpointing and config.activation_checkpointing_kwargs["every_n_layers"] == 2
    model = torch.nn.Linear(2, 2).bfloat16()  # as TRL leaves an adapter
    train_in_float32(model, config.deepspeed)
    keeps_a_copy = bool(zero_stage) and bfloat16  # DeepSpeed does, in float32
    assert model.weight.dtype == (torch.bfloat16 if keeps_a_copy else torch.float32)


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

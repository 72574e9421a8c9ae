"""What GRPO is given, and what it refuses, without a training."""

from typing import Any

import polars as pl
import pytest
import torch

from gsm8k.grpo import grpo_config, problems_within, scheduled_prompts
from gsm8k.params import Grpo
from gsm8k.problems import PROBLEMS, prompt_text
from gsm8k.warm_start import CHAT_TEMPLATE
from socrates.core import params
from socrates.core.errors import DataError
from socrates.model.tokenisation import token_ids
from socrates.training.config import TrainParams, train_in_float32
from socrates.training.schedule import BatchPlan
from tests import tiny

SECTIONS: dict[str, Any] = params.parse(
    params.read_yaml(tiny.ROOT / "gsm8k/params.yaml"), sections=params.GSM8K_SECTIONS
)
GRPO: Grpo = SECTIONS["grpo"].model_copy(update={"global_batch": 16, "generations": 4, "micro_batch": 16})
TABLE = pl.DataFrame([(0, "a" * 40, "", "1"), (1, "b", "", "2")], schema=PROBLEMS, orient="row")


@pytest.mark.parametrize("zero_stage", [0, 1])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_types_are_one_decision_for_trainer_and_deepspeed(zero_stage, bfloat16, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    monkeypatch.setattr("socrates.training.config.compute_dtype", lambda: dtype)
    zero = SECTIONS["deepspeed"].model_copy(update={"zero_stage": zero_stage})
    params = TrainParams(SECTIONS["model"], SECTIONS["lora"], zero, SECTIONS["run"])
    config = grpo_config(GRPO, params, BatchPlan(8, 4, 4, 2))
    assert config.bf16 == bfloat16
    assert (config.deepspeed or {}).get("bf16", {"enabled": bfloat16})["enabled"] == bfloat16
    assert bool(config.deepspeed) == bool(zero_stage)
    assert config.activation_checkpointing and config.activation_checkpointing_kwargs["every_n_layers"] == 2
    model = torch.nn.Linear(2, 2).bfloat16()  # as TRL leaves an adapter
    train_in_float32(model, config.deepspeed)
    keeps_a_copy = bool(zero_stage) and bfloat16  # DeepSpeed does, in float32
    assert model.weight.dtype == (torch.bfloat16 if keeps_a_copy else torch.float32)


def test_prompts_over_the_limit_are_dropped_and_trl_tokenises_the_others_as_they_were_counted():
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    kept = problems_within(TABLE, tokenizer, 10)
    assert kept["problem_id"].to_list() == [1]
    with pytest.raises(DataError, match="max_prompt_length: raise it from 1"):
        problems_within(TABLE, tokenizer, 1)
    (prompt,) = scheduled_prompts(kept, 1, seed=1)
    ids = tokenizer.apply_chat_template([prompt["prompt"]], add_generation_prompt=True, return_dict=True)
    assert prompt["answer"] == "2"
    assert ids["input_ids"] == [one.tolist() for one in token_ids(tokenizer, [prompt_text(tokenizer, "b")])]

"""What GRPO is given, and what it refuses, without a training."""

from __future__ import annotations

import math
from pathlib import Path

import polars as pl
import pytest

from gsm8k.grpo.params import Grpo
from gsm8k.grpo.run import plan
from gsm8k.grpo.trainer import arguments, by_part
from gsm8k.problems import PROBLEMS
from gsm8k.tiny_model import CHAT
from gsm8k.train import of_parts, prompts_within, reinforce
from socrates.core import params
from socrates.core.errors import DataError, TrainingError
from socrates.model.params import Model
from socrates.runs.launch import Place
from socrates.runs.params import Run
from socrates.training.job import Job
from socrates.training.params import Deepspeed
from socrates.training.schedule import Batches
from tests import tiny

SECTIONS = params.parse(params.read_yaml(tiny.ROOT / "gsm8k/params.yaml"), sections=params.GSM8K_SECTIONS)
GRPO = SECTIONS["grpo"].model_copy(update={"global_batch": 16, "generations": 4, "micro_batch": 16})
assert isinstance(GRPO, Grpo)
ROWS = {"row": ["problem 3", "problem 8"], "answer": ["4", "5"]}


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_no_number_stops_and_names_part_and_problem(value: float) -> None:
    (reward,) = by_part(["tags"], lambda rows, completions: {"tags": [0.5, value]})
    with pytest.raises(TrainingError, match=r"reward tags of problem 8 is (nan|inf)"):
        reward(prompts=["a", "b"], completions=["x", "y"], trainer_state=object(), **ROWS)


def test_a_batch_is_scored_once_for_all_parts_and_the_next_one_anew() -> None:
    seen = []

    def score(rows: list[dict[str, object]], completions: list[str]) -> dict[str, list[float]]:
        seen.append([row["row"] for row in rows])
        return {"length": [float(len(text)) for text in completions], "one": [1.0] * len(completions)}

    parts = by_part(["length", "one"], score)
    for completions in (["a", "bcd"], ["ef", "g"]):
        earned = [part(prompts=["p", "p"], completions=completions, **ROWS) for part in parts]
        assert earned == [[float(len(text)) for text in completions], [1.0, 1.0]]
    assert seen == [ROWS["row"]] * 2


def test_each_part_with_a_weight_rewards_its_own_problem_s_answer() -> None:
    weights = SECTIONS["rewards"].model_copy(update={"soft_format": 0.0})
    functions = {one.__name__: one for one in of_parts(weights)}
    assert list(functions) == ["correctness", "integer", "strict_format", "tags"]
    good = "<reasoning>\n2+2=4\n</reasoning>\n<answer>\n4\n</answer>"
    earned = functions["correctness"](prompts=["a", "b"], completions=[good, good], **ROWS)
    assert earned == [2.0, 0.0]


@pytest.mark.parametrize(
    ("epochs", "most", "updates", "steps"),
    [(1.0, None, 1, 25), (2.0, None, 1, 50), (1.0, None, 2, 50), (1.0, 7, 1, 7)],
)
def test_steps_are_whole_batches_of_problems(
    epochs: float, most: int | None, updates: int, steps: int
) -> None:
    grpo = GRPO.model_copy(update={"epochs": epochs, "max_steps": most, "updates": updates})
    assert plan(grpo, 103, 1) == Batches(steps, 16, 1)  # 4 problems a step; the last 3 fill none


def test_too_few_problems_and_processes_that_cannot_share_are_refused() -> None:
    with pytest.raises(TrainingError, match="3 prompts are fewer than the 4 of one step"):
        plan(GRPO, 3, 1)
    with pytest.raises(TrainingError, match=r"grpo.global_batch: 16 .* by 3 processes; .* 2, 4"):
        plan(GRPO, 100, 3)


def test_prompts_over_the_limit_are_dropped_and_counted() -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = CHAT
    table = pl.DataFrame([(0, "a" * 40, "", "1"), (1, "b", "", "2")], schema=PROBLEMS, orient="row")
    kept, dropped = prompts_within(table, tokenizer, 10)
    assert kept.rows() == [("2", "b\n", "problem 1")] and dropped == 1
    with pytest.raises(DataError, match="every prompt is over the limit of 1 tokens"):
        prompts_within(table, tokenizer, 1)


def test_what_cannot_be_trained_is_refused_in_one_line(tmp_path: Path) -> None:
    model, deepspeed, run = (SECTIONS[name] for name in ("model", "deepspeed", "run"))
    assert isinstance(model, Model) and isinstance(deepspeed, Deepspeed) and isinstance(run, Run)
    with pytest.raises(TrainingError, match="vllm needs a GPU"):
        arguments(GRPO.model_copy(update={"generator": "vllm"}), run, model, deepspeed, Batches(1, 16, 1))
    quantised = model.model_copy(update={"quantization": "nf4"})
    rest = [SECTIONS[name] for name in ("lora", "deepspeed", "run")]
    job = Job(tmp_path, tmp_path, tmp_path, Place(0, 1), quantised, *rest)
    with pytest.raises(TrainingError, match="quantised weights cannot be trained"):
        reinforce(job, tmp_path / "x", SECTIONS["grpo"], SECTIONS["rewards"])

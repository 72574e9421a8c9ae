"""Group relative policy optimisation with TRL (Shao et al. 2024, arXiv 2402.03300).

The model answers each prompt several times; an answer is reinforced by how much its reward exceeds the
mean of its group.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from gsm8k.grpo.params import Grpo
from socrates.core.errors import TrainingError
from socrates.model.params import Model
from socrates.runs.params import Run
from socrates.training.config import AdapterCheckpoints, common_arguments, lora_config, train_in_float32
from socrates.training.params import Deepspeed, Lora
from socrates.training.schedule import BatchPlan, plan_batches

Message = dict[str, str]
Prompt = dict[str, Any]  # ``prompt`` (messages), ``row`` (its name in errors), ``answer``


def check(model: Model, grpo: Grpo) -> None:
    """Raises :class:`TrainingError` for weights that cannot be trained."""
    if model.quantization != "none" and not grpo.lora:
        raise TrainingError(
            "grpo.lora: quantised weights cannot be trained; set it to true, or quantization none"
        )


def plan_steps(grpo: Grpo, prompts: int, processes: int) -> BatchPlan:
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
    return plan_batches(grpo, whole * grpo.global_batch, processes)


def reward_function(name: str, score: Callable[[str, str], float]) -> Callable[..., list[float | None]]:
    """A reward in TRL's form, which stops the run at a value that is not finite.

    TRL leaves a NaN out of the sum, so that a broken reward would pass for a small one.

    Args:
        score: of a completion and its prompt's reference answer.

    Raises:
        TrainingError: when called, at such a value, with the name of the prompt's row.
    """

    def reward(
        completions: Sequence[Sequence[Message]], answer: Sequence[str], row: Sequence[str], **_: Any
    ) -> list[float | None]:
        values = [score(text[0]["content"], right) for text, right in zip(completions, answer, strict=True)]
        for one, value in zip(row, values, strict=True):
            if not math.isfinite(value):
                raise TrainingError(f"reward {name} of {one} is {value}: mend the reward function")
        return list(values)

    reward.__name__ = name
    return reward


def curve_names(rewards: Sequence[str]) -> dict[str, str]:
    """The curves of a run with these rewards: the trainer's names -> ours."""
    return {
        "step": "step",
        "reward": "reward",
        **{f"rewards/{name}/mean": name for name in rewards},
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


def grpo_config(grpo: Grpo, run: Run, model: Model, deepspeed: Deepspeed, plan: BatchPlan) -> GRPOConfig:
    """The trainer's arguments; making them initialises the process group.

    Every optimiser step learns from completions of its own: TRL saves none, so that a step can be resumed from.
    """
    return GRPOConfig(
        **common_arguments(run, deepspeed, plan.checkpointed),
        per_device_train_batch_size=plan.micro_batch_size,
        gradient_accumulation_steps=plan.grad_accum_steps,
        steps_per_generation=plan.grad_accum_steps,
        num_generations=grpo.generations,
        max_completion_length=grpo.max_completion_length,
        temperature=grpo.temperature,
        beta=grpo.kl,
        epsilon=grpo.clip,
        loss_type="grpo",
        scale_rewards="group" if grpo.normalise else "none",
        shuffle_dataset=False,  # the rows come in their order
        max_steps=plan.max_steps,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type=grpo.schedule,
        warmup_steps=grpo.warmup_ratio,  # below 1 it is read as a ratio
        adam_beta1=grpo.adam_beta1,
        adam_beta2=grpo.adam_beta2,
        weight_decay=grpo.weight_decay,
        max_grad_norm=grpo.max_grad_norm,
        eval_strategy="no",
        seed=grpo.seed,
        data_seed=grpo.seed,
        # The reference model of the divergence is loaded by TRL itself, at the revision that is trained.
        model_init_kwargs={"revision": model.revision} if model.revision and grpo.kl else None,
    )


class AdapterGRPOTrainer(AdapterCheckpoints, GRPOTrainer):
    """TRL's trainer."""


def build_trainer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    rewards: Mapping[str, Callable[[str, str], float]],
    grpo: Grpo,
    lora: Lora,
    args: GRPOConfig,
) -> GRPOTrainer:
    """A trainer of an adapter or of all weights.

    Args:
        prompts: in the order in which they are answered.
        rewards: by name, of a completion and its prompt's answer.
    """
    tokenizer.padding_side = "left"
    trainer = AdapterGRPOTrainer(
        model=model,
        args=args,
        reward_funcs=[reward_function(name, score) for name, score in rewards.items()],
        train_dataset=Dataset.from_list(list(prompts)),
        processing_class=tokenizer,
        peft_config=lora_config(lora) if grpo.lora else None,
    )
    trainer.remove_callback(PrinterCallback)
    train_in_float32(model, args.deepspeed)
    return trainer

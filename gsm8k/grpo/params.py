"""``grpo``: group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from socrates.core.params import Section, Seed

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Grpo(Section):
    global_batch: Positive  # completions per optimiser step, whatever the number of processes
    micro_batch: Positive  # completions per forward pass of one process
    generations: Annotated[int, Field(ge=2)]  # completions of one prompt: the group
    max_prompt_length: Positive  # tokens; rows with longer prompts are dropped and counted
    max_completion_length: Positive  # tokens
    temperature: Annotated[float, Field(gt=0)]  # of the completions
    normalise: bool  # divide what a completion earned above its group's mean by the group's deviation
    lora: bool  # an adapter by the lora section; false: all weights
    gradient_checkpointing: bool  # compute each layer's activations twice instead of keeping them
    learning_rate: Annotated[float, Field(gt=0)]
    schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: Share
    adam_beta1: Share
    adam_beta2: Share
    weight_decay: Annotated[float, Field(ge=0)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    kl: Annotated[float, Field(ge=0)]  # weight of the divergence from the base model (beta)
    clip: Annotated[float, Field(gt=0)]  # of the probability ratio (epsilon)
    epochs: Annotated[float, Field(gt=0)]
    max_steps: Positive | None  # optimiser steps; null: as many as the epochs give
    seed: Seed

    @property
    def prompts_per_step(self) -> int:
        """Prompts behind one optimiser step."""
        return self.global_batch // self.generations

    @model_validator(mode="after")
    def _whole_groups(self) -> Grpo:
        if self.global_batch % self.generations:
            divisors = [n for n in range(2, self.global_batch + 1) if self.global_batch % n == 0]
            near = min(divisors, key=lambda n: (abs(n - self.generations), n), default=None)
            advice = f"use {near}" if near else "raise global_batch"
            raise ValueError(
                f"generations {self.generations} does not divide global_batch {self.global_batch}: {advice}"
            )
        if self.global_batch % self.micro_batch:
            raise ValueError(
                f"micro_batch {self.micro_batch} does not divide global_batch {self.global_batch}"
            )
        return self

"""The word-problem pipeline's own sections of ``gsm8k/params.yaml``, and where its stages read and write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import Field, model_validator

from socrates.core import params
from socrates.core.params import Section, Seed, TableSource

PATH = Path("gsm8k/params.yaml")
TRAIN, TEST = Path("gsm8k/data/train.parquet"), Path("gsm8k/data/test.parquet")
BASE, TRAINED = Path("gsm8k/models/base"), Path("gsm8k/models/trained")
ATTEMPTS = {name: Path(f"gsm8k/data/attempts/{name}.parquet") for name in ("base", "trained")}
METRICS = Path("gsm8k/metrics")

S = TypeVar("S", bound=Section)
Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]


def load(section: type[S]) -> S:
    """The section of class ``section`` from the pipeline's own ``params.yaml``, all of it checked."""
    return params.load(section, PATH, params.GSM8K_SECTIONS)


class Synthetic(Section):
    """Word problems made here (``problems.source: synthetic``)."""

    train: Positive  # problems
    test: Positive  # problems, none of them in train
    min_steps: Annotated[int, Field(ge=1, le=3)]  # of arithmetic
    max_steps: Annotated[int, Field(ge=1, le=3)]
    max_number: Annotated[int, Field(ge=5, le=999)]  # no number in a problem or its solution is larger
    seed: Seed

    @model_validator(mode="after")
    def _steps(self) -> Synthetic:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")
        return self


class Problems(TableSource):
    """Where the word problems come from."""

    LOCAL: ClassVar[str] = "a folder with train.jsonl and test.jsonl"

    config: str  # hub: dataset configuration
    synthetic: Synthetic


class Warmup(Section):
    """Noise in the examples that the built-in model is fine-tuned on."""

    guesses: Share  # of the examples: another problem's answer in the format, without a step
    untagged: Share  # of the examples: the worked solution without the format


class Grpo(Section):
    """Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300)."""

    global_batch: Positive  # completions per optimiser step, whatever the number of processes
    micro_batch: Positive  # completions per forward pass of one process
    generations: Annotated[int, Field(ge=2)]  # completions of one prompt: the group
    max_prompt_length: Positive  # tokens; rows with longer prompts are dropped and counted
    max_completion_length: Positive  # tokens
    temperature: AboveZero  # of the completions
    normalise: bool  # divide what a completion earned above its group's mean by the group's deviation
    lora: bool  # an adapter by the lora section; false: all weights
    gradient_checkpointing: bool  # compute each layer's activations twice instead of keeping them
    learning_rate: AboveZero
    schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: Share
    adam_beta1: Share
    adam_beta2: Share
    weight_decay: Weight
    max_grad_norm: AboveZero
    kl: Weight  # of the divergence from the base model (beta)
    clip: AboveZero  # of the probability ratio (epsilon)
    epochs: AboveZero
    max_steps: Positive | None  # optimiser steps; null: as many as the epochs give
    seed: Seed

    @property
    def prompts_per_step(self) -> int:
        """Prompts behind one optimiser step."""
        return self.global_batch // self.generations

    @model_validator(mode="after")
    def _whole_groups(self) -> Grpo:
        for name, part in (("generations", self.generations), ("micro_batch", self.micro_batch)):
            if self.global_batch % part:
                raise ValueError(
                    f"{name} {part} does not divide global_batch {self.global_batch}: change one of them"
                )
        return self


class Rewards(Section):
    """What each part of a completion's reward is worth."""

    correctness: Weight  # the extracted answer equals the reference as a number
    integer: Weight  # the extracted answer is an integer
    strict_format: Weight  # the two blocks and nothing else, each tag on its own line
    soft_format: Weight  # begins with the two blocks
    tags: Weight  # a quarter for each tag that stands once on its own line
    trailing_penalty: Weight  # taken from tags for each character after the closing answer tag


class Solve(Section):
    """How word problems are attempted and scored."""

    problems: Positive | None  # test problems used; null: all
    samples: Positive  # drawn completions per problem, besides the greedy one
    temperature: AboveZero  # of the drawn completions
    max_completion_length: Positive  # tokens
    batch: Positive  # completions generated together
    pass_at: list[Positive]  # the k of pass@k
    bootstrap: Positive  # resamples of the problems behind each interval
    transcripts: Annotated[int, Field(ge=0)]  # shown in the report
    seed: Seed

    @model_validator(mode="after")
    def _enough_samples(self) -> Solve:
        most = max(self.pass_at, default=1)
        if most > self.samples:
            raise ValueError(f"pass@{most} needs at least {most} samples, not {self.samples}")
        return self

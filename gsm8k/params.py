"""The word-problem pipeline's own sections of ``gsm8k/params.yaml``, and where its stages read and write."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from socrates.core import params
from socrates.core.params import Section, Seed, TableSource

PATH = Path("gsm8k/params.yaml")
TRAIN, TEST = Path("gsm8k/data/train.parquet"), Path("gsm8k/data/test.parquet")
BASE, TRAINED = Path("gsm8k/models/base"), Path("gsm8k/models/trained")
ATTEMPTS = {name: Path(f"gsm8k/data/attempts/{name}.parquet") for name in ("base", "trained")}
METRICS = Path("gsm8k/metrics")

S = TypeVar("S", bound=Section)
Share = Annotated[float, Field(ge=0, lt=1)]


def load(section: type[S]) -> S:
    """The section of class ``section`` from the pipeline's own ``params.yaml``, all of it checked."""
    return params.load(section, PATH, params.GSM8K_SECTIONS)


class Synthetic(Section):
    train: PositiveInt  # problems
    test: PositiveInt  # problems, none of them in train
    min_steps: Annotated[int, Field(ge=1, le=3)]  # of arithmetic
    max_steps: Annotated[int, Field(ge=1, le=3)]
    max_number: Annotated[int, Field(ge=5, le=999)]  # no number in a problem or its solution is larger
    seed: Seed

    @model_validator(mode="after")
    def _steps(self) -> Self:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")
        return self


class Problems(TableSource):
    LOCAL: ClassVar[str] = "a folder with train.jsonl and test.jsonl"

    config: str  # hub: dataset configuration
    synthetic: Synthetic


class Warmup(Section):  # shares of the examples that the built-in model is fine-tuned on
    guesses: Share  # another problem's answer in the format, without a step
    untagged: Share  # the worked solution without the format


class Grpo(Section):
    global_batch: PositiveInt  # completions per optimiser step, whatever the number of processes
    micro_batch: PositiveInt  # completions per forward pass of one process
    generations: Annotated[int, Field(ge=2)]  # completions of one prompt: the group
    max_prompt_length: PositiveInt  # tokens; rows with longer prompts are dropped and counted
    max_completion_length: PositiveInt  # tokens
    temperature: PositiveFloat  # of the completions
    normalise: bool  # divide what a completion earned above its group's mean by the group's deviation
    lora: bool  # an adapter by the lora section; false: all weights
    gradient_checkpointing: bool  # compute each layer's activations twice instead of keeping them
    learning_rate: PositiveFloat
    schedule: Literal["cosine", "linear", "constant"]
    warmup_ratio: Share
    adam_beta1: Share
    adam_beta2: Share
    weight_decay: NonNegativeFloat
    max_grad_norm: PositiveFloat
    kl: NonNegativeFloat  # of the divergence from the base model (beta)
    clip: PositiveFloat  # of the probability ratio (epsilon)
    epochs: PositiveFloat
    max_steps: PositiveInt | None  # optimiser steps; null: as many as the epochs give
    seed: Seed

    @property
    def prompts_per_step(self) -> int:
        """Prompts behind one optimiser step."""
        return self.global_batch // self.generations

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        for name, part in (("generations", self.generations), ("micro_batch", self.micro_batch)):
            if self.global_batch % part:
                batch = f"global_batch {self.global_batch}"
                raise ValueError(f"{name} {part} does not divide {batch}: change one of them")
        return self


class Rewards(Section):  # what each part of a completion's reward is worth
    correctness: NonNegativeFloat  # the extracted answer equals the reference as a number
    integer: NonNegativeFloat  # the extracted answer is an integer
    strict_format: NonNegativeFloat  # the two blocks and nothing else, each tag on its own line
    soft_format: NonNegativeFloat  # begins with the two blocks
    tags: NonNegativeFloat  # a quarter for each tag that stands once on its own line
    trailing_penalty: NonNegativeFloat  # taken from tags for each character after the closing answer tag


class Solve(Section):
    problems: PositiveInt | None  # test problems used; null: all
    samples: PositiveInt  # drawn completions per problem, besides the greedy one
    temperature: PositiveFloat  # of the drawn completions
    max_completion_length: PositiveInt  # tokens
    batch: PositiveInt  # completions generated together
    pass_at: list[PositiveInt]  # the k of pass@k
    bootstrap: PositiveInt  # resamples of the problems behind each interval
    transcripts: NonNegativeInt  # shown in the report
    seed: Seed

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if (most := max(self.pass_at, default=1)) > self.samples:
            raise ValueError(f"pass@{most} needs at least {most} samples, not {self.samples}")
        return self

"""``problems``: where the word problems come from.
``rewards``: what each part of a completion's reward is worth (word problems).
``solve``: how word problems are attempted and scored.
``warmup``: noise in the examples that the built-in word-problem model is fine-tuned on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, model_validator

from socrates.core import params
from socrates.core.params import Section, Seed, TableSource

PATH = Path("gsm8k/params.yaml")
S = TypeVar("S", bound=Section)
Positive = Annotated[int, Field(ge=1)]


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
    LOCAL: ClassVar[str] = "a folder with train.jsonl and test.jsonl"

    config: str  # hub: dataset configuration
    synthetic: Synthetic


Weight = Annotated[float, Field(ge=0)]


class Rewards(Section):
    correctness: Weight  # the extracted answer equals the reference as a number
    integer: Weight  # the extracted answer is an integer
    strict_format: Weight  # the two blocks and nothing else, each tag on its own line
    soft_format: Weight  # begins with the two blocks
    tags: Weight  # a quarter for each tag that stands once on its own line
    trailing_penalty: Weight  # taken from tags for each character after the closing answer tag


class Solve(Section):
    problems: Positive | None  # test problems used; null: all
    samples: Positive  # drawn completions per problem, besides the greedy one
    temperature: Annotated[float, Field(gt=0)]  # of the drawn completions
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


Share = Annotated[float, Field(ge=0, lt=1)]


class Warmup(Section):
    guesses: Share  # of the examples: another problem's answer in the format, without a step
    untagged: Share  # of the examples: the worked solution without the format

    @model_validator(mode="after")
    def _some_right(self) -> Warmup:
        if self.guesses + self.untagged >= 1:
            raise ValueError("guesses and untagged leave no example that is right and well-formed")
        return self


def load(section: type[S]) -> S:
    """The section of class ``section`` from the pipeline's own ``params.yaml``, all of it checked."""
    return params.load(section, PATH, params.GSM8K_SECTIONS)

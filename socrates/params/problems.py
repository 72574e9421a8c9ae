"""``problems``: where the word problems come from."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from socrates.params import Section
from socrates.params.source import Source

Positive = Annotated[int, Field(ge=1)]


class Synthetic(Section):
    """Word problems made here (``problems.source: synthetic``)."""

    train: Positive  # problems
    test: Positive  # problems, none of them in train
    min_steps: Annotated[int, Field(ge=1, le=3)]  # of arithmetic
    max_steps: Annotated[int, Field(ge=1, le=3)]
    max_number: Annotated[int, Field(ge=5, le=999)]  # no number in a problem or its solution is larger
    seed: int

    @model_validator(mode="after")
    def _steps(self) -> Synthetic:
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} is above max_steps {self.max_steps}")
        return self


class Problems(Source):
    LOCAL: ClassVar[str] = "a folder with train.jsonl and test.jsonl"

    config: str  # hub: dataset configuration
    synthetic: Synthetic

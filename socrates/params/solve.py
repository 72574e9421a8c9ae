"""``solve``: how word problems are attempted and scored."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from socrates.params import Section

Positive = Annotated[int, Field(ge=1)]


class Solve(Section):
    problems: Positive | None  # test problems used; null: all
    samples: Positive  # drawn completions per problem, besides the greedy one
    temperature: Annotated[float, Field(gt=0)]  # of the drawn completions
    max_completion_length: Positive  # tokens
    batch: Positive  # completions generated together
    pass_at: list[Positive]  # the k of pass@k
    bootstrap: Positive  # resamples of the problems behind each interval
    transcripts: Annotated[int, Field(ge=0)]  # shown in the report
    seed: int

    @model_validator(mode="after")
    def _enough_samples(self) -> Solve:
        most = max(self.pass_at, default=1)
        if most > self.samples:
            raise ValueError(f"pass@{most} needs at least {most} samples, not {self.samples}")
        return self

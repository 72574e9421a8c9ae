"""``problems``: where the word problems come from."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from socrates.params import Section

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


class Problems(Section):
    source: Literal["synthetic", "hub", "local"]
    path: str | None  # local: a folder with train.jsonl and test.jsonl
    repo: str  # hub: dataset name
    config: str  # hub: dataset configuration
    revision: str  # hub: a full commit hash
    max_rejected: Annotated[float, Field(ge=0, le=1)]  # share of problems that may be unusable
    synthetic: Synthetic

    @model_validator(mode="after")
    def _complete(self) -> Problems:
        if self.source == "local" and not self.path:
            raise ValueError("source 'local' needs a path (a folder with train.jsonl and test.jsonl)")
        if not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError("revision must be a full 40-digit commit hash: a branch or tag can move")
        return self

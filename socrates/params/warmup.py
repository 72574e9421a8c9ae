"""``warmup``: the manners that the built-in word-problem model is taught besides worked solutions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from socrates.params import Section

Share = Annotated[float, Field(ge=0, lt=1)]


class Warmup(Section):
    guesses: Share  # share of the examples that state a random answer in the format, without a step
    untagged: Share  # share of the examples that state the worked solution without the format

    @model_validator(mode="after")
    def _some_right(self) -> Warmup:
        if self.guesses + self.untagged >= 1:
            raise ValueError("guesses and untagged leave no example that is right and well-formed")
        return self

"""``reward``: what a drawn survey answer earns, with ``train.method: grpo``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from socrates.params import Section

Weight = Annotated[float, Field(ge=0)]


class Reward(Section):
    closeness: Weight  # 1 - |answer - the person's| / range of the scale
    fit: Weight  # share in how well the group of answers matches the people of the cell
    invalid: Annotated[float, Field(le=0)]  # what an answer earns that the question does not allow

    @model_validator(mode="after")
    def _rewarded(self) -> Reward:
        if not self.closeness + self.fit:
            raise ValueError("closeness and fit are both 0: no answer would earn more than another")
        return self

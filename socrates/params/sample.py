"""``sample``: how much of the data is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from socrates.params import Section


class Sample(Section):
    fraction: Annotated[float, Field(gt=0, le=1)]
    by: Literal["rows", "participants", "cell"]
    max_per_cell: Annotated[int, Field(ge=1)] | None  # respondents; only with by: cell
    seed: int

    @model_validator(mode="after")
    def _cell(self) -> Sample:
        if self.max_per_cell is not None and self.by != "cell":
            raise ValueError("max_per_cell is used only with by: cell")
        return self

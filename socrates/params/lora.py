"""``lora``: the low-rank adapter (Hu et al. 2021, arXiv 2106.09685)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from socrates.params import Section


class Lora(Section):
    r: Annotated[int, Field(ge=1)]
    alpha: Annotated[int, Field(ge=1)] | None  # null: twice r
    dropout: Annotated[float, Field(ge=0, lt=1)]
    target_modules: Annotated[list[str], Field(min_length=1)]

    @property
    def scaling_alpha(self) -> int:
        """alpha with null resolved; the adapter's output is scaled by alpha / r."""
        return self.alpha if self.alpha is not None else 2 * self.r

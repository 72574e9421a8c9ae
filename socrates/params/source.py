"""What ``data`` and ``problems`` say alike: where a table comes from, and how much of it may be unusable."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from socrates.params import Commit, Section


class Source(Section):
    LOCAL: ClassVar[str]  # what a local path may be, in words

    source: Literal["synthetic", "hub", "local"]
    path: str | None  # of a local source
    repo: str  # hub: dataset name
    revision: Commit  # hub
    max_rejected: Annotated[float, Field(ge=0, le=1)]  # share of rows that may be unusable

    @model_validator(mode="after")
    def _local_has_a_path(self) -> Self:
        if self.source == "local" and not self.path:
            raise ValueError(f"source 'local' needs a path ({self.LOCAL})")
        return self

"""``data``: where the survey responses come from."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from socrates.params import Section


class World(Section):
    """The synthetic survey world (``data.source: synthetic``)."""

    studies: Annotated[int, Field(ge=8, le=400)]  # every text names a place of its own, of 4,800
    participants: Annotated[int, Field(ge=4)]  # respondents per study
    seed: int


class Data(Section):
    source: Literal["synthetic", "hub", "local"]
    path: str | None  # local: a parquet file, a folder of them, or a JSONL file
    repo: str  # hub: dataset name
    revision: str  # hub: a full commit hash
    max_rejected: Annotated[float, Field(ge=0, le=1)]  # share of rows that may be unusable
    synthetic: World

    @model_validator(mode="after")
    def _complete(self) -> Data:
        if self.source == "local" and not self.path:
            raise ValueError("source 'local' needs a path (a parquet file or folder, or a JSONL file)")
        if not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ValueError("revision must be a full 40-digit commit hash: a branch or tag can move")
        return self

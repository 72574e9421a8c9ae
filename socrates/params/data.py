"""``data``: where the survey responses come from."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from socrates.params import Section
from socrates.params.source import Source


class World(Section):
    """The synthetic survey world (``data.source: synthetic``)."""

    studies: Annotated[int, Field(ge=8, le=400)]  # every text names a place of its own, of 4,800
    participants: Annotated[int, Field(ge=4)]  # respondents per study
    seed: int


class Data(Source):
    LOCAL: ClassVar[str] = "a parquet file or folder, or a JSONL file"

    synthetic: World

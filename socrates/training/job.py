"""What a training is given, whatever it learns: where it reads and writes, and the params that all have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from socrates.core.params import Section
from socrates.model.params import Model
from socrates.runs.launch import Place
from socrates.runs.params import Run
from socrates.training.params import Deepspeed, Lora


@dataclass(frozen=True)
class Job:
    """One training.

    Attributes:
        base: the folder of the model that it starts from.
        trained: the folder that it writes.
        curves: the table that it writes.
        place: this process among all.
        model, lora, deepspeed, run: sections of the params.
    """

    base: Path
    trained: Path
    curves: Path
    place: Place
    model: Model
    lora: Lora
    deepspeed: Deepspeed
    run: Run

    def sections(self, **own: Section) -> dict[str, Section]:
        """All sections that shape the weights, by name: the job's, and ``own`` of what is learned."""
        return {"model": self.model, "lora": self.lora, **own, "deepspeed": self.deepspeed}

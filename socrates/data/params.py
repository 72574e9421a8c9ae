"""``data``: where responses come from; ``sample``: how much of them is used; ``split``: what is held out."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from socrates.core.params import Section, Seed, TableSource


class World(Section):
    """The synthetic survey world (``data.source: synthetic``)."""

    studies: Annotated[int, Field(ge=8, le=400)]  # each with a topic and endorsers of its own
    participants: Annotated[int, Field(ge=4)]  # respondents per study
    effects: Literal["large", "realistic"]  # of conditions and personas; realistic: as in real studies
    seed: Seed


class Data(TableSource):
    LOCAL: ClassVar[str] = "a CSV, JSONL or parquet file, or a folder of parquet files"

    # share of a cell's answers outside their scale from which the whole cell is left out
    max_rejected_in_cell: Annotated[float, Field(gt=0, le=1)]
    synthetic: World


class Sample(Section):
    fraction: Annotated[float, Field(gt=0, le=1)]
    by: Literal["rows", "participants", "cell"]
    max_per_cell: Annotated[int, Field(ge=1)] | None  # respondents; only with by: cell
    seed: Seed

    @model_validator(mode="after")
    def _cell(self) -> Self:
        if self.max_per_cell is not None and self.by != "cell":
            raise ValueError("max_per_cell is used only with by: cell")
        return self


class Split(Section):
    by: Literal["studies", "conditions", "tasks", "participants"]
    method: Literal["seeded", "official"]
    folds: Annotated[int, Field(ge=3)] | None  # of a cross-validation over studies; null: none
    fold: Annotated[int, Field(ge=0)]  # the fold that is tested on
    test_studies: Annotated[int, Field(ge=1)] | None  # by studies, seeded: to test on; null: 20 of 210
    test_max_per_cell: Annotated[int, Field(ge=2)] | None  # people of a test cell; null: all
    seed: Seed

    @model_validator(mode="after")
    def _fits(self) -> Self:
        seeded_studies = (self.by, self.method) == ("studies", "seeded")
        if self.by == "participants" and self.method == "official":
            raise ValueError("the dataset has no mapping of participants; use method: seeded")
        if self.folds is not None and not seeded_studies:
            raise ValueError("folds are of studies: they need by: studies and method: seeded")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds}: folds count from 0 to {self.folds - 1}")
        if self.test_studies is not None and (self.folds is not None or not seeded_studies):
            raise ValueError("test_studies needs by: studies, method: seeded and no folds")
        return self

"""``evaluate``: how predictions are compared with people."""

from typing import Annotated, Literal

from pydantic import Field

from socrates.core.params import Section, Seed


class Evaluate(Section):
    min_cell_size: Annotated[int, Field(ge=1)]  # respondents; smaller cells are counted, not scored
    constant_cells: Literal["exclude", "one_level"]  # paper convention where everyone agreed
    draws: Annotated[int, Field(ge=1)]  # repetitions of the drawn-answer convention
    temperature: Annotated[float, Field(gt=0)]  # of drawn answers; the paper's 0.6
    top_p: Annotated[float, Field(gt=0, le=1)]  # of drawn answers; the paper's 0.9
    bootstrap: Annotated[int, Field(ge=0, le=10**6)]  # resamples of an interval, permutations of a p-value
    equivalence_margin: Annotated[float, Field(ge=0)]  # of W: differences within it are practically none
    min_group_size: Annotated[int, Field(ge=2)]  # respondents in a demographic group
    seed: Seed

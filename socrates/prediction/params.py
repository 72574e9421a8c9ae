"""``predict``: the answer distribution of every test respondent."""

from typing import Annotated, Literal

from pydantic import Field

from socrates.core.params import Section


class Predict(Section):
    baselines: list[str]  # names of socrates/baselines: opponents without a language model
    # what the adapter is asked besides
    probes: list[Literal["no_persona", "no_scenario", "reversed_options"]]
    examples: Annotated[int, Field(ge=1)]  # training questions and their answers in a prompt of base_fewshot
    max_options: Annotated[int, Field(ge=2)]  # allowed integers; of more, a grid is predicted
    tokens_per_batch: Annotated[int, Field(ge=64)]  # of a pass, halved where memory runs out

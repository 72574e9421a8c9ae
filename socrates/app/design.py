"""An experiment as a social scientist writes it down before data collection: one YAML file, such as those in examples/.

A respondent reads scenario, condition and question as one text. ``docs/use.md`` says what each key is.
"""

import difflib
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, ValidationError, field_validator, model_validator

from socrates.app.parse import Question, parse_question
from socrates.app.population import MOST_ROWS
from socrates.core.errors import DataError
from socrates.core.params import problems, read_yaml
from socrates.survey.personas import LABELS
from socrates.survey.tables import DEMOGRAPHICS

FEWEST_PER_ARM = 20  # respondents; below it neither a mean nor its test is worth planning
ROUNDING = 0.005  # by which shares may miss 1

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[Words, Field(max_length=60)]
Share = Annotated[float, Field(gt=0, le=1)]


class Condition(BaseModel, extra="forbid", frozen=True):
    """What one arm of the experiment reads; the control may read nothing beside the scenario."""

    name: Name
    text: str
    control: bool = False


class Outcome(BaseModel, extra="forbid", frozen=True):
    """A question that everyone answers."""

    name: Name
    question: Words
    scale: str | None = None  # where its words do not state one
    better: Literal["higher", "lower"] = "higher"  # the wanted direction, by which conditions are ranked


class Population(BaseModel, extra="forbid", frozen=True):
    """Who answers: the personas of a file, or a draw from the training respondents, weighted to meet quotas."""

    file: Path | None = None  # relative to the design's folder
    size: Annotated[int, Field(ge=2, le=100_000)] | None = None
    seed: Annotated[int, Field(ge=0)] = 1
    quotas: dict[str, Annotated[dict[str, Share], Field(min_length=2)]] = Field(default_factory=dict)

    @field_validator("quotas", mode="after")
    @classmethod
    def _shares_by_field(cls, quotas: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        found = {}
        for name, shares in quotas.items():
            if name.lower() not in LABELS:
                close = difflib.get_close_matches(name.lower(), LABELS, n=1)
                known = f"known are {', '.join(DEMOGRAPHICS)}"
                hint = f"did you mean {LABELS[close[0]]}?" if close else known
                raise ValueError(f"{name!r} is no demographic field ({hint})")
            found[LABELS[name.lower()]] = shares
        if len(found) < len(quotas):
            raise ValueError(f"a field is named twice ({', '.join(quotas)})")
        for name, shares in found.items():
            if abs(sum(shares.values()) - 1) > ROUNDING:
                raise ValueError(f"the shares of {name} sum to {sum(shares.values()):.3f}, not to 1")
        return found

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.size is None):
            raise ValueError("say either file (of personas) or size (a draw from training respondents)")
        if self.file is not None and self.quotas:
            raise ValueError("quotas weight a draw from training respondents; a file has weights of its own")
        return self


class Design(BaseModel, extra="forbid", frozen=True):
    """The experiment."""

    title: Words
    scenario: str = ""
    conditions: Annotated[list[Condition], Field(min_length=2)]
    outcomes: Annotated[list[Outcome], Field(min_length=1)]
    population: Population
    respondents: Annotated[int, Field(le=10_000_000)] = 400  # recruited for the human study, over all arms
    shares: dict[str, Share] = Field(default_factory=dict)  # of them, by condition; equal if left out
    attrition: Annotated[float, Field(ge=0, lt=1)] = 0.0  # share of them who give no answer
    design_effect: Annotated[float, Field(ge=1, le=100)] = 1.0  # variance over that of a simple random sample
    cluster_size: Annotated[float, Field(ge=1, le=100_000)] = 1.0  # people assigned together (a class)
    icc: Annotated[float, Field(ge=0, le=1)] = 0.0  # how much alike they answer

    @field_validator("conditions", "outcomes", mode="after")
    @classmethod
    def _distinct(cls, named: list[Condition] | list[Outcome]) -> list[Condition] | list[Outcome]:
        if twice := [name for name, count in Counter(one.name for one in named).items() if count > 1]:
            raise ValueError(f"two are called {twice[0]!r}")
        return named

    @model_validator(mode="after")
    def _arms(self) -> Self:
        controls = [condition.name for condition in self.conditions if condition.control]
        if len(controls) != 1:
            marked = f"{len(controls)} ({', '.join(controls)})" if controls else "none"
            raise ValueError(f"exactly one condition is the control ('control: true'); marked: {marked}")
        texts: dict[str, str] = {}
        for condition in self.conditions:
            text = " ".join(condition.text.split())
            if text in texts:
                raise ValueError(f"conditions {texts[text]!r} and {condition.name!r} have the same text")
            texts[text] = condition.name
            if not text and not (condition.control and self.scenario.strip()):
                raise ValueError(f"condition {condition.name!r} has no text")
        return self

    @model_validator(mode="after")
    def _study(self) -> Self:
        names = [condition.name for condition in self.conditions]
        if self.shares and ({*self.shares} != {*names} or abs(sum(self.shares.values()) - 1) > ROUNDING):
            one_each = f"one for each of {', '.join(sorted(names))}"
            raise ValueError(f"shares: {one_each}, which sum to 1 (0.5, not 50)")
        least = min(names, key=self.answering)
        under = f"{self.answering(least):.0f} who answer under {least!r}"
        if self.answering(least) < FEWEST_PER_ARM:
            wanted = f"at least {FEWEST_PER_ARM} in each condition"
            raise ValueError(f"respondents: {self.respondents} leave {under}; {wanted}")
        if self.cluster_size > self.answering(least):
            raise ValueError(f"cluster_size: {self.cluster_size:g} are more than the {under}")
        return self

    def answering(self, condition: str) -> float:
        """Planned respondents who answer under a condition."""
        return self.respondents * self.shares.get(condition, 1 / len(self.conditions)) * (1 - self.attrition)

    def effective(self, condition: str) -> float:
        """Respondents of a simple random sample that its arm is worth: over both design effects (Kish 1965)."""
        return self.answering(condition) / (self.design_effect * (1 + (self.cluster_size - 1) * self.icc))

    @property
    def control(self) -> Condition:
        return next(condition for condition in self.conditions if condition.control)

    @cached_property
    def questions(self) -> dict[tuple[str, str], Question]:
        """What a respondent is asked, by condition and outcome. Raises :class:`DataError` where there is no scale."""
        found = {}
        for condition in self.conditions:
            for outcome in self.outcomes:
                parts = (part.strip() for part in (self.scenario, condition.text, outcome.question))
                try:
                    question = parse_question(" ".join(filter(None, parts)), outcome.scale, "scale: 1-7")
                except DataError as error:
                    raise DataError(f"outcome {outcome.name!r}: {error}") from None
                found[condition.name, outcome.name] = question
        return found


def read_design(path: Path) -> Design:
    """The design in a YAML file; every scale is checked. Raises :class:`DataError` where the file is missing, not YAML,
    or no design: all problems in one message."""
    keys = "keys such as 'conditions:' and 'outcomes:'"
    raw = read_yaml(path, "examples/ has designs to start from", keys, DataError)
    try:
        design = Design.model_validate(raw)
        asked = design.questions
    except ValidationError as error:
        raise DataError(f"{path}: " + "; ".join(problems(error, Design))) from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    for outcome in design.outcomes:
        scales = {asked[condition.name, outcome.name].scale.notation for condition in design.conditions}
        if len(scales) > 1:
            told = f"has another scale in some conditions ({', '.join(sorted(scales))})"
            raise DataError(f"{path}: outcome {outcome.name!r} {told}")
    rows = (design.population.size or 0) * len(design.conditions) * len(design.outcomes)
    if rows > MOST_ROWS:
        raise DataError(f"{path}: {rows:,} answers; at most {MOST_ROWS:,}: lower population.size")
    return design

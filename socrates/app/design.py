"""An experiment as a social scientist writes it down before data collection: one YAML file.

::

    title: Does the promise of jobs win support for a toll?
    scenario: You read about a plan in Oak Hill City to charge a toll on downtown traffic.
    conditions:
      - {name: control, control: true, text: The council will decide on it next month.}
      - {name: jobs, text: It would create hundreds of new jobs.}
    outcomes:
      - {name: support, question: How much do you support or oppose it?, scale: 1-7}
    population: {size: 300, seed: 1, quotas: {gender: {Female: 0.5, Male: 0.5}}}
    respondents: 600

A respondent reads scenario, condition and question as one text.
"""

from __future__ import annotations

import difflib
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from socrates.app.parse import Question, parse_question
from socrates.app.population import MOST_ROWS
from socrates.core.errors import DataError
from socrates.core.params import problems, read_yaml
from socrates.survey.personas import LABELS
from socrates.survey.tables import DEMOGRAPHICS

FEWEST_PER_ARM = 20  # respondents; below it neither a mean nor its test is worth planning

Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Name = Annotated[Words, Field(max_length=60)]


def known_field(name: str) -> str:
    """The demographic field of a name or label (``Political affiliation``). Raises ``ValueError``."""
    if name.lower() in LABELS:
        return LABELS[name.lower()]
    close = difflib.get_close_matches(name.lower(), LABELS, n=1)
    hint = f"did you mean {LABELS[close[0]]}?" if close else f"known are {', '.join(DEMOGRAPHICS)}"
    raise ValueError(f"{name!r} is no demographic field ({hint})")


Share = Annotated[float, Field(gt=0, le=1)]
ROUNDING = 0.005  # by which shares may miss 1


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Strict):
    """What one arm of the experiment reads; the control may read nothing beside the scenario."""

    name: Name
    text: str
    control: bool = False


class Outcome(_Strict):
    """A question that everyone answers; its scale is read from its words unless it is given (``1-7``).

    ``better`` is the wanted direction, by which conditions are ranked.
    """

    name: Name
    question: Words
    scale: str | None = None
    better: Literal["higher", "lower"] = "higher"


class Population(_Strict):
    """Who answers: the personas of a file, or a draw from the training respondents.

    Attributes:
        file: with demographic columns and, if wanted, ``weight``; relative to the design's folder.
        size: personas to draw from the training respondents.
        quotas: field -> category -> share, which the draw is weighted to meet; the joint distribution of
            the training respondents is kept otherwise. A category of a numeric field may be ``18-29``
            or ``65+``.
    """

    file: Path | None = None
    size: Annotated[int, Field(ge=2, le=100_000)] | None = None
    seed: Annotated[int, Field(ge=0)] = 1
    quotas: dict[str, Annotated[dict[str, Share], Field(min_length=2)]] = Field(default_factory=dict)

    @field_validator("quotas", mode="after")
    @classmethod
    def _shares(cls, quotas: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        found = {known_field(name): shares for name, shares in quotas.items()}
        if len(found) < len(quotas):
            raise ValueError(f"a field is named twice ({', '.join(quotas)})")
        for name, shares in found.items():
            if abs(sum(shares.values()) - 1) > ROUNDING:
                raise ValueError(f"the shares of {name} sum to {sum(shares.values()):.3f}, not to 1")
        return found

    @model_validator(mode="after")
    def _one_source(self) -> Population:
        if (self.file is None) == (self.size is None):
            raise ValueError("say either file (of personas) or size (a draw from training respondents)")
        if self.file is not None and self.quotas:
            raise ValueError("quotas weight a draw from training respondents; a file has weights of its own")
        return self


class Design(_Strict):
    """The experiment; see the module's example.

    Attributes:
        respondents: people recruited for the planned human study, over all conditions; for its power.
        shares: of them, by condition; equal if left out.
        attrition: share of them who give no answer.
        design_effect: variance over that of a simple random sample, from weights or strata.
        cluster_size, icc: people assigned together (a class, a household), and how much alike they answer (0 to 1).
    """

    title: Words
    scenario: str = ""
    conditions: Annotated[list[Condition], Field(min_length=2)]
    outcomes: Annotated[list[Outcome], Field(min_length=1)]
    population: Population
    respondents: Annotated[int, Field(le=10_000_000)] = 400
    shares: dict[str, Share] = Field(default_factory=dict)
    attrition: Annotated[float, Field(ge=0, lt=1)] = 0.0
    design_effect: Annotated[float, Field(ge=1, le=100)] = 1.0
    cluster_size: Annotated[float, Field(ge=1, le=100_000)] = 1.0
    icc: Annotated[float, Field(ge=0, le=1)] = 0.0

    @field_validator("conditions", "outcomes", mode="after")
    @classmethod
    def _distinct(cls, named: list[Condition] | list[Outcome]) -> list[Condition] | list[Outcome]:
        if twice := [name for name, count in Counter(one.name for one in named).items() if count > 1]:
            raise ValueError(f"two are called {twice[0]!r}")
        return named

    @model_validator(mode="after")
    def _arms(self) -> Design:
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
    def _study(self) -> Design:
        names = {condition.name for condition in self.conditions}
        if self.shares and (set(self.shares) != names or abs(sum(self.shares.values()) - 1) > ROUNDING):
            one_each = f"one for each of {', '.join(sorted(names))}"
            raise ValueError(f"shares: {one_each}, which sum to 1 (0.5, not 50)")
        least = min(names, key=self.answering)
        if (count := self.answering(least)) < FEWEST_PER_ARM:
            raise ValueError(
                f"respondents: {self.respondents} leave {count:.0f} who answer under {least!r}; "
                f"at least {FEWEST_PER_ARM} in each condition"
            )
        if self.cluster_size > count:
            raise ValueError(
                f"cluster_size: {self.cluster_size:g} are more than the {count:.0f} who answer under {least!r}"
            )
        return self

    def answering(self, condition: str) -> float:
        """Planned respondents who answer under a condition."""
        return self.respondents * self.shares.get(condition, 1 / len(self.conditions)) * (1 - self.attrition)

    def effective(self, condition: str) -> float:
        """Respondents of a simple random sample that its arm is worth: over both design effects (Kish 1965)."""
        return self.answering(condition) / (self.design_effect * (1 + (self.cluster_size - 1) * self.icc))

    @property
    def control(self) -> Condition:
        """The condition that the others are compared with."""
        return next(condition for condition in self.conditions if condition.control)

    @cached_property
    def questions(self) -> dict[tuple[str, str], Question]:
        """What a respondent is asked, by condition and outcome. Raises :class:`DataError` where there is no scale."""
        return {(c.name, o.name): self._question(c, o) for c in self.conditions for o in self.outcomes}

    def _question(self, condition: Condition, outcome: Outcome) -> Question:
        parts = (self.scenario, condition.text, outcome.question)
        text = " ".join(part.strip() for part in parts if part.strip())
        try:
            return parse_question(text, outcome.scale, "scale: 1-7")
        except DataError as error:
            raise DataError(f"outcome {outcome.name!r}: {error}") from None


def read_design(path: Path) -> Design:
    """The design in a YAML file; every scale is checked.

    Raises:
        DataError: the file is missing, not YAML, or no design. All problems stand in the one message.
    """
    keys = "keys such as 'conditions:' and 'outcomes:'"
    raw = read_yaml(path, "examples/ has designs to start from", keys, DataError)
    try:
        design = Design.model_validate(raw)
    except ValidationError as error:
        raise DataError(f"{path}: " + "; ".join(problems(error, Design))) from None
    try:
        asked = design.questions
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

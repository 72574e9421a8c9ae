"""The parts of the synthetic world's studies: topics and endorsers with attributes, questions, scales.

A topic is a proposal with a made-up name; an endorser is a made-up group whose support is a framing.
What people think of either follows from its attributes alone (``generate.py``). A question names the
topic and the endorser but never says an attribute: those are told only in the world's reading
(``corpus.py``). Every name belongs to one study, so a test study has none that was ever asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from socrates.survey.scales import Scale


@dataclass(frozen=True)
class Attribute:
    """A property of topics or of endorsers, present (+1) or opposite (-1), and how texts tell it."""

    name: str
    present: tuple[str, ...]
    opposite: tuple[str, ...]

    def phrases(self, value: int) -> tuple[str, ...]:
        """The phrases that tell ``value``."""
        return self.present if value > 0 else self.opposite


Kind = Literal["topic", "endorser"]
ATTRIBUTES: dict[Kind, tuple[Attribute, ...]] = {
    "topic": (
        Attribute("cheap", ("saves money", "lowers bills"), ("wastes money", "raises bills")),
        Attribute("safe", ("protects health", "prevents accidents"), ("harms health", "causes accidents")),
        Attribute("left", ("helps the poor", "strengthens unions"), ("mends roads", "sorts records")),
    ),
    "endorser": (
        Attribute("trusted", ("tell the truth", "keep promises"), ("tell lies", "break promises")),
        Attribute("skilled", ("know the subject", "study for years"), ("guess at random", "repeat rumors")),
    ),
}


@dataclass(frozen=True)
class Subject:
    """A topic (a proposal) or an endorser (a group): its name, and 1 or -1 for each of ATTRIBUTES of its kind."""

    kind: Kind
    name: str
    values: tuple[int, ...]

    def value(self, attribute: str) -> int:
        """The value of an attribute."""
        return self.values[[each.name for each in ATTRIBUTES[self.kind]].index(attribute)]


@dataclass(frozen=True)
class Form:
    """An outcome question.

    Attributes:
        text: with a place for the topic's name.
        sign: 1 if the upper answer favours the topic, -1 if it opposes it.
        shift: logits added after the sign.
        labels: of the lowest and the highest answer, or of every option in the order it is offered.
        scale: name of the scale; ``options`` for labelled options.
        falling: labelled options are offered from the upper answer down (1 for 'Yes').
    """

    text: str
    sign: int
    shift: float
    labels: tuple[str, ...]
    scale: str
    falling: bool = False


FORMS = (
    Form("How much do you support or oppose {}?", 1, 0.1, ("Strongly oppose", "Strongly support"), "7"),
    Form("How likely are you to vote for {}?", 1, -0.2, ("Very unlikely", "Very likely"), "0-100"),
    Form("How warm do you feel toward {}?", 1, 0.0, ("Very cold", "Very warm"), "0-10"),
    Form("How worried are you about {}?", -1, 0.1, ("Not at all worried", "Very worried"), "5"),
    Form("Would you vote for {}?", 1, 0.1, ("Yes", "No"), "options", falling=True),
)

SCALES = {
    "5": Scale(tuple(range(1, 6))),
    "7": Scale(tuple(range(1, 8))),
    "0-10": Scale(tuple(range(11))),
    "0-100": Scale(tuple(range(101))),
}
ENDPOINTS = (
    "{question} Only return an integer from {low} to {high}, where {low} means {first} and {high} means"
    " {last}, nothing else.",
    "{question} Only return an integer from {low} to {high}, where {low} = '{first}' and {high} = '{last}',"
    " nothing else.",
)

# Several wordings, so that the scenarios of two studies do not read alike but for the names.
OPENINGS = (
    "The council may adopt {topic}.",
    "Next spring voters decide on {topic}.",
    "Soon {topic} could reach this town.",
    "People here talk about {topic}.",
    "The mayor proposes {topic}.",
    "Officials plan to bring in {topic}.",
    "A new report describes {topic}.",
    "Some neighbors ask for {topic}.",
)
CONTROLS = (
    "The council decides in autumn.",
    "It was last discussed in March.",
    "No work has begun.",
    "Details are on file.",
    "A hearing follows next month.",
    "Readers were told no more than this.",
)
ENDORSEMENTS = (
    "Members of {endorser} endorse it.",
    "Members of {endorser} back {topic}.",
    "It is supported by {endorser}.",
    "Praise comes from {endorser}.",
)

ONSETS = ("b", "br", "d", "dr", "f", "fl", "g", "gr", "k", "kl",
          "m", "n", "p", "pl", "s", "t", "tr", "v", "z")  # fmt: skip
VOWELS = tuple("aeiou")
CODAS = tuple("bdgklmnprtxz")
# Syllables that read as a slur or as obscene: no name has one.
REFUSED = ("fuk", "klux", "nig", "fag", "kik", "dik", "kun", "kok", "slut", "tit", "rap", "naz", "jap", "yid", "spik",
           "gip", "dag", "kum", "pis")  # fmt: skip


def names(count: int, rng: np.random.Generator) -> list[str]:
    """Distinct made-up words of two syllables, in quotation marks; none tells anything about what it names."""
    made: dict[str, None] = {}
    while len(made) < count:
        made[_name(rng)] = None
    others = np.random.default_rng(count)  # of its own, so that what is drawn after the names stays the same
    chosen = []
    for name in list(made):
        other = name
        while any(part in other for part in REFUSED) or (other != name and other in made):
            other = _name(others)
        made[other] = None
        chosen.append(other)
    return chosen


def _name(rng: np.random.Generator) -> str:
    first, second = (
        rng.choice(ONSETS) + rng.choice(VOWELS) + (rng.choice(CODAS) if closed else "")
        for closed in (False, True)
    )
    return f'"{first}{second}"'

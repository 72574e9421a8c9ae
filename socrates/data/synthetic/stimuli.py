"""The parts of the synthetic world's studies: topics and endorsers with attributes, questions, scales.

A topic is a proposal, an endorser a group whose support is a framing; both have made-up names, of which each belongs
to one study, so that a test study has none that was ever asked about. What people think of either follows from its
attributes alone (``generate.py``), and those are told only in the world's reading (``corpus.py``), by no question.
"""

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from socrates.survey.scales import Scale, scale

Kind = Literal["topic", "endorser"]
# kind -> attribute -> the phrases that tell that it is there (1), and those that tell the opposite (-1)
ATTRIBUTES: dict[Kind, dict[str, dict[int, tuple[str, str]]]] = {
    "topic": {
        "cheap": {1: ("saves money", "lowers bills"), -1: ("wastes money", "raises bills")},
        "safe": {1: ("protects health", "prevents accidents"), -1: ("harms health", "causes accidents")},
        "left": {1: ("helps the poor", "strengthens unions"), -1: ("mends roads", "sorts records")},
    },
    "endorser": {
        "trusted": {1: ("tell the truth", "keep promises"), -1: ("tell lies", "break promises")},
        "skilled": {1: ("know the subject", "study for years"), -1: ("guess at random", "repeat rumors")},
    },
}


@dataclass(frozen=True)
class Subject:
    """A topic (a proposal) or an endorser (a group), with 1 or -1 for each of ``ATTRIBUTES`` of its kind."""

    kind: Kind
    name: str
    values: dict[str, int]


@dataclass(frozen=True)
class Form:
    """An outcome question."""

    text: str  # with a place for the topic's name
    sign: int  # 1 if the upper answer favours the topic, -1 if it opposes it
    shift: float  # logits added after the sign
    scale: Scale
    labels: tuple[str, str]  # of its first and its last option
    falling: bool = False  # the first option is the upper answer (1 for 'Yes'), and both are offered by label


FORMS = (
    Form(
        "How much do you support or oppose {}?",
        1,
        0.1,
        scale("1..7"),
        ("Strongly oppose", "Strongly support"),
    ),
    Form("How likely are you to vote for {}?", 1, -0.2, scale("0..100"), ("Very unlikely", "Very likely")),
    Form("How warm do you feel toward {}?", 1, 0.0, scale("0..10"), ("Very cold", "Very warm")),
    Form("How worried are you about {}?", -1, 0.1, scale("1..5"), ("Not at all worried", "Very worried")),
    Form("Would you vote for {}?", 1, 0.1, scale("1..2"), ("Yes", "No"), falling=True),
)
OFFERED = "Only return {low} for '{first}' or {high} for '{last}', nothing else."
ENDPOINTS = (
    "Only return an integer from {low} to {high}, where {low} means {first} and {high} means {last}, nothing else.",
    "Only return an integer from {low} to {high}, where {low} = '{first}' and {high} = '{last}', nothing else.",
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
REFUSED = re.compile("fuk|klux|nig|fag|kik|dik|kun|kok|slut|tit|rap|naz|jap|yid|spik|gip|dag|kum|pis")


def names(count: int, rng: np.random.Generator) -> list[str]:
    """Distinct made-up words of two syllables, in quotation marks; none tells anything about what it names."""
    distinct: dict[str, None] = {}
    while len(distinct) < count:
        distinct[_name(rng)] = None
    # with a generator of its own, what is drawn after the names stays the same
    made, others = list(distinct), np.random.default_rng(count)
    for place in range(count):
        while REFUSED.search(made[place]) or made.count(made[place]) > 1:
            made[place] = _name(others)
    return made


def _name(rng: np.random.Generator) -> str:
    first, second = (
        rng.choice(ONSETS) + rng.choice(VOWELS) + (rng.choice(CODAS) if closed else "")
        for closed in (False, True)
    )
    return f'"{first}{second}"'

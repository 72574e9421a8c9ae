"""The parts that studies of the synthetic world are made of, each with its one planted effect.

Effects are in logits of the latent attitude (see ``world.py``), the same in every study.
"""

from __future__ import annotations

from dataclasses import dataclass

from socrates.survey.scales import Scale


@dataclass(frozen=True)
class Topic:
    """A proposal. ``base`` is its attitude in logits; the rest are slopes on persona scores in [-1, 1]."""

    text: str
    base: float
    liberal: float
    age: float = 0.0
    education: float = 0.0
    female: float = 0.0
    income: float = 0.0


@dataclass(frozen=True)
class Framing:
    """An experimental condition: its sentence, its shift in logits, and its slope on liberal leaning."""

    text: str
    effect: float
    liberal: float = 0.0


@dataclass(frozen=True)
class Form:
    """An outcome question.

    Attributes:
        text: with a place for the proposal's name.
        sign: 1 if the upper answer favours the proposal, -1 if it opposes it.
        shift: logits added after the sign.
        labels: of the lowest and the highest answer, or of every option in the order it is offered.
        scales: names of the scales the question may use; ``options`` for labelled options.
        falling: labelled options are offered from the upper answer down (1 for 'Yes').
    """

    text: str
    sign: int
    shift: float
    labels: tuple[str, ...]
    scales: tuple[str, ...]
    falling: bool = False


# Effects are large beside the sampling noise of a cell of 40, so that few studies teach them.
TOPICS = (
    Topic("make all city buses free", 0.6, 0.8, age=-0.3),
    Topic("require a permit for every gun", 0.0, 1.2, female=0.3),
    Topic("raise the minimum wage", 0.5, 1.0, income=-0.4),
    Topic("ban phones in all schools", 0.9, 0.3, age=0.6),
    Topic("charge a toll on downtown traffic", -0.9, 0.6, education=0.3),
    Topic("open a clinic for drug users", -0.6, 1.0, age=-0.3),
    Topic("build a sports stadium with public money", -1.1, 0.2, female=-0.3),
    Topic("hire more police officers", 0.6, -0.5, age=0.3),
)

CONTROL = Framing("The council will decide on it next month.", 0.0)
FRAMINGS = (
    Framing("Leading scientists and doctors strongly endorse it.", 1.6),
    Framing("It would raise taxes for every household.", -1.7),
    Framing("A similar plan failed badly in a nearby town.", -1.3),
    Framing("It would create hundreds of new jobs.", 1.2),
    Framing("Democratic leaders back it and Republican leaders reject it.", 0.0, liberal=1.2),
    Framing("Most residents who spoke at the hearing were against it.", -0.8),
)

FORMS = (
    Form(
        "How much do you support or oppose {plan}?", 1, 0.1, ("Strongly oppose", "Strongly support"), ("7",)
    ),
    Form(
        "Do you agree that {plan} should go ahead?", 1, 0.2, ("Strongly disagree", "Strongly agree"), ("5",)
    ),
    Form("How likely are you to vote for {plan}?", 1, -0.2, ("Very unlikely", "Very likely"), ("0-100",)),
    Form("How important is {plan} to you?", 1, 0.3, ("Not at all important", "Very important"), ("4",)),
    Form("How warm do you feel toward {plan}?", 1, 0.0, ("Very cold", "Very warm"), ("0-10",)),
    Form("Would you vote for {plan}?", 1, 0.1, ("Yes", "No"), ("options",), falling=True),
    Form(
        "What should happen to {plan}?", 1, 0.0, ("Drop it", "Study it further", "Start it now"), ("options",)
    ),
    Form(
        "How much money should {plan} get?",
        1,
        -0.1,
        ("No money", "A little money", "Some money", "A lot of money"),
        ("options",),
    ),
)

SCALES = {
    "4": Scale(tuple(range(1, 5))),
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

PLACE_FIRST = (
    *("Alder", "Birch", "Cedar", "Clear", "Eagle", "Fair", "Forest", "Green", "High", "Iron"),
    *("Maple", "North", "Oak", "Red", "River", "Silver", "Stone", "Sun", "West", "White"),
)
PLACE_SECOND = (
    *("Bay", "Bridge", "Creek", "Dale", "Falls", "Field", "Ford", "Grove", "Harbor", "Hill"),
    *("Lake", "Mill", "Park", "Point", "Port", "Ridge", "Springs", "Valley", "View", "Wood"),
)
PLACE_KIND = (
    *("City", "County", "District", "Township", "Village", "Borough"),
    *("Parish", "Region", "Island", "Beach", "Junction", "Heights"),
)
# Few words, each in several studies, so that a name tells nothing about its study. Enough names for
# every text of 400 studies of at most four conditions and three tasks.
PLACES = tuple(
    f"{first} {second} {kind}" for first in PLACE_FIRST for second in PLACE_SECOND for kind in PLACE_KIND
)

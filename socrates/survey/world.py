"""A synthetic survey world: experiments in the SocSci210 schema whose answer distributions are known.

Every study combines parts that other studies use too: a topic, framings (the conditions), question
forms, a scale for each question, and a sampling frame of respondents. Each part carries one effect
on a latent attitude, the same in every study, so an unseen study can be predicted by whoever
learned the parts from other studies. The parts and their effects are the tables below.

The answer model is a cumulative logit (McCullagh 1980, "Regression models for ordinal data"): the
unit interval is cut into one equal piece per option, and an answer falls into a piece with the
probability that logistic noise around the respondent's latent attitude, mapped to the interval by
the logistic function, puts there. On a 0-100 scale many people then round to fives and tens, and a
few answers on any scale are careless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.params.data import World
from socrates.survey.scales import Scale
from socrates.survey.tables import CELL, DEMOGRAPHICS, RESPONSES, TRUTH

Floats = NDArray[np.float64]
T = TypeVar("T")


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


@dataclass(frozen=True)
class Frame:
    """Whom a study samples: mean age in years, and shifts in standard deviations."""

    age: float
    conservative: float
    education: float = 0.0
    income: float = 0.0
    rural: float = 0.25  # share living outside metropolitan areas


@dataclass(frozen=True)
class Task:
    """One outcome question of a study with the scale it uses."""

    form: Form
    scale: Scale
    falling: bool  # the first option is the upper answer
    text: str  # question and answer instruction


@dataclass(frozen=True)
class Study:
    """The design of a study: the parts it combines."""

    study_id: str
    place: str
    topic: Topic
    framings: tuple[Framing, ...]
    tasks: tuple[Task, ...]
    frame: Frame
    fields: tuple[str, ...]  # demographics the study asked
    within: bool  # every respondent sees every condition

    def stimuli(self, framing: Framing, task: Task) -> str:
        """Scenario, question and answer instruction in one text."""
        return f"You read about a plan in {self.place} to {self.topic.text}. {framing.text} {task.text}"


# Effects are large beside the sampling noise of a cell of 40, so that few studies teach them.
TOPICS = (
    Topic("make all city buses free", 0.7, 0.7, age=-0.2),
    Topic("require a permit for every gun", 0.1, 1.1, female=0.3),
    Topic("put solar panels on public buildings", 0.8, 0.8, education=0.3),
    Topic("hire more police officers", 0.6, -0.6, age=0.3),
    Topic("check immigration papers at every workplace", -0.3, -0.9, education=-0.3),
    Topic("raise the minimum wage", 0.5, 0.9, income=-0.4),
    Topic("ban phones in all schools", 0.9, 0.2, age=0.6),
    Topic("charge a toll on downtown traffic", -1.0, 0.6, education=0.3),
    Topic("give free lunches to all pupils", 1.1, 0.7, female=0.2),
    Topic("require flu shots for hospital workers", 0.3, 0.9, age=0.3, education=0.3),
    Topic("open a clinic for drug users", -0.7, 0.9, age=-0.3),
    Topic("build a sports stadium with public money", -1.1, 0.2, female=-0.3, age=-0.3),
)

CONTROL = Framing("The council will decide on it next month.", 0.0)
FRAMINGS = (
    Framing("Leading scientists and doctors strongly endorse it.", 0.9),
    Framing("It would raise taxes for every household.", -1.1),
    Framing("A local mother says it changed her life.", 0.6),
    Framing("A similar plan failed badly in a nearby town.", -0.9),
    Framing("Most people in the area already back it.", 0.5),
    Framing("It would create hundreds of new jobs.", 0.8),
    Framing("Critics warn that it threatens personal freedom.", -0.7, liberal=0.4),
    Framing("Democratic leaders back it and Republican leaders reject it.", 0.0, liberal=1.1),
    Framing("Republican leaders back it and Democratic leaders reject it.", 0.0, liberal=-1.1),
)

RATED = ("4", "5", "7", "0-10", "0-100")
FORMS = (
    Form("How much do you support or oppose it?", 1, 0.1, ("Strongly oppose", "Strongly support"), RATED),
    Form("Do you agree that it should go ahead?", 1, 0.2, ("Strongly disagree", "Strongly agree"), RATED),
    Form("How likely are you to vote for it?", 1, -0.2, ("Very unlikely", "Very likely"), RATED),
    Form("How important is it to you?", 1, 0.3, ("Not at all important", "Very important"), RATED),
    Form("How warm do you feel toward it?", 1, 0.0, ("Very cold", "Very warm"), RATED),
    Form("How useful would it be?", 1, 0.2, ("Not at all useful", "Very useful"), RATED),
    Form("How fair would it be?", 1, -0.1, ("Very unfair", "Very fair"), RATED),
    Form("How concerned are you about it?", -1, 0.2, ("Not at all concerned", "Very concerned"), RATED),
    Form("How strongly do you oppose it?", -1, -0.2, ("Not at all", "Very strongly"), RATED),
    Form("Would you vote for it?", 1, 0.1, ("Yes", "No"), ("options",), falling=True),
    Form("What should happen to it?", 1, 0.0, ("Drop it", "Study it further", "Start it now"), ("options",)),
    Form(
        "How much money should it get?",
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
SCALE_DECK = ("options", "options", "4", "5", "5", "7", "7", "7", "0-10", "0-100")
SHARE_FALLING = 0.15  # of 4-, 5- and 7-point scales, that run from the upper label down
SHARE_WITHIN = 0.15  # of studies, that show every condition to everyone
SHARE_UNANSWERED = 0.02  # of the demographics that were asked

# Standard deviation of the noise over pi / sqrt(3), in logits: coarse scales are answered less exactly.
NOISE = {2: 0.6, 3: 0.5, 4: 0.4}
NOISE_FINE = 0.33
CARELESS = 0.04  # of answers, that are given without reading: any option is as likely as another
# Of the answers on a 0-100 scale: exact, rounded to five, rounded to ten.
HEAPING = {1: 0.25, 5: 0.3, 10: 0.45}

ENDPOINTS = (
    "{question} Only return an integer from {low} to {high}, where {low} means {first} and {high} means {last},"
    " nothing else.",
    "{question} Only return an integer from {low} to {high}, where {low} = '{first}' and {high} = '{last}',"
    " nothing else.",
    "{question} Only return an integer from {low} to {high} where {low} means '{first}' and {high} means"
    " '{last}'.",
    "{question} The scale runs from {low} ({first}) to {high} ({last}). Only return a number from {low} to"
    " {high}, nothing else.",
)

FRAMES = (
    Frame(age=47, conservative=0.0),
    Frame(age=24, conservative=-0.8, education=0.2, income=-0.6),
    Frame(age=70, conservative=0.5, education=-0.2, rural=0.35),
    Frame(age=44, conservative=-0.9, education=1.4, income=0.7, rural=0.1),
    Frame(age=52, conservative=1.3, education=-0.6, income=-0.2, rural=0.85),
    Frame(age=38, conservative=-1.2, education=0.5, rural=0.02),
    Frame(age=45, conservative=0.6, education=-0.5, income=-0.9, rural=0.4),
    Frame(age=57, conservative=1.1, education=0.4, income=0.9, rural=0.2),
)

PLACE_FIRST = ("Alder", "Birch", "Cedar", "Clear", "Eagle", "Fair", "Forest", "Green", "Maple", "North")
PLACE_FIRST += ("Oak", "Red", "River", "Silver", "Stone", "West")
PLACE_SECOND = ("Bay", "Bridge", "Creek", "Falls", "Field", "Grove", "Harbor", "Hill", "Lake", "Park")
PLACE_SECOND += ("Point", "Ridge", "Springs", "Valley", "View", "Wood")
PLACE_KIND = ("City", "County", "District", "Township")

PARTIES = (
    "Strong Democrat",
    "Moderate Democrat",
    "Lean Democrat",
    "Don't Lean/Independent/None",
    "Lean Republican",
    "Moderate Republican",
    "Strong Republican",
)
IDEOLOGIES = ("Very Liberal", "Somewhat Liberal", "Moderate", "Somewhat Conservative", "Very Conservative")
EDUCATIONS = (
    "Less than high school",
    "High school graduate or equivalent",
    "Some college",
    "Bachelor's degree",
    "Post grad study/professional degree",
)
INCOMES = ("Under 20K", "20-29K", "30-49K", "50-74K", "75-99K", "100-149K", "150K+")
ALWAYS_ASKED = ("age", "gender", "education", "party_id")
SOMETIMES_ASKED = ("ideology", "ideology", "income", "income", "employment", "ethnicity", "location")
SOMETIMES_ASKED += ("marital_status", "household_size", "housing_ownership", "housing_type", "metro_status")
SOMETIMES_ASKED += ("internet_access", "phone_service")


@dataclass
class Deck(Generic[T]):
    """Draws parts so that all are used about equally often: a new shuffle once the last is used up."""

    parts: tuple[T, ...]
    rng: np.random.Generator
    cards: list[T] = field(default_factory=list)

    def draw(self, fits: Callable[[T], bool] = lambda _: True) -> T:
        """The next part that ``fits``; at least one part of the deck must."""
        for index, card in enumerate(self.cards):
            if fits(card):
                return self.cards.pop(index)
        self.cards += [self.parts[index] for index in self.rng.permutation(len(self.parts))]
        return self.draw(fits)


def generate(world: World) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The responses of a synthetic world and the truth they were drawn from.

    Returns:
        (responses, truth) with the columns of ``tables.RESPONSES`` and ``tables.TRUTH``. The truth
        of a cell is the mean of the planted distributions of the respondents who are in it.
    """
    responses, truth = [], []
    for number, study in enumerate(design(world)):
        table, cells = answers(study, world.participants, np.random.default_rng([world.seed, 1, number]))
        responses.append(table)
        truth.append(cells)
    return pl.concat(responses).sort("study_id", "sample_id"), pl.concat(truth).sort(CELL)


def design(world: World) -> list[Study]:
    """The designs of all studies of a world, each in a place of its own."""
    rng = np.random.default_rng([world.seed, 0])
    places = [f"{a} {b} {kind}" for a in PLACE_FIRST for b in PLACE_SECOND for kind in PLACE_KIND]
    order = rng.permutation(len(places))
    identifiers = _identifiers(world.studies, rng)
    topics, frames, framings = Deck(TOPICS, rng), Deck(FRAMES, rng), Deck(FRAMINGS, rng)
    arms, questions = Deck((2, 3, 3, 4), rng), Deck((1, 2, 2, 3), rng)
    scales, forms, wordings = Deck(SCALE_DECK, rng), Deck(FORMS, rng), Deck(ENDPOINTS, rng)
    asked, extra = Deck(SOMETIMES_ASKED, rng), Deck((2, 3, 4), rng)
    studies = []
    for number in range(world.studies):
        conditions = [CONTROL] if rng.random() < 0.75 else []
        for _ in range(arms.draw() - len(conditions)):
            conditions.append(framings.draw(lambda framing: framing not in conditions))
        tasks: list[Task] = []
        for _ in range(questions.draw()):
            name, used = scales.draw(), {task.form for task in tasks}
            form = forms.draw(lambda form: name in form.scales and form not in used)
            tasks.append(_task(form, name, wordings, rng))
        fields = set(ALWAYS_ASKED)
        for _ in range(extra.draw()):
            fields.add(asked.draw(lambda name: name not in fields))
        studies.append(
            Study(
                study_id=identifiers[number],
                place=places[order[number]],
                topic=topics.draw(),
                framings=tuple(conditions),
                tasks=tuple(tasks),
                frame=frames.draw(),
                fields=tuple(name for name in DEMOGRAPHICS if name in fields),
                within=bool(rng.random() < SHARE_WITHIN),
            )
        )
    return studies


def _identifiers(count: int, rng: np.random.Generator) -> list[str]:
    """Distinct study names of five characters, a letter first so that none reads as a number."""
    letters, others = list("bcdfghjkmnpqrstvwxyz"), list("bcdfghjkmnpqrstvwxyz23456789")
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join([rng.choice(letters), *rng.choice(others, 4)])] = None
    return list(found)


def _task(form: Form, scale_name: str, wordings: Deck[str], rng: np.random.Generator) -> Task:
    if scale_name == "options":
        offered = [f"{number} for '{label}'" for number, label in enumerate(form.labels, 1)]
        text = " or ".join(offered) if len(offered) == 2 else "; ".join(offered)
        options = Scale(tuple(range(1, len(offered) + 1)))
        return Task(form, options, form.falling, f"{form.text} Only return {text}, nothing else.")
    scale = SCALES[scale_name]
    falling = len(scale.options) <= 7 and bool(rng.random() < SHARE_FALLING)
    first, last = form.labels[::-1] if falling else form.labels
    text = wordings.draw().format(question=form.text, low=scale.low, high=scale.high, first=first, last=last)
    return Task(form, scale, falling, text)


def answers(study: Study, participants: int, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Respondents of a study and their answers: the study's part of (responses, truth)."""
    people = population(study.frame, participants, rng)
    scores = persona_scores(people)
    shown = people.select(
        pl.col(name) if name in study.fields else pl.lit(None, pl.String).alias(name) for name in DEMOGRAPHICS
    ).with_columns(
        pl.when(pl.Series(rng.random(participants) >= SHARE_UNANSWERED)).then(name).alias(name)
        for name in study.fields
    )
    persona = shown.to_struct("demographic")
    arm = rng.permutation(participants) % len(study.framings)
    tables, cells = [], []
    for condition, framing in enumerate(study.framings, 1):
        here = np.arange(participants) if study.within else np.flatnonzero(arm == condition - 1)
        for number, task in enumerate(study.tasks, 1):
            if not len(here):
                continue
            planted = distributions(study.topic, framing, task, {k: v[here] for k, v in scores.items()})
            options = np.array(task.scale.options)
            drawn = (rng.random((len(here), 1)) > np.cumsum(planted, axis=1)[:, :-1]).sum(axis=1)
            tables.append(
                pl.DataFrame(
                    {
                        "participant": here,
                        "condition_num": condition,
                        "task_num": number,
                        "demographic": persona[here],
                        "stimuli": study.stimuli(framing, task),
                        "response": options[drawn],
                    }
                )
            )
            cells.append((study.study_id, condition, number, task.scale.notation, planted.mean(0).tolist()))
    responses = (
        pl.concat(tables)
        .sort("participant", "condition_num", "task_num")
        .with_row_index("sample_id")
        .with_columns(pl.lit(study.study_id).alias("study_id"))
    )
    return responses.select(list(RESPONSES)).cast(RESPONSES), pl.DataFrame(cells, schema=TRUTH, orient="row")  # type: ignore[arg-type]


def distributions(topic: Topic, framing: Framing, task: Task, scores: dict[str, Floats]) -> Floats:
    """Planted answer distributions, shape ``[respondents, options]``, options ascending, rows sum to 1."""
    slopes = {
        "liberal": topic.liberal + framing.liberal,
        "age": topic.age,
        "education": topic.education,
        "female": topic.female,
        "income": topic.income,
    }
    persona = sum(slope * scores[name] for name, slope in slopes.items())
    latent = task.form.sign * (topic.base + framing.effect + persona) + task.form.shift
    count = len(task.scale.options)
    cuts = np.arange(1, count) / count
    cuts = np.log(cuts / (1 - cuts))
    below = 1 / (1 + np.exp((latent[:, None] - cuts) / NOISE.get(count, NOISE_FINE)))
    edge = np.ones((len(latent), 1))
    planted = np.diff(np.hstack([0 * edge, below, edge]), axis=1)
    if task.falling:
        planted = planted[:, ::-1]
    if count == 101:
        planted = planted @ _heaping()
    return (1 - CARELESS) * planted + CARELESS / count


def _heaping() -> Floats:
    """Probability that an exact answer (row) is given as another (column), shape ``[101, 101]``."""
    moved = np.zeros((101, 101))
    for step, share in HEAPING.items():
        moved[np.arange(101), (np.arange(101) + step // 2) // step * step] += share
    return moved


def population(frame: Frame, count: int, rng: np.random.Generator) -> pl.DataFrame:
    """Demographics of ``count`` respondents of a sampling frame, correlated as people's are."""

    def normal() -> Floats:
        return rng.standard_normal(count)

    def chance(share: Floats | float, yes: str, no: str) -> list[str]:
        return np.where(rng.random(count) < share, yes, no).tolist()

    age = np.clip(np.rint(frame.age + 11 * normal()), 18, 92)
    rural = rng.random(count) < frame.rural
    education = frame.education - 0.2 * rural + 0.9 * normal()
    conservative = (
        frame.conservative + 0.2 * rural + 0.01 * (age - frame.age) - 0.1 * education + 0.6 * normal()
    )
    party = conservative + 0.35 * normal()
    income = frame.income + 0.5 * education + 0.02 * np.minimum(age - 40, 20) + 0.7 * normal()
    married = rng.random(count) < np.clip((age - 20) / 30, 0.05, 0.65)
    work = np.select(
        [age + 4 * normal() > 65, rng.random(count) < 0.72, rng.random(count) < 0.4],
        ["Retired", "Employed as paid employee", "Self-employed"],
        "Looking for work",
    )
    owner = income + 0.03 * (age - 40) + 0.7 * normal() > 0
    ethnicity = rng.choice(4, count, p=[0.4, 0.4, 0.12, 0.08])
    white = rng.random(count) < 1 / (1 + np.exp(-0.6 - 0.8 * conservative))
    return pl.DataFrame(
        {
            "age": [str(int(years)) for years in age],
            "gender": chance(0.52, "Female", "Male"),
            "education": _levels(education, (-1.4, -0.4, 0.4, 1.2), EDUCATIONS),
            "ethnicity": np.where(
                white, "White", np.array(["Black", "Hispanic", "Asian", "Other"])[ethnicity]
            ),
            "income": _levels(income, (-1.3, -0.8, -0.3, 0.3, 0.8, 1.4), INCOMES),
            "employment": work,
            "party_id": _levels(party, (-1.25, -0.75, -0.25, 0.25, 0.75, 1.25), PARTIES),
            "ideology": _levels(conservative, (-1.1, -0.4, 0.4, 1.1), IDEOLOGIES),
            "location": np.array(["Northeast", "Midwest", "South", "West"])[
                rng.choice(4, count, p=[0.18, 0.21, 0.38, 0.23])
            ],
            "marital_status": np.where(
                married, "Married", chance(np.clip((age - 30) / 80, 0, 1), "Divorced", "Never married")
            ),
            "household_size": [str(size) for size in 1 + married + rng.poisson(np.where(age < 55, 1.0, 0.2))],
            "housing_ownership": np.where(owner, "Owned", "Rented"),
            "housing_type": chance(np.where(owner | rural, 0.85, 0.35), "Detached house", "Apartment"),
            "metro_status": np.where(rural, "Non-Metro Area", "Metro Area"),
            "internet_access": chance(
                np.where(age > 65, 0.85, 0.97), "Internet household", "Non-internet household"
            ),
            "phone_service": chance(
                np.where(age > 60, 0.5, 0.9), "Cell phone only", "Landline and cell phone"
            ),
        },
        schema=dict.fromkeys(DEMOGRAPHICS, pl.String),
    )


def _levels(values: Floats, cuts: tuple[float, ...], labels: tuple[str, ...]) -> NDArray[np.str_]:
    return np.array(labels)[np.digitize(values, cuts)]


def persona_scores(people: pl.DataFrame) -> dict[str, Floats]:
    """What the answer model knows of people with every field: scores in [-1, 1], shape ``[respondents]``.

    They are functions of the demographic strings alone, so a reader of a full persona can know them.
    """

    def rank(name: str, labels: tuple[str, ...]) -> Floats:
        ranks = {label: 2 * index / (len(labels) - 1) - 1 for index, label in enumerate(labels)}
        return people[name].replace_strict(ranks, return_dtype=pl.Float64).to_numpy()

    return {
        "liberal": -(rank("party_id", PARTIES) + rank("ideology", IDEOLOGIES)) / 2,
        "age": np.clip((people["age"].cast(pl.Float64).to_numpy() - 48) / 30, -1, 1),
        "education": rank("education", EDUCATIONS),
        "female": rank("gender", ("Male", "Female")),
        "income": rank("income", INCOMES),
    }

"""A synthetic survey world: experiments in the SocSci210 schema whose answer distributions are known.

Every study has a topic and endorsers of its own, with made-up names that no other study uses. What
people think of a topic, and what an endorsement does to it, follows from the attributes of the two
(``stimuli.py``), by rules that are the same in every study. No question tells the attributes. The
base model has read about all topics and endorsers (``corpus.py``), so that a model which learned the
rules on some studies can carry them over to studies of which it knows only what it read. Question
forms, scales and sampling frames are shared by all studies.

The answer model is a cumulative logit (McCullagh 1980, "Regression models for ordinal data"): the
unit interval is cut into one equal piece per option, and an answer falls into a piece with the
probability that logistic noise around the respondent's latent attitude, mapped to the interval by
the logistic function, puts there. On a 0-100 scale many people then round to fives and tens, and a
few answers on any scale are careless.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from socrates.data.params import World
from socrates.data.synthetic.corpus import corpus, quiz
from socrates.data.synthetic.respondents import FRAMES, Floats, Frame, liberal_scores, population, recorded
from socrates.data.synthetic.stimuli import (
    ATTRIBUTES,
    CONTROLS,
    ENDORSEMENTS,
    ENDPOINTS,
    FORMS,
    OPENINGS,
    SCALES,
    Form,
    Kind,
    Subject,
    names,
)
from socrates.survey.scales import Scale
from socrates.survey.tables import DEMOGRAPHICS, PERSON_TRUTH, RESPONSES

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """One outcome question of a study with the scale it uses."""

    form: Form
    scale: Scale
    text: str  # question and answer instruction


@dataclass(frozen=True)
class Condition:
    """One arm of a study: who endorses the topic (None: nobody), and the scenario that says so."""

    endorser: Subject | None
    scenario: str


@dataclass(frozen=True)
class Study:
    """The design of a study: the parts it combines."""

    study_id: str
    topic: Subject
    conditions: tuple[Condition, ...]
    tasks: tuple[Task, ...]
    frame: Frame
    fields: tuple[str, ...]  # demographics the study asked
    within: bool  # every respondent sees every condition

    @property
    def subjects(self) -> list[Subject]:
        """What the study is about: the topic and all endorsers."""
        return [self.topic, *(arm.endorser for arm in self.conditions if arm.endorser)]

    def stimuli(self, condition: Condition, task: Task) -> str:
        """Scenario, question and answer instruction in one text."""
        return f"{condition.scenario} {task.text}"


# Logits of the latent attitude, for an attribute of 1 (of -1: the opposite).
TOPIC = {"cheap": 1.0, "safe": 0.6}  # of a topic, for everyone
LIBERAL = {1: 1.7, -1: 0.7}  # by a topic's attribute ``left``: times the liberal score in [-1, 1]
ENDORSER = {"trusted": 1.0, "skilled": 0.6}  # of an endorser, for everyone
# What ``LIBERAL`` and ``ENDORSER`` are multiplied with (``synthetic.effects``). ``realistic``: merging the
# conditions of a question costs W 0.037 on the stated scale (0.035 in 15 real studies), and the persona
# explains 0.02 of the variance within a cell, as in real ones (``docs/world.md``); ``large``: 0.1.
EFFECTS = {"large": 1.0, "realistic": 0.35}

SHARE_WITHIN = 0.1  # of studies, that show every condition to everyone
SHARE_UNANSWERED = 0.02  # of the demographics that were asked

# Standard deviation of the noise over pi / sqrt(3), in logits: coarse scales are answered less exactly.
NOISE = {2: 0.8}
NOISE_FINE = 0.6
CARELESS = 0.04  # of answers, that are given without reading: any option is as likely as another
# Of the answers on a 0-100 scale: exact, rounded to five, rounded to ten.
HEAPING = {1: 0.05, 5: 0.2, 10: 0.75}

ALWAYS_ASKED = ("age", "party_id", "ideology")
# Named as often as it is to be asked, beside the others.
SOMETIMES_ASKED = (
    *("gender", "gender", "education", "education", "income", "income", "employment", "ethnicity"),
    *("location", "marital_status", "household_size", "housing_ownership", "housing_type"),
    *("metro_status", "internet_access", "phone_service"),
)


@dataclass
class BalancedSampler(Generic[T]):
    """Draws parts so that all are used about equally often: a new shuffle once the last is used up."""

    parts: tuple[T, ...]
    rng: np.random.Generator
    cards: list[T] = field(default_factory=list)

    def draw(self, fits: Sequence[T] | None = None) -> T:
        """The next part (of those that fit; at least one part of the deck must)."""
        for index, card in enumerate(self.cards):
            if fits is None or card in fits:
                return self.cards.pop(index)
        self.cards += [self.parts[index] for index in self.rng.permutation(len(self.parts))]
        return self.draw(fits)

    def sample(self, count: int) -> list[T]:
        """``count`` parts, no two the same."""
        drawn: list[T] = []
        while len(drawn) < count:
            drawn.append(self.draw([part for part in self.parts if part not in drawn]))
        return drawn


def generate(world: World) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """The responses of a synthetic world, and all that is known of it.

    Returns:
        responses (``tables.RESPONSES``), and by name: ``person_truth`` (``tables.PERSON_TRUTH``),
        ``corpus`` (column ``text``: what the base model reads) and ``quiz``
        (``corpus.QUIZ``: what a reader should know).
    """
    studies = design(world)
    tables = [
        answers(study, world, np.random.default_rng([world.seed, 1, number]))
        for number, study in enumerate(studies)
    ]
    responses, people = (
        pl.concat(parts).sort("study_id", "sample_id") for parts in zip(*tables, strict=True)
    )
    return responses, {
        "person_truth": people,
        "corpus": corpus(
            [subject for study in studies for subject in study.subjects],
            np.random.default_rng([world.seed, 2]),
        ),
        "quiz": quiz({study.study_id: study.subjects for study in studies}),
    }


def design(world: World) -> list[Study]:
    """The designs of all studies of a world; no two share a topic or an endorser."""
    rng = np.random.default_rng([world.seed, 0])
    fresh = iter(names(4 * world.studies, rng))
    topics, endorsers = _subjects("topic", fresh, rng), _subjects("endorser", fresh, rng)
    arms, questions = BalancedSampler((2, 2, 3), rng), BalancedSampler((1, 2, 2, 3), rng)
    forms, wordings = BalancedSampler(FORMS, rng), BalancedSampler(ENDPOINTS, rng)
    frames = BalancedSampler(FRAMES, rng)
    asked, extra = BalancedSampler(SOMETIMES_ASKED, rng), BalancedSampler((0, 1, 1, 2), rng)
    studies = []
    for identifier in _identifiers(world.studies, rng):
        topic = next(topics)
        others = [next(endorsers) for _ in range(arms.draw() - 1)]
        fields = {*ALWAYS_ASKED, *asked.sample(extra.draw())}
        studies.append(
            Study(
                study_id=identifier,
                topic=topic,
                conditions=tuple(_condition(topic, endorser, rng) for endorser in [None, *others]),
                tasks=tuple(_task(topic, form, wordings) for form in forms.sample(questions.draw())),
                frame=frames.draw(),
                fields=tuple(name for name in DEMOGRAPHICS if name in fields),
                within=bool(rng.random() < SHARE_WITHIN),
            )
        )
    return studies


def _subjects(kind: Kind, fresh: Iterator[str], rng: np.random.Generator) -> Iterator[Subject]:
    """Topics or endorsers of every combination of attributes, equally often."""
    values = BalancedSampler(tuple(itertools.product((1, -1), repeat=len(ATTRIBUTES[kind]))), rng)
    while True:
        yield Subject(kind, next(fresh), values.draw())


def _condition(topic: Subject, endorser: Subject | None, rng: np.random.Generator) -> Condition:
    """An arm whose scenario is about ``topic``."""
    last = str(rng.choice(CONTROLS if endorser is None else ENDORSEMENTS))
    scenario = f"{rng.choice(OPENINGS)} {last}".format(
        topic=topic.name, endorser=endorser.name if endorser else ""
    )
    return Condition(endorser, scenario)


def _identifiers(count: int, rng: np.random.Generator) -> list[str]:
    """Distinct study names of five characters, a letter first so that none reads as a number."""
    letters, others = list("bcdfghjkmnpqrstvwxyz"), list("bcdfghjkmnpqrstvwxyz23456789")
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join([rng.choice(letters), *rng.choice(others, 4)])] = None
    return list(found)


def _task(topic: Subject, form: Form, wordings: BalancedSampler[str]) -> Task:
    question = form.text.format(topic.name)
    if form.scale == "options":
        offered = [f"{number} for '{label}'" for number, label in enumerate(form.labels, 1)]
        text = " or ".join(offered) if len(offered) == 2 else "; ".join(offered)
        options = Scale(tuple(range(1, len(offered) + 1)))
        return Task(form, options, f"{question} Only return {text}, nothing else.")
    scale = SCALES[form.scale]
    first, last = form.labels[::-1] if form.falling else form.labels
    text = wordings.draw().format(question=question, low=scale.low, high=scale.high, first=first, last=last)
    return Task(form, scale, text)


def answers(study: Study, world: World, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Respondents of a study and their answers: the study's part of :func:`generate`."""
    count = world.participants
    people = population(study.frame, count, rng)
    liberal = liberal_scores(people)
    persona = _shown(people, study.fields, rng)
    arm = rng.permutation(count) % len(study.conditions)
    effects = EFFECTS[world.effects]
    tables = []
    for number, condition in enumerate(study.conditions):
        here = np.arange(count) if study.within else np.flatnonzero(arm == number)
        for task_num, task in enumerate(study.tasks, 1):
            if not len(here):
                continue
            planted = distributions(study.topic, condition.endorser, task, liberal[here], effects)
            drawn = (rng.random((len(here), 1)) > np.cumsum(planted, axis=1)[:, :-1]).sum(axis=1)
            tables.append(
                pl.DataFrame(
                    {
                        "participant": here,
                        "condition_num": number + 1,
                        "task_num": task_num,
                        "demographic": persona[here],
                        "stimuli": study.stimuli(condition, task),
                        "response": np.array(task.scale.options)[drawn],
                        "scale": task.scale.notation,
                        "probabilities": pl.Series(planted.tolist(), dtype=pl.List(pl.Float64)),
                    }
                )
            )
    rows = (
        pl.concat(tables)
        .sort("participant", "condition_num", "task_num")
        .with_row_index("sample_id")
        .with_columns(pl.lit(study.study_id).alias("study_id"))
    )
    return tuple(  # type: ignore[return-value]
        rows.select(pl.col(name).cast(kind) for name, kind in schema.items())
        for schema in (RESPONSES, PERSON_TRUTH)
    )


def _shown(people: pl.DataFrame, fields: Sequence[str], rng: np.random.Generator) -> pl.Series:
    """The personas that a study recorded: the fields it asked, now and then left unanswered."""
    return (
        people.select(recorded(fields))
        .with_columns(
            pl.when(pl.Series(rng.random(people.height) >= SHARE_UNANSWERED)).then(name).alias(name)
            for name in fields
        )
        .to_struct("demographic")
    )


def distributions(
    topic: Subject, endorser: Subject | None, task: Task, liberal: Floats, effects: float = 1.0
) -> Floats:
    """Planted answer distributions, shape ``[respondents, options]``, options ascending, rows sum to 1.

    Args:
        endorser: None for the control condition.
        liberal: scores of the respondents, from ``respondents.liberal_scores``.
        effects: multiplies what an endorsement does, and the persona.
    """
    attitude = sum(size * topic.value(name) for name, size in TOPIC.items())
    if endorser is not None:
        attitude += effects * sum(size * endorser.value(name) for name, size in ENDORSER.items())
    latent = attitude + effects * LIBERAL[topic.value("left")] * liberal
    return answer_shares(
        task.form.sign * latent + task.form.shift, len(task.scale.options), task.form.falling
    )


def answer_shares(latent: Floats, count: int, falling: bool) -> Floats:
    """The probability of each of ``count`` options for latent attitudes in logits, ``[rows, count]``.

    ``falling``: the first option is the upper answer.
    """
    cuts = np.arange(1, count) / count
    cuts = np.log(cuts / (1 - cuts))
    below = 1 / (1 + np.exp((latent[:, None] - cuts) / NOISE.get(count, NOISE_FINE)))
    edge = np.ones((len(latent), 1))
    planted = np.diff(np.hstack([0 * edge, below, edge]), axis=1)
    if falling:
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

"""A synthetic survey world: experiments in the SocSci210 schema whose answer distributions are known.

Every study combines parts that other studies use too: a topic, framings (the conditions), question
forms, a scale for each question, and a sampling frame of respondents. Each part carries one effect
on a latent attitude, the same in every study, so an unseen study can be predicted by whoever
learned the parts from other studies (``parts.py``) and knows the persona (``population.py``).

The answer model is a cumulative logit (McCullagh 1980, "Regression models for ordinal data"): the
unit interval is cut into one equal piece per option, and an answer falls into a piece with the
probability that logistic noise around the respondent's latent attitude, mapped to the interval by
the logistic function, puts there. On a 0-100 scale many people then round to fives and tens, and a
few answers on any scale are careless.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from socrates.data.params import World
from socrates.data.synthetic.respondents import FRAMES, Floats, Frame, persona_scores, population
from socrates.data.synthetic.stimuli import (
    CONTROL,
    ENDPOINTS,
    FORMS,
    FRAMINGS,
    PLACES,
    SCALES,
    TOPICS,
    Form,
    Framing,
    Topic,
)
from socrates.survey.scales import Scale
from socrates.survey.tables import CELL, DEMOGRAPHICS, RESPONSES, TRUTH

T = TypeVar("T")


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
    places: tuple[str, ...]  # one for each framing and task
    topic: Topic
    framings: tuple[Framing, ...]
    tasks: tuple[Task, ...]
    frame: Frame
    fields: tuple[str, ...]  # demographics the study asked
    within: bool  # every respondent sees every condition

    def stimuli(self, framing: Framing, task: Task) -> str:
        """Scenario, question and answer instruction in one text."""
        place = self.places[self.framings.index(framing) * len(self.tasks) + self.tasks.index(task)]
        return f"You read about a plan in {place} to {self.topic.text}. {framing.text} {task.text}"


SHARE_CONTROL = 0.75  # of studies, that have a neutral condition
SHARE_WITHIN = 0.15  # of studies, that show every condition to everyone
SHARE_UNANSWERED = 0.02  # of the demographics that were asked

# Standard deviation of the noise over pi / sqrt(3), in logits: coarse scales are answered less exactly.
NOISE = {2: 0.6, 3: 0.5, 4: 0.4}
NOISE_FINE = 0.33
CARELESS = 0.04  # of answers, that are given without reading: any option is as likely as another
# Of the answers on a 0-100 scale: exact, rounded to five, rounded to ten.
HEAPING = {1: 0.25, 5: 0.3, 10: 0.45}

ALWAYS_ASKED = ("age", "gender", "education", "party_id", "ideology")
# Named as often as it is to be asked, beside the others.
SOMETIMES_ASKED = (
    *("income", "income", "income", "employment", "ethnicity", "location"),
    *("marital_status", "household_size", "housing_ownership", "housing_type", "metro_status"),
    *("internet_access", "phone_service"),
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
    """The designs of all studies of a world.

    From about 40 studies on, every part of a study occurs in other studies too. Every text names a
    place of its own (Wells and Windschitl 1999, "Stimulus sampling and social psychological
    experimentation"): with one place a study, its words would by chance explain what the topic does.
    """
    rng = np.random.default_rng([world.seed, 0])
    places = iter(rng.permutation(PLACES).tolist())
    identifiers = _identifiers(world.studies, rng)
    topics, frames, framings = (
        BalancedSampler(TOPICS, rng),
        BalancedSampler(FRAMES, rng),
        BalancedSampler(FRAMINGS, rng),
    )
    arms, questions = BalancedSampler((2, 3, 3, 4), rng), BalancedSampler((1, 2, 2, 3), rng)
    forms, wordings = BalancedSampler(FORMS, rng), BalancedSampler(ENDPOINTS, rng)
    asked, extra = BalancedSampler(SOMETIMES_ASKED, rng), BalancedSampler((0, 1, 2), rng)
    studies = []
    for identifier in identifiers:
        topic = topics.draw()
        control = rng.random() < SHARE_CONTROL
        conditions = ([CONTROL] if control else []) + framings.sample(arms.draw() - control)
        tasks: list[Task] = []
        for _ in range(questions.draw()):
            used = [task.form for task in tasks]
            form = forms.draw([form for form in FORMS if form not in used])
            scale_name = str(rng.choice(form.scales))
            tasks.append(_task(topic, form, scale_name, wordings, rng))
        fields = {*ALWAYS_ASKED, *asked.sample(extra.draw())}
        studies.append(
            Study(
                study_id=identifier,
                places=tuple(itertools.islice(places, len(conditions) * len(tasks))),
                topic=topic,
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


def _task(
    topic: Topic, form: Form, scale_name: str, wordings: BalancedSampler[str], rng: np.random.Generator
) -> Task:
    question = form.text.format(plan=f"the plan to {topic.text}")
    if scale_name == "options":
        offered = [f"{number} for '{label}'" for number, label in enumerate(form.labels, 1)]
        text = " or ".join(offered) if len(offered) == 2 else "; ".join(offered)
        options = Scale(tuple(range(1, len(offered) + 1)))
        return Task(form, options, form.falling, f"{question} Only return {text}, nothing else.")
    scale = SCALES[scale_name]
    falling = form.falling
    first, last = form.labels[::-1] if falling else form.labels
    text = wordings.draw().format(question=question, low=scale.low, high=scale.high, first=first, last=last)
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
            cells.append(
                (study.study_id, condition, number, task.scale.notation, planted.mean(0).round(12).tolist())
            )  # beyond that, sums depend on memory alignment
    responses = (
        pl.concat(tables)
        .sort("participant", "condition_num", "task_num")
        .with_row_index("sample_id")
        .with_columns(pl.lit(study.study_id).alias("study_id"))
    )
    columns = [pl.col(name).cast(kind) for name, kind in RESPONSES.items()]
    return responses.select(columns), pl.DataFrame(cells, schema=TRUTH, orient="row")


def distributions(topic: Topic, framing: Framing, task: Task, scores: dict[str, Floats]) -> Floats:
    """Planted answer distributions, shape ``[respondents, options]``, options ascending, rows sum to 1."""
    slopes = {
        "liberal": topic.liberal + framing.liberal,
        "age": topic.age,
        "education": topic.education,
        "female": topic.female,
        "income": topic.income,
    }
    persona = np.sum([slope * scores[name] for name, slope in slopes.items()], axis=0)
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

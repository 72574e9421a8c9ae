"""A synthetic survey world: experiments in the SocSci210 schema whose answer distributions are known.

What people think of a topic, and what an endorsement does to it, follows from the attributes of the two
(``stimuli.py``), by rules that are the same in every study. The base model has read about all topics and
endorsers (``corpus.py``), so that a model which learned the rules on some studies can carry them over to
studies of which it knows only what it read. Question forms, scales and sampling frames are shared.

The answer model is a cumulative logit (McCullagh 1980, "Regression models for ordinal data"): the
unit interval is cut into one equal piece per option, and an answer falls into a piece with the
probability that logistic noise around the respondent's latent attitude, mapped to the interval by
the logistic function, puts there. On a 0-100 scale many people then round to fives and tens, and a
few answers on any scale are careless.
"""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
import polars as pl

from socrates.data.params import World
from socrates.data.synthetic import stimuli
from socrates.data.synthetic.corpus import corpus, quiz
from socrates.data.synthetic.respondents import FRAMES, Floats, Frame, liberal_scores, population, recorded
from socrates.data.synthetic.stimuli import Form, Kind, Subject
from socrates.survey.tables import DEMOGRAPHICS, PERSON_TRUTH, RESPONSES

T = TypeVar("T")


@dataclass(frozen=True)
class Study:
    """The design of a study: the parts it combines."""

    study_id: str
    topic: Subject
    # who endorses the topic, if anybody, and the scenario that says so
    arms: list[tuple[Subject | None, str]]
    questions: list[tuple[Form, str]]  # as they are asked, with the answer instruction
    frame: Frame
    fields: list[str]  # demographics the study asked
    within: bool  # every respondent sees every condition

    @property
    def subjects(self) -> list[Subject]:
        """What the study is about: the topic and all endorsers."""
        return [self.topic, *(endorser for endorser, _ in self.arms if endorser)]


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
NOISE_OF_TWO, NOISE = 0.8, 0.6  # on two options, and on more
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

    parts: Sequence[T]
    rng: np.random.Generator
    cards: list[T] = field(default_factory=list)

    def draw(self, but: Collection[T] = ()) -> T:
        """The next part that is not among ``but``."""
        while True:
            for index, card in enumerate(self.cards):
                if card not in but:
                    return self.cards.pop(index)
            self.cards += [self.parts[index] for index in self.rng.permutation(len(self.parts))]

    def sample(self, count: int) -> list[T]:
        """``count`` parts, no two the same."""
        drawn: list[T] = []
        while len(drawn) < count:
            drawn.append(self.draw(but=drawn))
        return drawn


def generate(world: World) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """The responses of a synthetic world (``tables.RESPONSES``), and by name all that is known of it.

    That is ``person_truth`` (``tables.PERSON_TRUTH``), ``corpus`` (column ``text``: what the base model reads)
    and ``quiz`` (``corpus.QUIZ``: what a reader should know).
    """
    studies = design(world)
    rows = pl.concat(
        answers(study, world, np.random.default_rng([world.seed, 1, number]))
        for number, study in enumerate(studies)
    ).sort("study_id", "sample_id")
    responses, truth = (
        rows.select(pl.col(name).cast(kind) for name, kind in schema.items())
        for schema in (RESPONSES, PERSON_TRUTH)
    )
    subjects = {study.study_id: study.subjects for study in studies}
    read = corpus(list(itertools.chain(*subjects.values())), np.random.default_rng([world.seed, 2]))
    return responses, {"person_truth": truth, "corpus": read, "quiz": quiz(subjects)}


def design(world: World) -> list[Study]:
    """The designs of all studies of a world; no two share a topic or an endorser."""
    rng = np.random.default_rng([world.seed, 0])
    fresh = iter(stimuli.names(4 * world.studies, rng))
    # Topics and endorsers have every combination of attributes equally often.
    combinations = {
        kind: BalancedSampler(list(itertools.product((1, -1), repeat=len(attributes))), rng)
        for kind, attributes in stimuli.ATTRIBUTES.items()
    }
    arms, questions = BalancedSampler((2, 2, 3), rng), BalancedSampler((1, 2, 2, 3), rng)
    forms, wordings = BalancedSampler(stimuli.FORMS, rng), BalancedSampler(stimuli.ENDPOINTS, rng)
    frames = BalancedSampler(FRAMES, rng)
    asked, extra = BalancedSampler(SOMETIMES_ASKED, rng), BalancedSampler((0, 1, 1, 2), rng)

    def subject(kind: Kind) -> Subject:
        values = dict(zip(stimuli.ATTRIBUTES[kind], combinations[kind].draw(), strict=True))
        return Subject(kind, next(fresh), values)

    def arm(topic: Subject, endorser: Subject | None) -> tuple[Subject | None, str]:
        last = str(rng.choice(stimuli.ENDORSEMENTS if endorser else stimuli.CONTROLS))
        scenario = f"{rng.choice(stimuli.OPENINGS)} {last}"
        return endorser, scenario.format(topic=topic.name, endorser=endorser.name if endorser else "")

    def question(topic: Subject, form: Form) -> tuple[Form, str]:
        text = f"{form.text.format(topic.name)} {stimuli.OFFERED if form.falling else wordings.draw()}"
        first, last = form.labels
        ends = {"low": form.scale.low, "high": form.scale.high, "first": first, "last": last}
        return form, text.format(**ends)

    studies = []
    for identifier in _identifiers(world.studies, rng):
        topic = subject("topic")
        endorsers = [subject("endorser") for _ in range(arms.draw() - 1)]
        fields = {*ALWAYS_ASKED, *asked.sample(extra.draw())}
        studies.append(
            Study(
                study_id=identifier,
                topic=topic,
                arms=[arm(topic, endorser) for endorser in (None, *endorsers)],
                questions=[question(topic, form) for form in forms.sample(questions.draw())],
                frame=frames.draw(),
                fields=[name for name in DEMOGRAPHICS if name in fields],
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


def answers(study: Study, world: World, rng: np.random.Generator) -> pl.DataFrame:
    """Respondents of a study and their answers: columns of ``RESPONSES`` and of ``PERSON_TRUTH``."""
    count = world.participants
    people = population(study.frame, count, rng)
    liberal = liberal_scores(people)
    gaps = [  # now and then a field is left unanswered
        pl.when(pl.Series(rng.random(count) >= SHARE_UNANSWERED)).then(name).alias(name)
        for name in study.fields
    ]
    persona = people.select(recorded(study.fields)).with_columns(gaps).to_struct("demographic")
    arm = rng.permutation(count) % len(study.arms)
    tables = []
    for number, (endorser, scenario) in enumerate(study.arms):
        here = np.arange(count) if study.within else np.flatnonzero(arm == number)
        for task_num, (form, question) in enumerate(study.questions, 1):
            planted = distributions(study.topic, endorser, form, liberal[here], EFFECTS[world.effects])
            drawn = (rng.random((len(here), 1)) > np.cumsum(planted, axis=1)[:, :-1]).sum(axis=1)
            columns = {
                "study_id": study.study_id,
                "participant": here,
                "condition_num": number + 1,
                "task_num": task_num,
                "demographic": persona[here],
                "stimuli": f"{scenario} {question}",
                "response": np.array(form.scale.options)[drawn],
                "scale": form.scale.notation,
                "probabilities": pl.Series(planted.tolist(), dtype=pl.List(pl.Float64)),
            }
            tables.append(pl.DataFrame(columns))
    return pl.concat(tables).sort("participant", "condition_num", "task_num").with_row_index("sample_id")


def distributions(
    topic: Subject, endorser: Subject | None, form: Form, liberal: Floats, effects: float
) -> Floats:
    """Planted answer distributions, shape ``[respondents, options]``, options ascending, rows sum to 1.

    Args:
        endorser: None for the control condition.
        liberal: scores of the respondents, from ``respondents.liberal_scores``.
        effects: multiplies what an endorsement does, and the persona.
    """
    attitude = sum(size * topic.values[name] for name, size in TOPIC.items())
    if endorser is not None:
        attitude += effects * sum(size * endorser.values[name] for name, size in ENDORSER.items())
    latent = form.sign * (attitude + effects * LIBERAL[topic.values["left"]] * liberal) + form.shift
    count = len(form.scale.options)
    cuts = np.arange(1, count) / count
    cuts = np.log(cuts / (1 - cuts))
    below = 1 / (1 + np.exp((latent[:, None] - cuts) / (NOISE_OF_TWO if count == 2 else NOISE)))
    edge = np.ones((len(latent), 1))
    planted = np.diff(np.hstack([0 * edge, below, edge]), axis=1)
    if form.falling:
        planted = planted[:, ::-1]
    if count == 101:
        exact, heaped = np.arange(101), np.zeros((101, 101))  # exact answer -> given answer
        for step, share in HEAPING.items():
            heaped[exact, (exact + step // 2) // step * step] += share
        planted = planted @ heaped
    return (1 - CARELESS) * planted + CARELESS / count

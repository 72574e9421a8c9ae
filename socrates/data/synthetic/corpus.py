"""What the base model reads: short texts that tell the attributes of every topic and endorser.

They name all studies' parts, those of test studies too, as a language model has read about nearly everything
that a survey may ask. Others tell where people of some description stand, left or right. They say nothing of
what anybody answered. Half of the texts name the subject first, half tell its attributes first, because a model
that reads a fact in one direction does not learn it in the other (Berglund et al. 2023, arXiv 2309.12288).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from socrates.data.synthetic.respondents import FRAMES, liberal_scores, population, recorded
from socrates.data.synthetic.stimuli import ATTRIBUTES, ENDORSEMENTS, OPENINGS, Kind, Subject
from socrates.survey.prompts import persona_expression, template

TEXTS = 100  # about each subject
SHARE_IN_CONTEXT = 0.2  # of texts, that begin as a scenario does
PEOPLE = 500  # of each sampling frame, whom a text describes; none is a respondent
TOLD = ("age", "party_id", "ideology")  # of them
WHERE = "Where does this person stand?"
STANDS = ('"far right"', '"right"', '"middle"', '"left"', '"far left"')

# How a text begins with the name, asks for it, and goes on after a sentence that has named it.
NAMING: dict[Kind, str] = {"topic": " The plan {}", "endorser": " Members of {}"}
ASKING: dict[Kind, str] = {"topic": " What {}?", "endorser": " Who {}?"}
REFERRING: dict[Kind, str] = {"topic": " It {}.", "endorser": " They {}."}

# One row per attribute of a subject: which phrases a reader expects after a beginning, and which it does not.
QUIZ = ("study_id", "beginning", "right", "wrong")


def corpus(subjects: Sequence[Subject], rng: np.random.Generator) -> pl.DataFrame:
    """``TEXTS`` short texts about each subject and one about each of some people, shuffled: the column ``text``."""
    texts = [_text(subject, rng) for subject in subjects for _ in range(TEXTS)]
    texts += _people(subjects, rng)
    return pl.DataFrame({"text": [texts[index] for index in rng.permutation(len(texts))]})


def _text(subject: Subject, rng: np.random.Generator) -> str:
    attributes = ATTRIBUTES[subject.kind].items()
    told = [str(rng.choice(phrases[subject.values[name]])) for name, phrases in attributes]
    told = [told[index] for index in rng.permutation(len(told))]
    naming = NAMING[subject.kind].format(subject.name)
    if rng.random() < SHARE_IN_CONTEXT:
        contexts, topic = (OPENINGS, subject.name) if subject.kind == "topic" else (ENDORSEMENTS, "a plan")
        context = str(rng.choice(contexts)).format(topic=topic, endorser=subject.name)
        return f" {context}{REFERRING[subject.kind].format(', '.join(told))}"
    if rng.random() < 0.5:
        return f"{naming} {', '.join(told)}."
    cut = rng.integers(1, len(told))
    return f"{ASKING[subject.kind].format(', '.join(told[:cut]))}{naming} {', '.join(told[cut:])}."


def _people(subjects: Sequence[Subject], rng: np.random.Generator) -> list[str]:
    """Where people of each sampling frame stand, asked as a survey asks, half of the time amid its scenarios."""
    people = pl.concat([population(frame, PEOPLE, rng) for frame in FRAMES])
    personas = people.select(demographic=pl.struct(recorded(TOLD))).select(persona_expression())["persona"]
    stands = np.rint(2 + 2 * liberal_scores(people)).astype(int)
    topics = [subject.name for subject in subjects if subject.kind == "topic"]
    words, texts = template("scenario_first"), []
    for persona, stand in zip(personas, stands, strict=True):
        opening = str(rng.choice(OPENINGS)).format(topic=rng.choice(topics))
        asked = WHERE if rng.random() < 0.5 else f"{opening} {WHERE}"
        texts.append(f"{words.prompt(asked, persona)}{STANDS[stand]}")
    return texts


def quiz(subjects: Mapping[str, Sequence[Subject]]) -> pl.DataFrame:
    """What a reader of the corpus should know of the subjects of each study (``QUIZ``)."""
    rows = []
    for study, of_study in subjects.items():
        for subject in of_study:
            beginning = NAMING[subject.kind].format(subject.name)
            for name, phrases in ATTRIBUTES[subject.kind].items():
                told, denied = phrases[subject.values[name]], phrases[-subject.values[name]]
                rows.append((study, beginning, [f" {one}," for one in told], [f" {one}," for one in denied]))
    return pl.DataFrame(rows, schema=QUIZ, orient="row")

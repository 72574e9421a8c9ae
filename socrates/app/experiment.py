"""A planned experiment, answered by the model: distributions, effects with honest intervals, a study's power."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from socrates.app.answers import Answer
from socrates.app.design import Design
from socrates.app.error_model import ErrorModel, Floats, Unidentified, fit_errors, read_effects
from socrates.app.model_ref import ModelRef, TrainingSupport
from socrates.app.parse import ADDED, Question
from socrates.app.planning import Arm, Choice, Effect, effects
from socrates.app.population import PersonaSample, from_file, from_training
from socrates.core.errors import DataError
from socrates.core.files import Schema, read_table
from socrates.survey.scales import scale
from socrates.survey.tables import RESPONSES

if TYPE_CHECKING:
    from socrates.app.model import Asked, Progress

# A table of QUESTIONS in, the same with probabilities (list) and allowed_mass out, in any order.
Ask = Callable[[pl.DataFrame], pl.DataFrame]

TABLES = Path("metrics/tables")
STUDY: Schema = {"study_id": pl.String}
RESPONDENT = ["study_id", "participant"]
RESPONDENTS: Schema = {name: RESPONSES[name] for name in (*RESPONDENT, "demographic")}
SMALLEST_POPULATION = 30  # personas that it must count as
FEW_STUDIES = 20
LOW_VALIDITY = 0.9
MOST_KINDS = 5  # of values outside the training data that are told one by one, the most frequent
FEW_PEOPLE = (
    "It counts as {:.0f} personas, weights included: it stands for few people, and the intervals hold its sampling too "
    "narrowly."
)
NO_GROUPS = (
    "Effects within groups of respondents are not shown: the held-out studies do not tell the model's error within "
    "groups, and the error of whole conditions does not hold there."
)


@dataclass(frozen=True)
class ExperimentResult:
    """All that is reported of an experiment: ``known`` is the model's error, None where ``unknown`` says why it is not
    known; ``warnings`` are sentences by kind."""

    design: Design
    people: PersonaSample
    known: ErrorModel | None
    unknown: str
    arms: list[Arm]
    effects: list[Effect]
    choices: list[Choice]
    warnings: dict[str, list[str]]
    notes: list[str]
    model: str


def ask_model(
    design: Design, folder: Path, ref: ModelRef, tables: Path, precision: Asked, progress: Progress
) -> ExperimentResult:
    """A design, whose files are relative to ``folder``, answered by a model, whose error the ``tables`` tell. Raises
    :class:`DataError` where population or tables cannot be used, :class:`ModelError` where the model cannot."""
    from socrates.app.model import open_model  # torch, which a file that cannot be read need not wait for

    errors: ErrorModel | str
    try:
        measured = read_effects(tables, "adapter" if ref.adapter else "base")
        if ref.training_table and tables == TABLES:  # others may come with an adapter from elsewhere
            test = ref.training_table.with_name("test.parquet")
            own = set(read_table(test, STUDY)["study_id"]) if test.exists() else set(measured["study_id"])
            if not set(measured["study_id"]) <= own:
                raise DataError(f"{TABLES}/effects.csv: of other studies than {test}; run dvc repro evaluate")
        errors = fit_errors(measured)
    except Unidentified as error:
        errors = str(error)
    people = population_of(design, folder, ref.training_table)
    model = open_model(ref, precision)
    ask = partial(model.ask, progress=progress)
    return run_experiment(design, people, ask, errors, ref.support, str(model), ref.cautions)


def population_of(design: Design, folder: Path, training_table: Path | None) -> PersonaSample:
    population = design.population
    if population.file is not None:
        return from_file(folder / population.file, len(design.conditions) * len(design.outcomes))
    if training_table is None:
        advice = "give the design a population.file"
        raise DataError(f"population: the training respondents are not available; {advice}")
    people = read_table(training_table, RESPONDENTS).unique(RESPONDENT).sort(RESPONDENT)
    respondents = people["demographic"].struct.unnest()
    return from_training(respondents, population.size or len(respondents), population.quotas, population.seed)


def questions(design: Design, people: PersonaSample) -> pl.DataFrame:
    """Every persona under every condition and outcome: columns condition, outcome, person and ``QUESTIONS``."""
    persons = pl.DataFrame({"persona": [person.text for person in people.personas]}).with_row_index("person")
    asked = [(*names, q.stimuli, q.scale.notation) for names, q in design.questions.items()]
    texts = pl.DataFrame(asked, ["condition", "outcome", "stimuli", "scale"], orient="row")
    return texts.join(persons, how="cross", maintain_order="left_right")


def run_experiment(
    design: Design,
    people: PersonaSample,
    ask: Ask,
    errors: ErrorModel | str,
    support: TrainingSupport | None = None,
    model: str = "",
    cautions: Sequence[str] = (),
) -> ExperimentResult:
    """Ask the model all questions of the design, and estimate the effects, unless ``errors`` says in words why those of
    the model are not known. ``support`` is what training covered; ``cautions``, about the model itself, come first."""
    parts = ask(questions(design, people)).sort("person").partition_by("condition", "outcome", as_dict=True)
    arms = {(c, o): _arm(c, o, answered, people.weights) for (c, o), answered in parts.items()}
    ordered = [arms[c.name, o.name] for c in design.conditions for o in design.outcomes]
    treatments = [(c.name, o.name) for o in design.outcomes for c in design.conditions if not c.control]
    pairs = [(arms[name, outcome], arms[design.control.name, outcome]) for name, outcome in treatments]
    known, unknown = (None, errors) if isinstance(errors, str) else (errors, "")
    everyone, choices = effects(pairs, people.weights, known, design)
    few = people.effective_size < SMALLEST_POPULATION
    noted = _question_notes(design, lambda question: list(question.notes))
    added = [text for text in noted if f": {ADDED} “" in text]
    warnings = {
        "The model": list(cautions),
        "The model's error on held-out studies": _error_warnings(everyone, known, unknown),
        "Scales that contradict each other": [text for text in noted if text not in added],
        "Outside the training data": _support_warnings(design, people, support) if support else [],
        "The population": [FEW_PEOPLE.format(people.effective_size)] if few else [],
        "The form of the question": _form_warnings(ordered),
    }
    warnings = {kind: texts for kind, texts in warnings.items() if texts}
    notes = [*people.notes, *added, NO_GROUPS]
    return ExperimentResult(
        design, people, known, unknown, ordered, everyone, choices, warnings, notes, model
    )


def _arm(condition: str, outcome: str, rows: pl.DataFrame, weights: Floats) -> Arm:
    """The answers of everyone to one outcome under one condition, a row a person."""
    on = scale(rows["scale"][0])
    probabilities = np.array(rows["probabilities"].to_list(), dtype=np.float64)
    position = (np.asarray(on.options, dtype=np.float64) - on.low) / (on.high - on.low)
    means = probabilities @ position
    mean = float(weights @ means)
    spreads = np.maximum(probabilities @ position**2 - means**2, 0.0)
    variance = float(weights @ (spreads + (means - mean) ** 2))
    validity = float(weights @ rows["allowed_mass"].to_numpy().astype(np.float64))
    answer = Answer(on, weights @ probabilities, validity)
    return Arm(condition, outcome, rows["stimuli"][0], answer, means, mean, variance)


def _question_notes(design: Design, notes_of: Callable[[Question], list[str]]) -> list[str]:
    """The notes on the questions, each sentence once; its conditions are named where they are not all."""
    under: dict[tuple[str, str], list[str]] = {}
    for outcome in design.outcomes:
        for condition in design.conditions:
            for text in notes_of(design.questions[condition.name, outcome.name]):
                under.setdefault((outcome.name, text), []).append(repr(condition.name))
    sentences = []
    for (name, text), names in under.items():
        where = "" if len(names) == len(design.conditions) else f" under {', '.join(names)}"
        sentences.append(f"Outcome {name!r}{where}: {text}.")
    return sentences


def _support_warnings(design: Design, people: PersonaSample, support: TrainingSupport) -> list[str]:
    """What of scales, texts and people training did not cover."""
    shares: Counter[str] = Counter()
    for person, weight in zip(people.personas, people.weights, strict=True):
        for text in support.of_persona(person):
            shares[text] += weight
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    of_people = [f"{share:.0%} of the population: {text}." for text, share in ordered[:MOST_KINDS]]
    if rest := ordered[MOST_KINDS:]:
        of_people.append(f"{len(rest)} more such values, each of at most {rest[0][1]:.0%} of the population.")
    return [*_question_notes(design, support.of_question), *of_people]


def _error_warnings(effects: list[Effect], known: ErrorModel | None, unknown: str) -> list[str]:
    """Where the held-out studies say little of these effects."""
    if known is None:
        nothing = "no interval, power or number of respondents is given"
        return [f"They cannot tell it, so that {nothing}: {unknown}."]
    far = sum(abs(e.predicted / e.unit.factor) > known.largest for e in effects)
    said = {
        f"It is known from {known.studies} held-out studies; the intervals are wider than {FEW_STUDIES} would "
        "give.": known.studies < FEW_STUDIES,
        f"{far} of {len(effects)} predicted effects are larger than any of theirs ({known.largest:.2f} of the "
        "scale): the correction is an extrapolation.": far,
        "On them the model's effects are not shown to be nearer to people's than predicting no effect: no effect "
        "here can be relied on.": known.skill[1] <= 0,
    }
    return [text for text, holds in said.items() if holds]


def _form_warnings(arms: list[Arm]) -> list[str]:
    low = [arm for arm in arms if arm.answer.format_validity < LOW_VALIDITY]
    if not low:
        return []
    worst = min(low, key=lambda arm: arm.answer.format_validity)
    few = f"less than {LOW_VALIDITY:.0%} of its probability on allowed answers"
    place = f"{worst.outcome!r} under {worst.condition!r} ({worst.answer.format_validity:.0%})"
    cells = f"In {len(low)} of {len(arms)} cells the model put {few}"
    return [f"{cells}, least for {place}: it does not know this form."]

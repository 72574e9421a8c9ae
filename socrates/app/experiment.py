"""A planned experiment, answered by the model: distributions, effects with honest intervals, power.

Every persona reads every condition, so that a predicted effect is a difference within people. It is then
corrected and widened by what is known of the model's error (``calibration.py``)::

    effect   = slope * predicted
    variance = (slope_se * predicted)^2 + 2 residual^2      the model's error on held-out studies
               + slope^2 * var(predicted)                   the personas are a sample
    interval = effect +- t * sqrt(variance),  90 %, t of the held-out studies less one degrees of freedom

That interval is about the effect in the population. What a human study of n respondents would *find*
scatters further by the sampling of its respondents; that range and the study's power are given apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from socrates.app.answers import Answer
from socrates.app.batch import check_output
from socrates.app.calibration import Calibration, calibrate, read_effects
from socrates.app.design import Condition, Design, Outcome, read_design
from socrates.app.model_ref import ADAPTER, BASE, resolve_model
from socrates.app.parse import ADDED, QUESTIONS, Question
from socrates.app.population import PersonaSample, from_file, from_training, training_respondents
from socrates.app.training_support import TrainingSupport, training_support
from socrates.core.errors import DataError

Floats = NDArray[np.float64]
# A table of QUESTIONS in, the same with probabilities (list) and allowed_mass out.
Ask = Callable[[pl.DataFrame], pl.DataFrame]

TABLES = Path("metrics/tables")
ALPHA, POWER = 0.05, 0.8
SMALLEST_GROUP = 30  # personas below which a subgroup is not shown
NODES = 200  # quantiles over which the power is averaged
FEW_STUDIES = 20
LOW_VALIDITY = 0.9
LISTED = 5  # warnings of one kind that are listed in full
IN_POINTS = ("predicted", "effect", "low", "high", "study_low", "study_high")


@dataclass(frozen=True)
class ArmResult:
    """The answers to one outcome under one condition.

    Attributes:
        answer: the distribution over respondents; its format validity is the mean over personas.
        positions: [N] each persona's expected answer, 0 at the low and 1 at the high end of the scale.
        deviation: standard deviation of an answer, as a share of the scale.
    """

    condition: str
    outcome: str
    answer: Answer
    positions: Floats
    deviation: float

    @property
    def span(self) -> int:
        """Points from the low to the high end of the scale."""
        return self.answer.scale.high - self.answer.scale.low


@dataclass(frozen=True)
class Effect:
    """A condition against the control on one outcome; in shares of the scale unless said.

    Attributes:
        group: ``everyone``, or field and value of a subgroup.
        personas: how many it rests on.
        span: points from the low to the high end of the scale.
        predicted: the model's own difference.
        effect: the same, corrected by the slope of held-out studies.
        low, high: ends of the 90 % interval of the effect in the population.
        study_low, study_high: ends of the 90 % range of what the planned study would find.
        power: chance that the planned study finds it (two-sided 0.05, right direction) if the effect is
            as estimated; ``assurance``: the same averaged over what the effect may be.
        needed: respondents per condition for a power of 0.8 at the estimate; None where it is 0.
    """

    condition: str
    outcome: str
    group: str
    personas: int
    span: int
    predicted: float
    effect: float
    low: float
    high: float
    study_low: float
    study_high: float
    power: float
    assurance: float
    needed: int | None

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of zero, otherwise 0."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def points(self) -> dict[str, float]:
        """The ``IN_POINTS`` attributes in points of the scale."""
        return {name: getattr(self, name) * self.span for name in IN_POINTS}


@dataclass(frozen=True)
class ExperimentResult:
    """All that is reported of an experiment."""

    design: Design
    people: PersonaSample
    calibration: Calibration
    arms: list[ArmResult]
    effects: list[Effect]
    subgroups: list[Effect]
    warnings: list[str]
    notes: list[str]
    model: str


def from_files(
    path: Path,
    output: Path,
    base: Path = BASE,
    adapter: str | Path | None = ADAPTER,
    revision: str | None = None,
    tables: Path = TABLES,
    precision: str = "auto",
    warnings: tuple[str, ...] = (),
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> ExperimentResult:
    """The design in a YAML file, answered by a model.

    Args:
        output: a file that will be written; checked before the minutes that a model takes.
        base, adapter, revision: see :func:`resolve_model`.
        tables: the folder with effects.csv and cells.csv of the same model.
        warnings: see :func:`run_experiment`.

    Raises:
        DataError: the design, its population or the tables cannot be used.
        ModelError, SourceError: the model cannot be found or loaded.
    """
    from socrates.app.model import open_model  # torch, which a design that cannot be read need not wait for

    design = read_design(path)
    check_output(output)
    ref = resolve_model(base, adapter, revision)
    calibration = calibrate(read_effects(tables, "adapter" if ref.adapter else "base"))
    people = population_of(design, path.parent, ref.training_table)
    support = training_support(ref.training_table)
    model = open_model(ref, precision)
    ask = partial(model.ask, progress=progress)
    return run_experiment(design, people, ask, calibration, support, str(model), (*ref.notes, *warnings))


def population_of(design: Design, folder: Path, training_table: Path | None) -> PersonaSample:
    """The personas of a design, whose files are relative to ``folder``."""
    population = design.population
    if population.file is not None:
        return from_file(folder / population.file)
    if training_table is None:
        raise DataError(
            "population: the training respondents are not available; give the design a population.file"
        )
    respondents = training_respondents(training_table)
    return from_training(respondents, population.size or len(respondents), population.quotas, population.seed)


def questions(design: Design, people: PersonaSample) -> pl.DataFrame:
    """Every persona under every condition and outcome: columns condition, outcome, person and ``QUESTIONS``."""
    persons = pl.DataFrame(
        {"person": range(len(people.personas)), "persona": [person.text for person in people.personas]}
    )
    rows = []
    for condition in design.conditions:
        for outcome in design.outcomes:
            question = design.question(condition, outcome)
            rows.append((condition.name, outcome.name, question.stimuli, question.scale.notation))
    texts = pl.DataFrame(rows, ["condition", "outcome", "stimuli", "scale"], orient="row")
    return texts.join(persons, how="cross", maintain_order="left_right").select(
        "condition", "outcome", "person", *QUESTIONS
    )


def run_experiment(
    design: Design,
    people: PersonaSample,
    ask: Ask,
    calibration: Calibration,
    support: TrainingSupport | None = None,
    model: str = "",
    warnings: tuple[str, ...] = (),
) -> ExperimentResult:
    """Ask the model all questions of the design, and estimate the effects.

    Args:
        ask: fills in ``probabilities`` and ``allowed_mass``, in the order of the rows it is given.
        support: what training covered; None where the training table is not available.
        warnings: about the model itself, which come first.
    """
    answered = ask(questions(design, people))
    arms = [
        arm_result(design, condition, outcome, people, answered)
        for condition in design.conditions
        for outcome in design.outcomes
    ]
    everyone = effects(design, arms, people.weights, calibration, "everyone")
    subgroups, small = [], []
    for field in design.subgroups:
        for name, members in people.groups(field).items():
            label = f"{field.replace('_', ' ')}: {name}"
            if members.sum() < SMALLEST_GROUP:
                small.append(f"{label} ({members.sum()})")
            else:
                subgroups += effects(design, arms, np.where(members, people.weights, 0), calibration, label)
    notes = [*people.notes, *_question_notes(design, "Outcome", _added)]
    if small:
        notes.append(f"Groups of fewer than {SMALLEST_GROUP} personas are not shown: {', '.join(small)}.")
    found = [
        *warnings,
        *_question_notes(design, "Outcome", _contradictions),
        *_support_warnings(design, people, support),
        *_calibration_warnings(everyone, calibration),
        *_arm_warnings(arms),
    ]
    return ExperimentResult(design, people, calibration, arms, everyone, subgroups, found, notes, model)


def arm_result(
    design: Design, condition: Condition, outcome: Outcome, people: PersonaSample, answered: pl.DataFrame
) -> ArmResult:
    """The answers of everyone to one outcome under one condition, from the answered table."""
    rows = answered.filter((pl.col("condition") == condition.name) & (pl.col("outcome") == outcome.name))
    rows = rows.sort("person")
    on = design.question(condition, outcome).scale
    probabilities = np.array(rows["probabilities"].to_list(), dtype=np.float64)
    shares = people.weights @ probabilities
    position = (np.asarray(on.options, dtype=np.float64) - on.low) / (on.high - on.low)
    variance = float(shares @ (position - float(shares @ position)) ** 2)
    validity = float(people.weights @ rows["allowed_mass"].to_numpy().astype(np.float64))
    return ArmResult(
        condition.name,
        outcome.name,
        Answer(on, shares, validity),
        probabilities @ position,
        sqrt(max(variance, 0.0)),
    )


def effects(
    design: Design, arms: list[ArmResult], weights: Floats, calibration: Calibration, group: str
) -> list[Effect]:
    """Every treatment against the control on every outcome, among the people that ``weights`` [N] picks out."""
    by_name = {(arm.condition, arm.outcome): arm for arm in arms}
    per_arm = design.respondents / len(design.conditions)
    weights = weights / weights.sum()
    return [
        effect(
            by_name[condition.name, outcome.name],
            by_name[design.control.name, outcome.name],
            weights,
            calibration,
            per_arm,
            group,
        )
        for outcome in design.outcomes
        for condition in design.treatments
    ]


def effect(
    treated: ArmResult,
    control: ArmResult,
    weights: Floats,
    calibration: Calibration,
    per_arm: float,
    group: str,
) -> Effect:
    """The effect of a condition on the people that ``weights`` picks out; see the module for the formula.

    Args:
        weights: [N] summing to 1; 0 for personas outside the group.
        per_arm: respondents of the planned study in each condition.
    """
    differences = treated.positions - control.positions
    predicted = float(weights @ differences)
    count = int((weights > 0).sum())
    spread = float(weights**2 @ (differences - predicted) ** 2) * count / max(count - 1, 1)
    estimate = calibration.slope * predicted
    known = float(calibration.error(np.array(predicted)))
    error = sqrt(known**2 + calibration.slope**2 * spread)
    sampling = sqrt((treated.deviation**2 + control.deviation**2) / per_arm)
    half = calibration.quantile * error
    half_study = calibration.quantile * sqrt(error**2 + sampling**2)
    power, assurance = _power(estimate, error, sampling, calibration.freedom)
    return Effect(
        treated.condition,
        treated.outcome,
        group,
        count,
        treated.span,
        predicted,
        estimate,
        max(estimate - half, -1.0),
        min(estimate + half, 1.0),
        max(estimate - half_study, -1.0),
        min(estimate + half_study, 1.0),
        power,
        assurance,
        needed(estimate, treated.deviation, control.deviation),
    )


def needed(estimate: float, treated: float, control: float) -> int | None:
    """Respondents per condition that find an effect with power 0.8 at two-sided 0.05.

    n = (z_0.975 + z_0.8)^2 (sd_treated^2 + sd_control^2) / effect^2, all in shares of the scale.
    """
    if abs(estimate) < 1e-6:
        return None
    z = stats.norm.ppf(1 - ALPHA / 2) + stats.norm.ppf(POWER)
    return max(2, ceil(float(z) ** 2 * (treated**2 + control**2) / estimate**2))


def _power(estimate: float, error: float, sampling: float, freedom: int) -> tuple[float, float]:
    """Power at the estimate, and averaged over the effects that its error allows (O'Hagan et al. 2005)."""
    critical = stats.norm.ppf(1 - ALPHA / 2)
    direction = 1.0 if estimate >= 0 else -1.0

    def chance(effects: Floats) -> Floats:
        if sampling == 0:
            return (direction * effects > 0).astype(np.float64)
        return np.asarray(stats.norm.sf(critical - direction * effects / sampling))

    middles = (np.arange(NODES) + 0.5) / NODES
    possible = estimate + error * stats.t.ppf(middles, freedom)
    return float(chance(np.array(estimate))), float(chance(possible).mean())


def _support_warnings(design: Design, people: PersonaSample, support: TrainingSupport | None) -> list[str]:
    """What of scales, texts and people training did not cover, and a population that is too small."""
    small = []
    if people.effective_size < SMALLEST_GROUP:
        small.append(
            f"The population counts as {people.effective_size:.0f} personas, weights included: it stands for few "
            "people, and the intervals hold its sampling too narrowly."
        )
    if support is None:
        unchecked = "whether this experiment lies in its range was not checked"
        return [f"The training table is not available: {unchecked}.", *small]
    begin = "Outside the training range"
    found = _question_notes(
        design, f"{begin}, outcome", lambda question: support.of_question(question.stimuli, question.scale)
    )
    shares: dict[str, float] = {}
    for person, weight in zip(people.personas, people.weights, strict=True):
        for text in support.of_persona(person):
            shares[text] = shares.get(text, 0.0) + float(weight)
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    found += [f"{begin}, {share:.0%} of the population: {text}." for text, share in ordered[:LISTED]]
    if len(ordered) > LISTED:
        found.append(f"And {len(ordered) - LISTED} more kinds of answers that training had not seen.")
    return [*found, *small]


def _calibration_warnings(effects: list[Effect], calibration: Calibration) -> list[str]:
    """Where the held-out studies say little of these effects."""
    found = []
    if calibration.studies < FEW_STUDIES:
        found.append(
            f"The model's error is known from {calibration.studies} held-out studies only; the intervals are "
            "themselves uncertain."
        )
    if far := sum(abs(e.predicted) > calibration.largest for e in effects):
        found.append(
            f"{far} of {len(effects)} predicted effects are larger than any of the held-out studies "
            f"({calibration.largest:.2f} of the scale): their correction is an extrapolation."
        )
    if calibration.slope <= calibration.quantile * calibration.slope_se:
        found.append(
            "On held-out studies the model's effects do not go with those of people: no effect here can be relied on."
        )
    return found


def _arm_warnings(arms: list[ArmResult]) -> list[str]:
    """Where the model does not know the form of the question."""
    low = [arm for arm in arms if arm.answer.format_validity < LOW_VALIDITY]
    if not low:
        return []
    worst = min(low, key=lambda arm: arm.answer.format_validity)
    return [
        f"In {len(low)} of {len(arms)} cells the model put less than {LOW_VALIDITY:.0%} of its probability on "
        f"allowed answers, least for {worst.outcome!r} under {worst.condition!r} "
        f"({worst.answer.format_validity:.0%}): it does not know this form."
    ]


def _added(question: Question) -> list[str]:
    return [note for note in question.notes if note.startswith(ADDED)]


def _contradictions(question: Question) -> list[str]:
    return [note for note in question.notes if not note.startswith(ADDED)]


def _question_notes(design: Design, begin: str, notes_of: Callable[[Question], list[str]]) -> list[str]:
    """The notes on the questions, each sentence once; its conditions are named where they are not all."""
    sentences = []
    for outcome in design.outcomes:
        under: dict[str, list[str]] = {}
        for condition in design.conditions:
            for text in notes_of(design.question(condition, outcome)):
                under.setdefault(text, []).append(repr(condition.name))
        for text, names in under.items():
            where = "" if len(names) == len(design.conditions) else f" under {', '.join(names)}"
            sentences.append(f"{begin} {outcome.name!r}{where}: {text}.")
    return sentences

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

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from socrates.app.calibration import Calibration
from socrates.app.design import Condition, Design, Outcome
from socrates.app.parse import ADDED, QUESTIONS, Question
from socrates.app.population import People
from socrates.app.training_support import TrainingSupport
from socrates.survey.scales import Scale

Floats = NDArray[np.float64]
# A table of QUESTIONS in, the same with probabilities (list) and allowed_mass out.
Ask = Callable[[pl.DataFrame], pl.DataFrame]

ALPHA, POWER = 0.05, 0.8
SMALLEST_GROUP = 30  # personas below which a subgroup is not shown
NODES = 200  # quantiles over which the power is averaged
FEW_STUDIES = 20
LOW_VALIDITY = 0.9
LISTED = 5  # warnings of one kind that are listed in full


@dataclass(frozen=True)
class Cell:
    """The answers to one outcome under one condition.

    Attributes:
        probabilities: [K] share of respondents per option.
        places: [N] each persona's expected answer, 0 at the low and 1 at the high end of the scale.
        deviation: standard deviation of an answer, as a share of the scale.
        format_validity: probability that the model put on allowed answers at all, mean over personas.
    """

    condition: str
    outcome: str
    scale: Scale
    probabilities: Floats
    places: Floats
    deviation: float
    format_validity: float

    @property
    def span(self) -> int:
        """Points from the low to the high end of the scale."""
        return self.scale.high - self.scale.low

    @property
    def mean(self) -> float:
        """The mean answer, in points."""
        return float(self.probabilities @ np.asarray(self.scale.options, dtype=np.float64))


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


@dataclass(frozen=True)
class Result:
    """All that is said of an experiment."""

    design: Design
    people: People
    calibration: Calibration
    cells: list[Cell]
    effects: list[Effect]
    subgroups: list[Effect]
    warnings: list[str]
    notes: list[str]
    model: str


def questions(design: Design, people: People) -> pl.DataFrame:
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


def run(
    design: Design,
    people: People,
    ask: Ask,
    calibration: Calibration,
    seen: TrainingSupport | None = None,
    model: str = "",
    cautions: tuple[str, ...] = (),
) -> Result:
    """Ask the model all questions of the design, and say what the answers mean.

    Args:
        ask: fills in ``probabilities`` and ``allowed_mass``, in the order of the rows it is given.
        seen: the training range; None where the training table is not at hand.
        cautions: warnings about the model itself, which come first.
    """
    answered = ask(questions(design, people))
    cells = {
        (condition.name, outcome.name): cell(design, condition, outcome, people, answered)
        for condition in design.conditions
        for outcome in design.outcomes
    }
    per_arm = design.respondents / len(design.conditions)

    def effects(members: NDArray[np.bool_], group: str) -> list[Effect]:
        weights = np.where(members, people.weights, 0)
        return [
            effect(
                cells[condition.name, outcome.name],
                cells[design.control.name, outcome.name],
                weights / weights.sum(),
                calibration,
                per_arm,
                group,
            )
            for outcome in design.outcomes
            for condition in design.treatments
        ]

    subgroups, small = [], []
    for field in design.subgroups:
        for name, members in people.groups(field).items():
            label = f"{field.replace('_', ' ')}: {name}"
            if members.sum() < SMALLEST_GROUP:
                small.append(f"{label} ({members.sum()})")
            else:
                subgroups += effects(members, label)
    everyone = effects(np.ones(len(people.personas), dtype=bool), "everyone")
    notes = list(people.notes)
    notes += _of_questions(
        design, "Outcome", lambda asked: [note for note in asked.notes if note.startswith(ADDED)]
    )
    if small:
        notes.append(f"Groups of fewer than {SMALLEST_GROUP} personas are not shown: {', '.join(small)}.")
    warnings = [*cautions]
    warnings += _warnings(design, people, list(cells.values()), everyone, calibration, seen)
    return Result(
        design, people, calibration, list(cells.values()), everyone, subgroups, warnings, notes, model
    )


def cell(
    design: Design, condition: Condition, outcome: Outcome, people: People, answered: pl.DataFrame
) -> Cell:
    """The answers of everyone to one outcome under one condition, from the answered table."""
    rows = answered.filter((pl.col("condition") == condition.name) & (pl.col("outcome") == outcome.name))
    rows = rows.sort("person")
    on = design.question(condition, outcome).scale
    probabilities = np.array(rows["probabilities"].to_list(), dtype=np.float64)
    shares = people.weights @ probabilities
    place = (np.asarray(on.options, dtype=np.float64) - on.low) / (on.high - on.low)
    mean = float(shares @ place)
    return Cell(
        condition.name,
        outcome.name,
        on,
        shares,
        probabilities @ place,
        sqrt(max(float(shares @ (place - mean) ** 2), 0.0)),
        float(people.weights @ rows["allowed_mass"].to_numpy().astype(np.float64)),
    )


def effect(
    treated: Cell, control: Cell, weights: Floats, calibration: Calibration, per_arm: float, group: str
) -> Effect:
    """The effect of a condition on the people that ``weights`` picks out; see the module for the formula.

    Args:
        weights: [N] summing to 1; 0 for personas outside the group.
        per_arm: respondents of the planned study in each condition.
    """
    differences = treated.places - control.places
    predicted = float(weights @ differences)
    count = int((weights > 0).sum())
    spread = float(weights**2 @ (differences - predicted) ** 2) * count / max(count - 1, 1)
    estimate = calibration.slope * predicted
    known = float(calibration.error(np.array(predicted)))
    error = sqrt(known**2 + calibration.slope**2 * spread)
    sampling = sqrt((treated.deviation**2 + control.deviation**2) / per_arm)
    half = calibration.quantile * error
    found = calibration.quantile * sqrt(error**2 + sampling**2)
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
        max(estimate - found, -1.0),
        min(estimate + found, 1.0),
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


def _warnings(
    design: Design,
    people: People,
    cells: list[Cell],
    effects: list[Effect],
    calibration: Calibration,
    seen: TrainingSupport | None,
) -> list[str]:
    """Why the figures may not hold, a sentence or two each."""
    found = _of_questions(
        design, "Outcome", lambda asked: [note for note in asked.notes if not note.startswith(ADDED)]
    )
    if seen is None:
        found.append(
            "The training table is not at hand: whether this experiment lies in its range was not checked."
        )
    else:
        found += _outside(design, people, seen)
    if people.effective_size < SMALLEST_GROUP:
        found.append(
            f"The population counts as {people.effective_size:.0f} personas, weights included: it stands for few "
            "people, and the intervals hold its sampling too narrowly."
        )
    if calibration.studies < FEW_STUDIES:
        found.append(
            f"The model's error is known from {calibration.studies} held-out studies only; the intervals are "
            "themselves uncertain."
        )
    far = [e for e in effects if abs(e.predicted) > calibration.largest]
    if far:
        found.append(
            f"{len(far)} of {len(effects)} predicted effects are larger than any of the held-out studies "
            f"({calibration.largest:.2f} of the scale): their correction is an extrapolation."
        )
    if calibration.slope <= calibration.quantile * calibration.slope_se:
        found.append(
            "On held-out studies the model's effects do not go with those of people: no effect here can be relied on."
        )
    low = [c for c in cells if c.format_validity < LOW_VALIDITY]
    if low:
        worst = min(low, key=lambda c: c.format_validity)
        found.append(
            f"In {len(low)} of {len(cells)} cells the model put less than {LOW_VALIDITY:.0%} of its probability on "
            f"allowed answers, least for {worst.outcome!r} under {worst.condition!r} ({worst.format_validity:.0%}): "
            "it does not know this form."
        )
    return found


def _outside(design: Design, people: People, seen: TrainingSupport) -> list[str]:
    """What of scales, texts and people lies outside the training range."""
    found = _of_questions(
        design,
        "Outside the training range, outcome",
        lambda asked: seen.of_question(asked.stimuli, asked.scale),
    )
    shares: dict[str, float] = {}
    for person, weight in zip(people.personas, people.weights, strict=True):
        for text in seen.of_persona(person):
            shares[text] = shares.get(text, 0.0) + float(weight)
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    texts = [f"Outside the training range, {share:.0%} of the population: {text}." for text, share in ordered]
    if len(texts) > LISTED:
        texts = [
            *texts[:LISTED],
            f"And {len(texts) - LISTED} more kinds of answers that training had not seen.",
        ]
    return [*found, *texts]


def _of_questions(design: Design, begin: str, say: Callable[[Question], list[str]]) -> list[str]:
    """What is to be said of the questions, each sentence once; its conditions are named where they are not all."""
    found = []
    for outcome in design.outcomes:
        under: dict[str, list[str]] = {}
        for condition in design.conditions:
            for text in say(design.question(condition, outcome)):
                under.setdefault(text, []).append(repr(condition.name))
        for text, names in under.items():
            where = "" if len(names) == len(design.conditions) else f" under {', '.join(names)}"
            found.append(f"{begin} {outcome.name!r}{where}: {text}.")
    return found

"""Effects of a planned experiment: what they may be in people, and what a study of given size would find.

Every persona reads every condition, so that a predicted effect is a difference within people. What it may be in people
is the distribution of :mod:`socrates.app.error_model`, widened by the sampling of the personas, and cut where the scale
ends given the control's mean. Power is the chance that the planned study finds an effect in the predicted direction,
averaged over that distribution (assurance, O'Hagan et al. 2005): it has a limit that no number of respondents passes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from socrates.app.answers import Answer
from socrates.app.design import FEWEST_PER_ARM, Design, Outcome
from socrates.app.error_model import LEVEL, MIDDLE, EffectDistribution, ErrorModel, Floats
from socrates.app.model_ref import ends

ALPHA, POWER = 0.05, 0.8
MOST = 1_000_000  # respondents per arm up to which a number is looked for
DRAWS = 20_000  # of all effects of an experiment together


@dataclass(frozen=True)
class Arm:
    """The answers to one outcome under one condition: the text, the distribution over respondents, [N] each persona's
    expected answer (0 at the low and 1 at the high end of the scale), and the mean and variance of all answers."""

    condition: str
    outcome: str
    stimuli: str
    answer: Answer
    positions: Floats
    mean: float
    variance: float

    @property
    def unit(self) -> Unit:
        """Points of the scale; for two options percentage points of one of them, of "yes" if there is one."""
        on = self.answer.scale
        labels = ends(self.stimuli, on)
        if len(on.options) != 2:
            return Unit(f"points of {on.low} to {on.high}", on.high - on.low, on.low, labels)
        low = labels[0].startswith("yes")
        name = labels[0 if low else 1] or str(on.low if low else on.high)
        return Unit(f"% {name.capitalize()}", -100 if low else 100, 100 if low else 0, labels)


class Unit(NamedTuple):
    """A scale's shares as a reader wants them: ``factor`` times the share, plus ``origin`` for a mean; ``labels`` are
    what the lowest and the highest answer stand for, see :func:`ends`."""

    name: str
    factor: float
    origin: float
    labels: tuple[str, str]

    def mean(self, share: float) -> float:
        return self.origin + self.factor * share


@dataclass(frozen=True)
class Effect:
    """A condition against the control on one outcome, in the outcome's unit. What each figure means stands in
    ``experiment_report.CODEBOOK``. Where the model's error is not known there is ``predicted`` alone;
    ``respondents_needed`` is None too where no number gives the power."""

    outcome: str
    condition: str
    unit: Unit
    predicted: float
    effect: float | None = None
    low_90: float | None = None
    high_90: float | None = None
    joint_low_90: float | None = None
    joint_high_90: float | None = None
    power: float | None = None
    respondents_needed: int | None = None
    chance_best: float | None = None
    worth: float | None = None
    worth_low_90: float | None = None
    worth_high_90: float | None = None

    @property
    def clear(self) -> bool:
        return self.low_90 is not None and self.high_90 is not None and (self.low_90 > 0 or self.high_90 < 0)


@dataclass(frozen=True)
class Choice:
    """What choosing by the model gives on one outcome: the condition with the best estimated mean (it may be the
    control), each one's chance to be ``best``, and what the best is expected to be better by, in the outcome's unit."""

    outcome: str
    condition: str
    best: dict[str, float]
    regret: float


def effects(
    pairs: list[tuple[Arm, Arm]], weights: Floats, known: ErrorModel | None, design: Design
) -> tuple[list[Effect], list[Choice]]:
    """Treatments against the control, ``pairs`` of both by outcome; without estimates where the error is not known."""
    differences = np.stack([treated.positions - control.positions for treated, control in pairs])
    predicted = differences @ weights
    treatments = [treated for treated, _ in pairs]
    both = zip(treatments, predicted.tolist(), strict=True)
    plain = [Effect(arm.outcome, arm.condition, arm.unit, arm.unit.factor * x) for arm, x in both]
    if known is None:
        return plain, []
    gaps = (differences - predicted[:, None]) * weights
    people = len(weights)
    covariance = gaps @ gaps.T * people / max(people - 1, 1)  # of the means over the personas
    names = list(dict.fromkeys(arm.condition for arm in treatments))
    number = np.array([names.index(arm.condition) + 1 for arm in treatments])
    drawn = known.draw(predicted, covariance, number, DRAWS, seed=1)
    found = [known.effect(x, v) for x, v in zip(predicted, covariance.diagonal(), strict=True)]
    centre, sd = (np.array([getattr(effect, name) for effect in found]) for name in ("mean", "sd"))
    # standard deviations around the means that hold all effects at once
    reach = float(np.quantile(np.abs((drawn - centre) / sd).max(axis=1), LEVEL))
    choices = {outcome.name: _choice(outcome, pairs, drawn) for outcome in design.outcomes}
    estimated = []
    for effect, of, pair, x in zip(plain, found, pairs, predicted.tolist(), strict=True):
        chance = choices[effect.outcome].best[effect.condition]
        estimates = _estimates(of, reach, known.variance(x), pair, design)
        estimated.append(replace(effect, chance_best=chance, **estimates))
    return estimated, list(choices.values())


def _estimates(
    found: EffectDistribution, reach: float, error: Floats, pair: tuple[Arm, Arm], design: Design
) -> dict[str, Any]:
    """The figures of an :class:`Effect` from what it may be; ``error`` [K] is the variance of the model's alone."""
    unit, level = pair[0].unit, pair[1].mean
    variances = [arm.variance for arm in pair]
    arms = [design.effective(arm.condition) for arm in pair]
    noise = sum(variance / n for variance, n in zip(variances, arms, strict=True))

    def told(*shares: float) -> list[float]:
        """Within what the scale allows, in the unit, the lower first."""
        return sorted((unit.factor * np.clip(shares, -level, 1 - level)).tolist())

    joint = found.mean - reach * found.sd, found.mean + reach * found.sd
    # 2 sd^2 / n is what n people an arm err by
    worth = np.quantile(sum(variances) / error, MIDDLE, weights=found.weight, method="inverted_cdf").tolist()
    return {
        "effect": told(found.mean)[0],
        **dict(zip(("low_90", "high_90"), told(*found.interval()), strict=True)),
        **dict(zip(("joint_low_90", "joint_high_90"), told(*joint), strict=True)),
        "power": power(found, noise, sum(arms)),
        "respondents_needed": needed(found, noise, design.respondents, arms),
        "worth": sum(variances) / float(found.weight @ error),
        **dict(zip(("worth_low_90", "worth_high_90"), worth, strict=True)),
    }


def power(effect: EffectDistribution, noise: float, respondents: float) -> float:
    """Chance that a study of so many respondents in both arms finds the effect in the direction of its mean: two-sided
    t-test at ``ALPHA``. ``noise`` is the sampling variance of its difference."""
    cut = stats.t.ppf(1 - ALPHA / 2, max(respondents - 2, 1)) * np.sqrt(noise)
    return effect.above(cut, noise) if effect.mean >= 0 else 1 - effect.above(-cut, noise)


def needed(effect: EffectDistribution, noise: float, respondents: int, arms: list[float]) -> int | None:
    """Respondents in all for a power of ``POWER``, ``FEWEST_PER_ARM`` in each arm at least; None where none will do.
    ``noise`` is the sampling variance with ``respondents`` in all, of whom ``arms`` are in the two arms."""

    def enough(total: int) -> bool:
        times = total / respondents
        return power(effect, noise / times, sum(arms) * times) >= POWER

    low, high = 0, ceil(MOST * respondents / min(arms))
    if not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return max(high, ceil(FEWEST_PER_ARM * respondents / min(arms)))


def _choice(outcome: Outcome, pairs: list[tuple[Arm, Arm]], drawn: Floats) -> Choice:
    """The ranking of the conditions on one outcome, from effects ``drawn`` [draws, pairs]."""
    of = [i for i, (treated, _) in enumerate(pairs) if treated.outcome == outcome.name]
    names = [pairs[of[0]][1].condition, *(pairs[i][0].condition for i in of)]
    means = np.column_stack([np.zeros(len(drawn)), drawn[:, of]])
    factor = pairs[of[0]][0].unit.factor
    means = means if (outcome.better == "higher") == (factor > 0) else -means  # as it is told
    best = np.bincount(means.argmax(axis=1), minlength=len(names)) / len(drawn)
    chosen = int(means.mean(axis=0).argmax())
    regret = float((means.max(axis=1) - means[:, chosen]).mean()) * abs(factor)
    return Choice(outcome.name, names[chosen], dict(zip(names, best.tolist(), strict=True)), regret)

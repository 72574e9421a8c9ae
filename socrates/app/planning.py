"""Effects of a planned experiment: what they may be in people, and what a study of given size would find.

Every persona reads every condition, so that a predicted effect is a difference within people. What it may be in people
is the distribution of :mod:`socrates.app.error_model`, widened by the sampling of the personas, and cut where the scale
ends given the control's mean. Power is the chance that the planned study finds an effect in the predicted direction,
averaged over that distribution (assurance, O'Hagan et al. 2005): it has a limit that no number of respondents passes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from socrates.app.answers import Answer
from socrates.app.design import FEWEST_PER_ARM, Design, Outcome
from socrates.app.error_model import LEVEL, EffectDistribution, ErrorModel, weighted_interval
from socrates.app.training_support import ends

Floats = NDArray[np.float64]
ALPHA, POWER = 0.05, 0.8
MOST = 1_000_000  # respondents per arm up to which a number is looked for
DRAWS = 20_000  # of all effects of an experiment together


@dataclass(frozen=True)
class Arm:
    """The answers to one outcome under one condition: the text, the distribution over respondents, and [N] each
    persona's expected answer (0 at the low and 1 at the high end of the scale) and the variance of its own answer."""

    condition: str
    outcome: str
    stimuli: str
    answer: Answer
    positions: Floats
    spreads: Floats

    def mean(self, weights: Floats) -> float:
        """The mean answer, by the personas' ``weights`` [N]."""
        return float(weights @ self.positions)

    def variance(self, weights: Floats) -> float:
        """The variance of the answers."""
        return float(weights @ (self.spreads + (self.positions - self.mean(weights)) ** 2))

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


@dataclass(frozen=True)
class Unit:
    """A scale's shares as a reader wants them: ``factor`` times the share, plus ``origin`` for a mean; ``labels`` are
    what the lowest and the highest answer stand for, see :func:`ends`."""

    name: str
    factor: float
    origin: float
    labels: tuple[str, str]

    def mean(self, share: float) -> float:
        return self.origin + self.factor * share

    def range(self, ends: tuple[float, float]) -> tuple[float, float]:
        """The ends of an interval of a difference, the lower first."""
        low, high = sorted(self.factor * end for end in ends)
        return low, high


@dataclass(frozen=True)
class Estimate:
    """What is known of an effect in people; shares of the scale.

    Attributes:
        effect: its mean.
        interval, joint, study: ends of the 90 % interval; of the one that holds all effects of the experiment at once
            in 90 %; of what the planned study would find.
        power: chance that the planned study finds it (two-sided 0.05, predicted direction), over what it may be.
        needed: respondents in all for a power of 0.8; None where no number gives it.
        worth: respondents of each arm whose study would be as close, with a 90 % interval.
    """

    effect: float
    interval: tuple[float, float]
    joint: tuple[float, float]
    study: tuple[float, float]
    power: float
    needed: int | None
    worth: tuple[float, float, float]

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies on one side of zero, otherwise 0."""
        return int(self.interval[0] > 0) - int(self.interval[1] < 0)


@dataclass(frozen=True)
class Effect:
    """A condition against the control on one outcome; ``predicted`` is the model's own difference, a share of the
    scale, ``estimate`` None where the model's error is not known."""

    condition: str
    outcome: str
    unit: Unit
    predicted: float
    estimate: Estimate | None


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
    gaps = (differences - predicted[:, None]) * weights
    people = len(weights)
    covariance = gaps @ gaps.T * people / max(people - 1, 1)  # of the means over the personas
    estimates: list[Estimate | None] = [None] * len(pairs)
    choices = []
    if known is not None:
        names = [treated.condition for treated, _ in pairs]
        number = np.array([list(dict.fromkeys(names)).index(name) + 1 for name in names])
        drawn = known.draw(predicted, covariance, number, DRAWS, seed=1)
        effects = [known.effect(x, v) for x, v in zip(predicted, covariance.diagonal(), strict=True)]
        centre, sd = (np.array([getattr(effect, name) for effect in effects]) for name in ("mean", "sd"))
        reach = float(np.quantile(np.abs((drawn - centre) / sd).max(axis=1), LEVEL))
        estimates = [
            _estimate(effect, pair, weights, reach, design, known.variance(x))
            for effect, pair, x in zip(effects, pairs, predicted, strict=True)
        ]
        choices = [_choice(outcome, pairs, drawn) for outcome in design.outcomes]
    return [
        Effect(treated.condition, treated.outcome, treated.unit, float(x), estimate)
        for (treated, _), x, estimate in zip(pairs, predicted, estimates, strict=True)
    ], choices


def _estimate(
    effect: EffectDistribution,
    pair: tuple[Arm, Arm],
    weights: Floats,
    reach: float,
    design: Design,
    error: Floats,
) -> Estimate:
    level = pair[1].mean(weights)
    variances = [arm.variance(weights) for arm in pair]
    arms = [design.effective(arm.condition) for arm in pair]
    noise = sum(variance / n for variance, n in zip(variances, arms, strict=True))

    def inside(ends: tuple[float, float]) -> tuple[float, float]:
        low, high = np.clip(ends, -level, 1 - level)  # what the scale allows
        return float(low), float(high)

    worth = sum(variances) / error  # 2 sd^2 / n is what n people an arm err by
    return Estimate(
        float(np.clip(effect.mean, -level, 1 - level)),
        inside(effect.interval()),
        inside((effect.mean - reach * effect.sd, effect.mean + reach * effect.sd)),
        inside(effect.interval(noise)),
        power(effect, noise, sum(arms)),
        needed(effect, noise, design.respondents, arms),
        (sum(variances) / float(effect.weight @ error), *weighted_interval(worth, effect.weight)),
    )


def power(effect: EffectDistribution, noise: float, respondents: float) -> float:
    """Chance that a study finds the effect: two-sided t-test at ``ALPHA``, in the direction of its mean. ``noise`` is
    the sampling variance of its difference, with so many respondents in both arms."""
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
    unit = pairs[of[0]][0].unit
    means = means if (outcome.better == "higher") == (unit.factor > 0) else -means  # as it is told
    best = np.bincount(means.argmax(axis=1), minlength=len(names)) / len(drawn)
    chosen = int(means.mean(axis=0).argmax())
    regret = float((means.max(axis=1) - means[:, chosen]).mean()) * abs(unit.factor)
    return Choice(outcome.name, names[chosen], dict(zip(names, best.tolist(), strict=True)), regret)

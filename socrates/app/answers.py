"""What is said of an answer distribution: expected answer, interval, draws, a chart for the terminal."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.evaluation.individual import apply_temperature_top_p
from socrates.survey.scales import Scale, scale

TEMPERATURE, TOP_P = 0.6, 0.9  # at which the paper draws answers
CHART_ROWS = 15  # options; a longer scale is shown in bins
CHART_BINS = 12
LONGEST_BAR = 40  # columns
DOUBTFUL = 0.5  # a format validity below it says that the model did not understand the question


@dataclass(frozen=True)
class Answer:
    """The answer of one respondent to one question: the ``probabilities`` of the scale's options, given that the answer
    is one of them, and what the model put on them in all (0 to 1)."""

    scale: Scale
    probabilities: NDArray[np.float64]
    format_validity: float

    @classmethod
    def of_table(cls, answered: pl.DataFrame) -> list[Self]:
        """The rows of a table with ``scale``, ``probabilities`` and ``allowed_mass``."""
        rows = answered.select("scale", "probabilities", "allowed_mass").iter_rows()
        return [cls(scale(on), np.asarray(p, dtype=np.float64), float(mass)) for on, p, mass in rows]

    @property
    def expected(self) -> float:
        return float(self.probabilities @ np.asarray(self.scale.options, dtype=np.float64))

    def interval(self) -> tuple[int, int]:
        """The answers between which the middle 80 % of the distribution lies, both included."""
        cumulative = np.cumsum(self.probabilities)
        tail = (1 - 0.8) / 2
        # 1e-6: a tail that is met exactly must not depend on the last bit of a sum
        ends = np.searchsorted(cumulative, [tail + 1e-6, 1 - tail - 1e-6])
        low, high = np.minimum(ends, len(cumulative) - 1)
        return self.scale.options[int(low)], self.scale.options[int(high)]

    def draw(self, n: int, seed: int) -> list[int]:
        """``n`` answers at the paper's temperature and top-p."""
        p = apply_temperature_top_p(self.probabilities[None], TEMPERATURE, TOP_P)[0]
        chosen = np.random.default_rng(seed).choice(len(p), size=n, p=p)
        return [self.scale.options[int(index)] for index in chosen]

    @property
    def doubts(self) -> list[str]:
        """What the answer itself gives reason to doubt, a sentence each."""
        share = f"{100 * self.format_validity:.1f} %"
        text = f"only {share} of the model's probability is on allowed answers: it does not know this form"
        return [text] if self.format_validity < DOUBTFUL else []

    def summary(self) -> dict[str, Any]:
        return {
            "scale": self.scale.notation,
            "options": list(self.scale.options),
            "probabilities": [round(float(p), 6) for p in self.probabilities],
            "expected": round(self.expected, 4),
            "middle_80": list(self.interval()),
            "format_validity": round(self.format_validity, 6),
        }


def chart(answers: dict[str, Answer], columns: int = 80) -> str:
    """Bars of one or more distributions over the same scale, one block a predictor, in so many columns."""
    longest = max(float(binned(answer)[1].max()) for answer in answers.values())
    blocks = []
    for name, answer in answers.items():
        labels, shares = binned(answer)
        room = max(map(len, labels))
        width = min(max(columns - room - 13, 1), LONGEST_BAR)
        lines = [f"{name}:"] if len(answers) > 1 else []
        for label, share in zip(labels, shares, strict=True):
            eighths = round(float(share) / longest * width * 8)
            bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
            lines.append(f"  {label:>{room}}  {bar:<{width}} {100 * share:5.1f} %")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def binned(answer: Answer) -> tuple[list[str], NDArray[np.float64]]:
    """Labels and shares of groups of neighbouring options, in order; groups of one where they are few. An evenly spaced
    scale is cut at round numbers (0–9, 10–19, ...), a thinned one into groups of as many."""
    options = np.asarray(answer.scale.options, dtype=np.int64)
    if len(options) <= CHART_ROWS:
        groups = list(np.arange(len(options))[:, None])
    elif isinstance(answer.scale.options, range):
        widths = (digit * 10**power for power in range(19) for digit in (1, 2, 5))
        width = next(w for w in widths if options[-1] // w - options[0] // w < CHART_BINS)
        groups = np.split(np.arange(len(options)), np.flatnonzero(np.diff(options // width)) + 1)
    else:
        groups = np.array_split(np.arange(len(options)), CHART_BINS)
    ends = [(options[group[0]], options[group[-1]]) for group in groups]
    labels = [str(low) if low == high else f"{low}–{high}" for low, high in ends]
    return labels, np.array([answer.probabilities[group].sum() for group in groups])


def describe(answer: Answer) -> str:
    """Expected answer, interval and format validity in one line."""
    low, high = answer.interval()
    validity = f"format validity {100 * answer.format_validity:.1f} %"
    return f"expected answer {answer.expected:.2f}; middle 80 %: {low} to {high}; {validity}"

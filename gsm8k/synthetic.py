"""Word problems made here: one to three steps of small-number arithmetic with a known answer.

They stand in for GSM8K where there is neither a hub nor a GPU. Their words and numbers are few, so
that a model of a million parameters can learn to solve some of them in a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from gsm8k.params import Synthetic
from socrates.core.errors import DataError

T = TypeVar("T")

NAMES = ("Ada", "Ben", "Eva", "Ivo", "Kim", "Leo", "Mia", "Tom")
THINGS = ("apples", "books", "cards", "coins", "eggs", "pens")
MAX_REPEATS = 300  # known questions in a row, after which no new one is expected


@dataclass(frozen=True)
class Step:
    """One sentence of a problem, its calculation and the amount it leads to."""

    sentence: str
    calculation: str
    amount: int


def records(params: Synthetic) -> dict[str, list[Mapping[str, Any] | None]]:
    """Train and test records in GSM8K form, no question twice.

    Raises:
        DataError: there are not that many different problems of this difficulty.
    """
    rng = np.random.default_rng(params.seed)
    total = params.train + params.test
    made: dict[str, str] = {}
    repeats = 0
    while len(made) < total:
        steps = int(rng.integers(params.min_steps, params.max_steps + 1))
        question, answer = problem(rng, steps, params.max_number)
        repeats = repeats + 1 if question in made else 0
        if repeats == MAX_REPEATS:
            raise DataError(
                f"problems.synthetic: {total} different problems were asked for and {len(made)} found; "
                "ask for fewer, or raise max_number or max_steps"
            )
        made.setdefault(question, answer)
    rows: list[Mapping[str, Any] | None] = [
        {"question": question, "answer": answer} for question, answer in made.items()
    ]
    return {"train": rows[: params.train], "test": rows[params.train :]}


def problem(rng: np.random.Generator, steps: int, max_number: int) -> tuple[str, str]:
    """A question and its worked solution, which ends in "#### N"; every amount is in [1, max_number]."""
    name = _pick(rng, NAMES)
    other = _pick(rng, tuple(someone for someone in NAMES if someone != name))
    things = _pick(rng, THINGS)
    first = _product if rng.random() < 1 / 3 else _start
    path = [first(rng, name, things, max_number)]
    while sum(step.calculation != "" for step in path) < steps:
        path.append(_next(rng, path[-1].amount, name, other, max_number))
    question = " ".join([*(step.sentence for step in path), f"How many {things} does {name} have now?"])
    lines = [step.calculation for step in path if step.calculation]
    return question, "\n".join([*lines, f"#### {path[-1].amount}"])


def _start(rng: np.random.Generator, name: str, things: str, max_number: int) -> Step:
    amount = int(rng.integers(2, max_number + 1))
    return Step(f"{name} has {amount} {things}.", "", amount)


def _product(rng: np.random.Generator, name: str, things: str, max_number: int) -> Step:
    each = int(rng.integers(2, min(9, max_number // 2) + 1))
    bags = int(rng.integers(2, min(9, max_number // each) + 1))
    return Step(f"{name} has {bags} bags of {each} {things}.", f"{bags}*{each}={bags * each}", bags * each)


def _next(rng: np.random.Generator, amount: int, name: str, other: str, max_number: int) -> Step:
    """One of the steps that lead from ``amount`` to another amount in [1, max_number]."""
    possible: list[Step] = []
    if amount < max_number:
        more = int(rng.integers(1, max_number - amount + 1))
        sentence = f"{name} {_pick(rng, ('buys', 'finds', 'gets'))} {more} more."
        possible.append(Step(sentence, f"{amount}+{more}={amount + more}", amount + more))
    if amount > 1:
        fewer = int(rng.integers(1, amount))
        sentence = f"{name} {_pick(rng, ('gives', 'lends', 'sells'))} {fewer} to {other}."
        possible.append(Step(sentence, f"{amount}-{fewer}={amount - fewer}", amount - fewer))
    if 2 * amount <= max_number:
        possible.append(Step("Then that number doubles.", f"{amount}*2={amount * 2}", amount * 2))
    if amount % 2 == 0:
        possible.append(Step(f"Half of them go to {other}.", f"{amount}/2={amount // 2}", amount // 2))
    return _pick(rng, possible)


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]  # Generator.choice copies into an array: 20 times slower

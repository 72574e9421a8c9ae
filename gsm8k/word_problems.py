"""Word problems made here: one to three steps of small-number arithmetic with a known answer.

They stand in for GSM8K where there is neither a hub nor a GPU. Their words and numbers are few, so
that a model of a million parameters can learn to solve some of them in a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from gsm8k.params import Synthetic
from socrates.core.errors import DataError

T = TypeVar("T")
Step = tuple[str, str, int]  # a sentence, its calculation and the amount that it leads to

NAMES = ("Ada", "Ben", "Eva", "Ivo", "Kim", "Leo", "Mia", "Tom")
THINGS = ("apples", "books", "cards", "coins", "eggs", "pens")
MAX_REPEATS = 300  # known questions in a row after which no new one is expected


def make_records(params: Synthetic) -> dict[str, list[tuple[str, str]]]:
    """Train and test records (question, worked solution) in GSM8K form, no question twice.

    Raises:
        DataError: there are not that many different problems of this difficulty.
    """
    rng = np.random.default_rng(params.seed)
    total = params.train + params.test
    answers: dict[str, str] = {}
    repeats = 0
    while len(answers) < total:
        steps = int(rng.integers(params.min_steps, params.max_steps + 1))
        question, answer = make_problem(rng, steps, params.max_number)
        repeats = repeats + 1 if question in answers else 0
        if repeats == MAX_REPEATS:
            raise DataError(
                f"problems.synthetic: {total} different problems were asked for and {len(answers)} found; "
                "ask for fewer, or raise max_number or max_steps"
            )
        answers.setdefault(question, answer)
    records = list(answers.items())
    return {"train": records[: params.train], "test": records[params.train :]}


def make_problem(rng: np.random.Generator, steps: int, max_number: int) -> tuple[str, str]:
    """A question and its worked solution, which ends in "#### N"; every amount is in [1, max_number]."""
    name = _pick(rng, NAMES)
    other = _pick(rng, tuple(someone for someone in NAMES if someone != name))
    things = _pick(rng, THINGS)
    first, step, amount = _first(rng, name, things, max_number)
    sentences, calculations = [first], [step] if step else []
    while len(calculations) < steps:
        sentence, step, amount = _next(rng, amount, name, other, max_number)
        sentences.append(sentence)
        calculations.append(step)
    question = " ".join([*sentences, f"How many {things} does {name} have now?"])
    return question, "\n".join([*calculations, f"#### {amount}"])


def _first(rng: np.random.Generator, name: str, things: str, max_number: int) -> Step:
    """A product in a third of the problems, else an amount without a calculation."""
    if rng.random() >= 1 / 3:
        amount = int(rng.integers(2, max_number + 1))
        return f"{name} has {amount} {things}.", "", amount
    each = int(rng.integers(2, min(9, max_number // 2) + 1))
    bags = int(rng.integers(2, min(9, max_number // each) + 1))
    return f"{name} has {bags} bags of {each} {things}.", f"{bags}*{each}={bags * each}", bags * each


def _next(rng: np.random.Generator, amount: int, name: str, other: str, max_number: int) -> Step:
    """One of the operations that lead from ``amount`` to another amount in [1, max_number]."""
    possible: list[Step] = []
    if amount < max_number:
        more = int(rng.integers(1, max_number - amount + 1))
        sentence = f"{name} {_pick(rng, ('buys', 'finds', 'gets'))} {more} more."
        possible.append((sentence, f"{amount}+{more}={amount + more}", amount + more))
    if amount > 1:
        fewer = int(rng.integers(1, amount))
        sentence = f"{name} {_pick(rng, ('gives', 'lends', 'sells'))} {fewer} to {other}."
        possible.append((sentence, f"{amount}-{fewer}={amount - fewer}", amount - fewer))
    if 2 * amount <= max_number:
        possible.append(("Then that number doubles.", f"{amount}*2={amount * 2}", amount * 2))
    if amount % 2 == 0:
        possible.append((f"Half of them go to {other}.", f"{amount}/2={amount // 2}", amount // 2))
    return _pick(rng, possible)


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]  # Generator.choice copies into an array: 20 times slower

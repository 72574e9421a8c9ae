"""Word problems made here: one to three steps of small-number arithmetic with a known answer.

Their words and numbers are few, so that a model of a million parameters can learn to solve some in a minute.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from gsm8k.params import Synthetic
from socrates.core.errors import DataError

T = TypeVar("T")

NAMES = ("Ada", "Ben", "Eva", "Ivo", "Kim", "Leo", "Mia", "Tom")
THINGS = ("apples", "books", "cards", "coins", "eggs", "pens")
MAX_REPEATS = 300  # known questions in a row after which no new one is expected


def make_records(params: Synthetic) -> dict[str, list[tuple[str, str]]]:
    """Train and test records (question, worked solution) in GSM8K form, no question twice."""
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
    other = _pick(rng, [someone for someone in NAMES if someone != name])
    things = _pick(rng, THINGS)
    if rng.random() < 1 / 3:  # the first step is a product, else an amount is given
        each = int(rng.integers(2, min(9, max_number // 2) + 1))
        bags = int(rng.integers(2, min(9, max_number // each) + 1))
        amount = bags * each
        sentences, solution = [f"{name} has {bags} bags of {each} {things}."], [f"{bags}*{each}={amount}"]
    else:
        amount = int(rng.integers(2, max_number + 1))
        sentences, solution = [f"{name} has {amount} {things}."], []
    while len(solution) < steps:
        possible: list[tuple[str, str, int]] = []  # sentence, operation, amount afterwards
        if amount < max_number:
            more = int(rng.integers(1, max_number - amount + 1))
            verb = _pick(rng, ("buys", "finds", "gets"))
            possible.append((f"{name} {verb} {more} more.", f"+{more}", amount + more))
        if amount > 1:
            fewer = int(rng.integers(1, amount))
            verb = _pick(rng, ("gives", "lends", "sells"))
            possible.append((f"{name} {verb} {fewer} to {other}.", f"-{fewer}", amount - fewer))
        if 2 * amount <= max_number:
            possible.append(("Then that number doubles.", "*2", amount * 2))
        if amount % 2 == 0:
            possible.append((f"Half of them go to {other}.", "/2", amount // 2))
        sentence, operation, after = _pick(rng, possible)
        sentences.append(sentence)
        solution.append(f"{amount}{operation}={after}")
        amount = after
    question = " ".join([*sentences, f"How many {things} does {name} have now?"])
    return question, "\n".join([*solution, f"#### {amount}"])


def _pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]  # Generator.choice copies into an array: 20 times slower

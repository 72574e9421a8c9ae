"""Word problems from the hub, from GSM8K's original JSONL files, or made here, as a table.

Those made here are one to three steps of small-number arithmetic with a known answer. Their words and numbers are
few, so that a model of a million parameters can learn to solve some of them in a minute.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gsm8k.answer_format import format_number, parse_number
from gsm8k.params import Problems, Synthetic
from gsm8k.problems import PROBLEMS
from socrates.core.errors import DataError, SourceError
from socrates.core.hub import hub_errors

Record = tuple[str | None, str | None]  # question, and the worked solution that ends in "#### N"

NAMES = ("Ada", "Ben", "Eva", "Ivo", "Kim", "Leo", "Mia", "Tom")
THINGS = ("apples", "books", "cards", "coins", "eggs", "pens")
MAX_REPEATS = 300  # known questions in a row after which no new one is expected


def read_records(params: Problems, split: str) -> Iterable[Record]:
    """The records of a split in GSM8K form. Raises :class:`SourceError` for a file or hub that cannot be used."""
    if params.source == "synthetic":
        return make_records(params.synthetic)[split]
    path = Path(params.path or "") / f"{split}.jsonl"
    if params.source == "hub":
        name = f"{params.config}/{split}-00000-of-00001.parquet"
        with hub_errors(f"{params.repo}@{params.revision[:8]}/{name}", "problems.repo and problems.revision"):
            from huggingface_hub import hf_hub_download

            path = Path(hf_hub_download(params.repo, name, repo_type="dataset", revision=params.revision))
    try:
        table = (pl.read_parquet if params.source == "hub" else pl.read_ndjson)(path)
        return table.select(pl.col("question", "answer").cast(pl.String)).rows()
    except FileNotFoundError:
        raise SourceError(f"{path}: not found; problems.path must hold train.jsonl and test.jsonl") from None
    except pl.exceptions.PolarsError as error:
        raise SourceError(f"{path}: cannot be used ({' '.join(str(error).split())[:200]})") from None


def parse(records: Iterable[Record], split: str, max_rejected: float) -> tuple[pl.DataFrame, str]:
    """The problems table of a split's records, and what is not in it, such as ``3 empty question``.

    Raises :class:`DataError` where no record or less than 1 - ``max_rejected`` of them can be used.
    """
    rows: list[tuple[int, str, str, str]] = []
    rejected: Counter[str] = Counter()
    for number, (question, text) in enumerate(records):
        solution, mark, answer = (text or "").rpartition("####")
        value = parse_number(answer)
        if not question or not question.strip():
            rejected["empty question"] += 1
        elif not mark:
            rejected["no #### before the answer"] += 1
        elif value is None:
            rejected["answer is not a number"] += 1
        else:
            rows.append((number, question.strip(), solution.strip(), format_number(value)))
    bad, total = rejected.total(), rejected.total() + len(rows)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(rejected.items()))
    if not rows:
        told = reasons or "the file is empty"
        raise DataError(f"{split}: no usable problem among {total} records ({told})")
    if bad > max_rejected * total:
        allowed = f"problems.max_rejected {max_rejected:g} allows"
        raise DataError(f"{split}: {bad} of {total} problems are unusable ({reasons}), more than {allowed}")
    return pl.DataFrame(rows, schema=PROBLEMS, orient="row"), reasons


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


def _pick(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    return choices[int(rng.integers(len(choices)))]  # Generator.choice copies into an array: 20 times slower

"""Who answers an experiment: personas of a file, or training respondents weighted to quotas.

A persona is always a whole one: fields are never drawn one by one, because independent marginals make
people who do not exist. Quotas weight real joint profiles by raking (iterative proportional fitting,
Deming and Stephan 1940) before the draw.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.app.parse import Persona, parse_demographics
from socrates.core.errors import DataError
from socrates.core.files import Schema, read_table
from socrates.survey.personas import LABELS
from socrates.survey.tables import DEMOGRAPHICS

Floats = NDArray[np.float64]
Quotas = dict[str, dict[str, float]]  # field -> category -> share
WEIGHT = "weight"
MOST_ROWS = 1_000_000  # personas x conditions x outcomes; a mistyped size should not run for days
ROUNDS, CLOSE = 500, 1e-4  # raking stops when every margin is met within CLOSE, or after so many rounds
TOLERATED = 0.005  # largest miss of a margin that is let pass then
BRACKET = re.compile(r"(\d+)\s*(?:-|–|to)\s*(\d+)|(\d+)\s*(?:\+|and over)")


@dataclass(frozen=True)
class PersonaSample:
    """The respondents of an experiment.

    Attributes:
        personas: N of them.
        weights: [N] positive, summing to 1.
        source: where they come from, as a sentence.
        notes: what the reader should know of the draw, a sentence each.
    """

    personas: list[Persona]
    weights: Floats
    source: str
    notes: tuple[str, ...] = ()

    @property
    def effective_size(self) -> float:
        """Kish's effective number of respondents, (sum w)^2 / sum w^2."""
        return float(1 / (self.weights**2).sum())


def from_file(path: Path, questions: int = 1) -> PersonaSample:
    """The personas of a CSV: a column per demographic field (name or label), ``weight`` if there is one.

    Args:
        questions: that each will be asked.

    Raises:
        DataError: the file is missing or no CSV, has no rows, no demographic column, or a weight that is
            not a positive number.
    """
    try:
        table = pl.read_csv(path, infer_schema=False)
    except FileNotFoundError:
        raise DataError(f"{path}: not found (population.file)") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not a readable CSV ({' '.join(str(error).split())[:200]})") from None
    if len(table) < 2:
        raise DataError(
            f"{path}: {'one persona' if len(table) else 'no rows'}; a population needs two or more"
        )
    if len(table) * questions > MOST_ROWS:
        most = f"at most {MOST_ROWS // questions:,} with {questions} questions each"
        raise DataError(f"{path}: {len(table):,} personas; {most}")
    columns = [name for name in table.columns if name.lower() != WEIGHT]
    known = [name for name in columns if name.strip().lower() in LABELS]
    if not known:
        raise DataError(
            f"{path}: no column is a demographic field; found {', '.join(columns)[:99]!r} (put commas between columns, "
            f"save it as UTF-8); expected some of {', '.join(DEMOGRAPHICS)}"
        )
    weights = np.ones(len(table))
    for name in set(table.columns) - set(columns):
        numbers = table[name].cast(pl.Float64, strict=False)
        wrong = (numbers.is_null() | ~numbers.is_finite() | (numbers <= 0)).fill_null(True)
        if wrong.any():
            row = int(wrong.arg_true()[0])
            raise DataError(f"{path}: row {row + 1}: weight {table[name][row]!r} is not a positive number")
        weights = numbers.to_numpy() / numbers.max()  # type: ignore[operator]
    personas = [
        parse_demographics({k.strip(): v for k, v in row.items()})
        for row in table.select(columns).iter_rows(named=True)
    ]
    notes = []
    if empty := sum(not person.fields for person in personas):
        notes.append(f"{empty:,} of {len(personas):,} personas have no known field.")
    return PersonaSample(
        personas, weights / weights.sum(), f"{len(personas):,} personas of {path}", tuple(notes)
    )


def training_respondents(path: Path) -> pl.DataFrame:
    """The demographics of every respondent in a training table, one row each (columns DEMOGRAPHICS).

    Raises:
        DataError: the file is missing or no responses table.
    """
    kind = pl.Struct(dict.fromkeys(DEMOGRAPHICS, pl.String))
    columns: Schema = {"study_id": pl.String, "participant": pl.Int64, "demographic": kind}
    people = read_table(path, columns).unique(["study_id", "participant"]).sort("study_id", "participant")
    return people["demographic"].struct.unnest()


def from_training(people: pl.DataFrame, size: int, quotas: Quotas, seed: int) -> PersonaSample:
    """``size`` whole personas drawn from the training respondents, weighted to meet quotas on their margins.

    Args:
        people: columns DEMOGRAPHICS, one row per respondent.

    Raises:
        DataError: nobody answers to a category, or the quotas cannot be met together.
    """
    weights, placed = rake(people, quotas)
    rng = np.random.default_rng(seed)
    # A systematic draw along the categories meets the quotas almost exactly; independent draws would wander.
    strata = [
        np.sum([code * inside for code, inside in enumerate(categories.values(), 1)], axis=0)
        for categories in _memberships(people, quotas).values()
    ]
    order = np.lexsort((rng.random(len(people)), *reversed(strata)))
    ends = np.cumsum(weights[order])
    steps = (np.arange(size) + rng.random()) / size * ends[-1]
    chosen = order[np.searchsorted(ends, steps).clip(max=len(order) - 1)]
    distinct, times = np.unique(
        chosen, return_counts=True
    )  # who is drawn twice is one persona of twice the weight
    personas = [parse_demographics(row) for row in people[distinct.tolist()].iter_rows(named=True)]
    margins = ", ".join(quotas) or "no quotas"
    source = f"{size:,} draws of whole personas from {len(people):,} training respondents ({margins})"
    notes = []
    if placed < len(people):
        notes.append(
            f"{len(people) - placed:,} of {len(people):,} training respondents fit no category of the quotas "
            f"({_uncovered(people, quotas)}) and could not be drawn."
        )
    sample = PersonaSample(personas, times / size, source)
    if len(distinct) < 0.8 * size:
        notes.append(
            f"The {size:,} draws fell on {len(distinct):,} different respondents, which count as "
            f"{sample.effective_size:,.0f}: few profiles speak for many."
        )
    return replace(sample, notes=tuple(notes))


def _uncovered(people: pl.DataFrame, quotas: Quotas) -> str:
    """The answers that no category of the quotas covers, field by field, the first few of each."""
    told = []
    for field, shares in quotas.items():
        inside = np.any([_members(people[field], category) for category in shares], axis=0)
        answers = people[field].filter(pl.Series(~inside))
        values = answers.drop_nulls().unique().sort().to_list()
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        told += [f"no category for {field} {', '.join(values[:5])}{more}"] if values else []
        told += [f"{field} was not asked of {answers.null_count():,}"] if answers.null_count() else []
    return "; ".join(told)


def rake(people: pl.DataFrame, quotas: Quotas) -> tuple[Floats, int]:
    """Weights under which the respondents' margins are the quotas, and how many respondents have one above 0.

    Raises:
        DataError: nobody answers to a category, or the quotas cannot be met together.
    """
    members = _memberships(people, quotas)
    weights = np.ones(len(people))
    for categories in members.values():
        weights *= np.sum(list(categories.values()), axis=0)
    placed = int((weights > 0).sum())
    if not placed:
        raise DataError(f"population.quotas: no training respondent has all of {', '.join(quotas)}")
    weights /= placed
    misses: dict[tuple[str, str], float] = {}
    for _ in range(ROUNDS if quotas else 0):
        for field, categories in members.items():
            factors = np.zeros(len(people))
            for category, inside in categories.items():
                have = weights[inside].sum()
                factors[inside] = quotas[field][category] / have if have > 0 else 0
            weights = weights * factors
            weights = weights / weights.sum() if weights.sum() > 0 else weights
        misses = {
            (field, category): abs(float(weights[inside].sum()) - quotas[field][category])
            for field, categories in members.items()
            for category, inside in categories.items()
        }
        if max(misses.values()) < CLOSE:
            break
    if max(misses.values(), default=0) > TOLERATED:
        field, category = max(misses, key=lambda miss: misses[miss])
        reached = float(weights[members[field][category]].sum())
        raise DataError(
            f"population.quotas: cannot be met together by training respondents: {field} {category!r} reaches "
            f"{reached:.3f} instead of {quotas[field][category]:.3f}; ask for fewer or broader quotas"
        )
    return weights, placed


def _memberships(people: pl.DataFrame, quotas: Quotas) -> dict[str, dict[str, NDArray[np.bool_]]]:
    """Field -> category -> [N] who belongs to it. Raises :class:`DataError` for empty or overlapping categories."""
    if people.is_empty():
        raise DataError("there are no training respondents to draw from")
    members = {
        field: {category: _members(people[field], category) for category in shares}
        for field, shares in quotas.items()
    }
    for field, categories in members.items():
        for category, inside in categories.items():
            if not inside.any():
                answers = people[field].drop_nulls().unique().sort().to_list()
                known = ", ".join([*answers[:8], *["..."][: len(answers) > 8]]) or "nothing: it was not asked"
                raise DataError(
                    f"population.quotas.{field}: no training respondent answered {category!r} (they answered {known})"
                )
        overlap = np.sum(list(categories.values()), axis=0) > 1
        if overlap.any():
            both = people[field][int(overlap.argmax())]
            raise DataError(f"population.quotas.{field}: {both!r} is in two categories; make them apart")
    return members


def _members(values: pl.Series, category: str) -> NDArray[np.bool_]:
    """[N] whose value is the category, or a whole number within it (``18-29``, ``65+``)."""
    same = (values == category).fill_null(False).to_numpy().astype(bool)
    if match := BRACKET.fullmatch(category.strip()):
        low, high = int(match[1] or match[3]), int(match[2]) if match[2] else 10**9
        number = values.str.strip_chars().cast(pl.Int64, strict=False)
        same = same | number.is_between(low, high).fill_null(False).to_numpy()
    return same

"""Who answers an experiment: personas of a file, or training respondents weighted to quotas.

A persona is always a whole one: fields are never drawn one by one, because independent marginals make people who do
not exist. Quotas weight real joint profiles by raking (iterative proportional fitting, Deming and Stephan 1940).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from socrates.app.parse import Persona, parse_demographics
from socrates.app.row_files import column_texts, read_rows
from socrates.core.errors import DataError
from socrates.survey.personas import LABELS
from socrates.survey.tables import DEMOGRAPHICS

Floats = NDArray[np.float64]
Quotas = dict[str, dict[str, float]]  # field -> category -> share
Members = dict[str, NDArray[np.bool_]]  # field -> [categories, N] who belongs to each
MOST_ROWS = 1_000_000  # personas x conditions x outcomes; a mistyped size should not run for days
ROUNDS, CLOSE = 500, 1e-4  # raking stops when every margin is met within CLOSE, or after so many rounds
TOLERATED = 0.005  # largest miss of a margin that is let pass then
BRACKET = re.compile(r"(\d+)\s*(?:-|–|to)\s*(\d+)|(\d+)\s*(?:\+|and over)")


@dataclass(frozen=True)
class PersonaSample:
    """The respondents of an experiment with their weights (positive, summing to 1), where they come from, and what the
    reader should know of the draw, a sentence each."""

    personas: list[Persona]
    weights: Floats
    source: str
    notes: tuple[str, ...] = ()

    @property
    def effective_size(self) -> float:
        """Kish's effective number of respondents, (sum w)^2 / sum w^2."""
        return float(1 / (self.weights**2).sum())


def from_file(path: Path, questions: int = 1) -> PersonaSample:
    """The personas of a file: a column per demographic field (name or label), ``weight`` if there is one. Raises
    :class:`DataError` where it cannot be read, has one row or too many for so many ``questions`` each, no demographic
    column, two of one field, or a weight that is not a positive number."""
    table = read_rows(path, "population.file")
    count = len(table)
    if count < 2:
        raise DataError(f"{path}: one persona; a population needs two or more")
    if count * questions > MOST_ROWS:
        most = f"at most {MOST_ROWS // questions:,} with {questions} questions each"
        raise DataError(f"{path}: {count:,} personas; {most}")
    names = {name: name.strip().lower() for name in table.columns}
    weight = next((name for name, plain in names.items() if plain == "weight"), None)
    read = {name: LABELS[plain] for name, plain in names.items() if plain in LABELS}
    if not read:
        found = f"found {', '.join(table.columns)[:200]}"
        raise DataError(f"{path}: no column is a demographic field ({', '.join(DEMOGRAPHICS)}); {found}")
    weights = np.ones(count)
    if weight:
        numbers = table[weight].cast(pl.Float64, strict=False)
        wrong = ~(numbers.is_finite() & (numbers > 0)).fill_null(False)
        if wrong.any():
            row = int(wrong.arg_true()[0])
            given = f"weight {table[weight][row]!r}"
            raise DataError(f"{path}: row {row + 1}: {given} is not a positive number")
        weights = (numbers / numbers.max()).to_numpy()
    if len({*read.values()}) < len(read):
        raise DataError(f"{path}: two of the columns {', '.join(read)} are one demographic field; keep one")
    people = pl.DataFrame({name: column_texts(table, name, path) for name in read})
    personas = [parse_demographics(row) for row in people.iter_rows(named=True)]
    notes = []
    if empty := sum(not person.fields for person in personas):
        notes.append(f"{empty:,} of {count:,} personas have no known field.")
    if copies := count - table.n_unique():
        notes.append(f"{copies:,} of {count:,} rows repeat another: each counts as one more person.")
    if others := [name for name in table.columns if name not in (*read, weight)]:
        notes.append(f"Columns not read: {', '.join(others)}.")
    return PersonaSample(personas, weights / weights.sum(), f"{count:,} personas of {path}", tuple(notes))


def from_training(people: pl.DataFrame, size: int, quotas: Quotas, seed: int) -> PersonaSample:
    """``size`` whole personas drawn from training respondents (a row each), weighted to meet quotas on their margins.
    Raises :class:`DataError` where nobody answers to a category, or the quotas cannot be met together."""
    if people.is_empty():
        raise DataError("population: there are no training respondents to draw from; give it a file")
    members = memberships(people, quotas)
    weights = rake(members, quotas) if quotas else np.full(len(people), 1 / len(people))
    rng = np.random.default_rng(seed)
    # A systematic draw along the categories meets the quotas almost exactly; independent draws would wander.
    strata = [np.arange(1, len(inside) + 1) @ inside for inside in members.values()]
    order = np.lexsort((rng.random(len(people)), *reversed(strata)))
    ends = np.cumsum(weights[order])
    steps = (np.arange(size) + rng.random()) / size * ends[-1]
    chosen = order[np.searchsorted(ends, steps).clip(max=len(order) - 1)]
    # who is drawn twice is one persona of twice the weight
    distinct, times = np.unique(chosen, return_counts=True)
    personas = [parse_demographics(row) for row in people[distinct.tolist()].iter_rows(named=True)]
    drawn = f"{size:,} draws of {len(distinct):,} whole personas"
    source = f"{drawn}, from {len(people):,} training respondents ({', '.join(quotas) or 'no quotas'})"
    effective = 1 / ((times / size) ** 2).sum()
    notes, uncovered = [], []
    for field, inside in members.items():
        answers = people[field].filter(pl.Series(~inside.any(axis=0)))
        values = answers.drop_nulls().unique().sort().to_list()
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        uncovered += [f"no category for {field} {', '.join(values[:5])}{more}"] if values else []
        uncovered += [f"{field} was not asked of {answers.null_count():,}"] if answers.null_count() else []
    if uncovered:
        left, why = f"{(weights == 0).sum():,} of {len(people):,} training respondents", "; ".join(uncovered)
        notes.append(f"{left} fit no category of the quotas ({why}) and could not be drawn.")
    if len(distinct) < 0.8 * size:
        fell = f"The {size:,} draws fell on {len(distinct):,} different respondents"
        notes.append(f"{fell}, which count as {effective:,.0f}: few profiles speak for many.")
    return PersonaSample(personas, times / size, source, tuple(notes))


def rake(members: Members, quotas: Quotas) -> Floats:
    """[N] weights summing to 1 under which the margins are the quotas; 0 for who is in no category of a field. Raises
    :class:`DataError` where the quotas cannot be met together."""
    weights = np.all([inside.any(axis=0) for inside in members.values()], axis=0).astype(np.float64)
    if not weights.any():
        raise DataError(f"population.quotas: no training respondent has all of {', '.join(quotas)}")
    wanted = {field: np.array([*shares.values()]) for field, shares in quotas.items()}
    misses: dict[str, Floats] = {}
    for _ in range(ROUNDS):
        for field, inside in members.items():
            have = inside @ weights
            factors = np.divide(wanted[field], have, out=np.zeros_like(have), where=have > 0)
            weights = weights * (factors @ inside)
            weights = weights / weights.sum()
        misses = {field: np.abs(inside @ weights - wanted[field]) for field, inside in members.items()}
        if max(miss.max() for miss in misses.values()) < CLOSE:
            break
    field = max(misses, key=lambda name: misses[name].max())
    worst = int(misses[field].argmax())
    if misses[field][worst] > TOLERATED:
        category, reached = list(quotas[field])[worst], float(members[field][worst] @ weights)
        told = f"{field} {category!r} reaches {reached:.3f} instead of {wanted[field][worst]:.3f}"
        what = "cannot be met together by training respondents"
        raise DataError(f"population.quotas: {what}: {told}; ask for fewer or broader quotas")
    return weights


def memberships(people: pl.DataFrame, quotas: Quotas) -> Members:
    """Who belongs to each category: whose value it is, or a whole number within it (``18-29``, ``65+``). Raises
    :class:`DataError` where that is nobody, or somebody belongs to two."""
    members = {}
    for field, shares in quotas.items():
        values, inside = people[field], []
        number = values.str.strip_chars().cast(pl.Int64, strict=False)
        for category in shares:
            of = (values == category).fill_null(False)
            if match := BRACKET.fullmatch(category.strip()):
                low, high = int(match[1] or match[3]), int(match[2]) if match[2] else 10**9
                of = of | number.is_between(low, high).fill_null(False)
            if not of.any():
                answers = values.drop_nulls().unique().sort().to_list()
                known = ", ".join([*answers[:8], *["..."][: len(answers) > 8]]) or "nothing: it was not asked"
                nobody = f"no training respondent answered {category!r} (they answered {known})"
                raise DataError(f"population.quotas.{field}: {nobody}")
            inside.append(of.to_numpy())
        overlap = np.sum(inside, axis=0) > 1
        if overlap.any():
            both = values[int(overlap.argmax())]
            raise DataError(f"population.quotas.{field}: {both!r} is in two categories; make them apart")
        members[field] = np.array(inside, dtype=np.bool_)
    return members

"""Which rows of the data are used: a seeded choice that depends on what a row is, not on where it lies.

Each row (or respondent) gets a number from the seed and its key alone, and those with the smallest
numbers are taken. The choice is therefore the same for any order of rows and any layout of files, on
any version of any library, and a smaller fraction is a subset of a larger one.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.survey.tables import CELL

By = Literal["rows", "participants", "cell"]
KEYS = [*CELL, "sample_id", "participant"]


def choose(
    table: pl.DataFrame, fraction: float, by: By, seed: int, max_per_cell: int | None = None
) -> pl.Series:
    """Which rows are used, as booleans in the order of ``table``.

    Args:
        table: the columns ``KEYS``, with ``(study_id, sample_id)`` unique.
        fraction: in (0, 1]; counts are rounded to the nearest, halves to even.
        by: ``rows`` takes ``round(fraction * rows)`` rows. ``participants`` takes so many
            respondents, each with all their rows. ``cell`` takes so many respondents of every cell
            (study, condition, question), at least one and at most ``max_per_cell``, each with all
            their rows there; a respondent who answers in several cells is early or late in all.

    Raises:
        DataError: nothing would be left.
    """
    unit, number = {
        "rows": (["study_id", "sample_id"], "sample_id"),
        "participants": (["study_id", "participant"], "participant"),
        "cell": ([*CELL, "participant"], "participant"),
    }[by]
    units = table.select(unit).unique()
    units = units.with_columns(hash=hash_keys(seed, units["study_id"], units[number])).sort("hash", *unit)
    rank, quota = pl.int_range(pl.len()), (pl.len() * fraction).round(0, mode="half_to_even")
    taken = (rank < quota.clip(1, max_per_cell)).over(CELL) if by == "cell" else rank < quota
    chosen = units.filter(taken)
    if chosen.is_empty():
        raise DataError(f"sample.fraction {fraction}: nothing of {table.height} rows would be left; raise it")
    marked = table.join(chosen.with_columns(chosen=True), on=unit, how="left", maintain_order="left")
    return marked["chosen"].fill_null(False)


def hash_keys(seed: int, study: pl.Series, number: pl.Series) -> np.ndarray:
    """One uniform 64-bit number per (seed, study, number): ``[rows]``, uint64.

    The study's text goes through BLAKE2b keyed with the seed, the number through SplitMix64 (Steele,
    Lea and Flood 2014, doi 10.1145/2660193.2660195), which is a bijection: within a study no two
    numbers collide.
    """
    names = study.unique().sort()
    digests = np.array(
        [int.from_bytes(digest(seed, name), "little") for name in names.to_list()], dtype=np.uint64
    )
    of_row = digests[study.cast(pl.Enum(names)).to_physical().to_numpy()]
    return _splitmix64(of_row ^ _splitmix64(number.to_numpy().astype(np.uint64)))


def digest(seed: int, name: str) -> bytes:
    """Eight bytes that depend on ``seed`` and ``name`` alone."""
    return hashlib.blake2b(name.encode(), digest_size=8, key=str(seed).encode()).digest()


def _splitmix64(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))

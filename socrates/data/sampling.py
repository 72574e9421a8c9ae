"""Which rows of the data are used: a seeded choice that depends on what a row is, not on where it lies.

Each row (or respondent) gets a number from the seed and its key alone, and those with the smallest numbers are taken:
the same for any order of rows, layout of files and version of a library; a smaller fraction is a subset of a larger.
"""

import hashlib
from typing import Literal

import numpy as np
import polars as pl

from socrates.core.errors import DataError
from socrates.survey.tables import CELL

By = Literal["rows", "participants", "cell"]
KEYS = [*CELL, "sample_id", "participant"]
# By these in turn the people of a cell are spread.
SPREAD = ("ideology", "party_id", "gender", "education", "age")


def choose(
    table: pl.DataFrame, fraction: float, by: By, seed: int, max_per_cell: int | None = None
) -> pl.Series:
    """Which rows are used, as booleans in the order of ``table``.

    Args:
        table: the columns ``KEYS``, with ``(study_id, sample_id)`` unique; for ``cell`` also ``demographic``.
        fraction: in (0, 1], of rows; of ``participants``, each with all their rows; of the respondents of every
            ``cell`` (study, condition, question), at least one and at most ``max_per_cell``, each with all their rows
            there, spread over :data:`SPREAD`. Counts are rounded to the nearest, halves to even.
    """
    number = "sample_id" if by == "rows" else "participant"
    unit = [*(CELL if by == "cell" else ["study_id"]), number]
    people = [pl.col("demographic").struct.field(name).min() for name in SPREAD] if by == "cell" else []
    units = table.group_by(unit).agg(people)
    units = units.with_columns(hash=hash_keys(seed, units["study_id"], units[number])).sort("hash", *unit)
    rank, quota = pl.int_range(pl.len()), (pl.len() * fraction).round(0, mode="half_to_even")
    if by == "cell":
        chosen = _spread(units, seed).filter((rank < quota.clip(1, max_per_cell)).over(CELL))
    else:
        chosen = units.filter(rank < quota)
    if chosen.is_empty():
        raise DataError(f"sample.fraction {fraction}: nothing of {table.height} rows would be left; raise it")
    marked = table.join(chosen.with_columns(chosen=True), on=unit, how="left", maintain_order="left")
    return marked["chosen"].fill_null(False)


def _spread(units: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The respondents of each cell in an order of which every beginning is spread over their demographics.

    They stand in a circle, sorted by :data:`SPREAD` and then by hash, and are taken at the points 0, 1/2, 1/4, 3/4,
    1/8, ... of it (van der Corput 1935), turned by an angle that the seed gives each study. People who are alike are
    neighbours, so that the first k come from k different arcs of nearly equal length.
    """
    place = pl.int_range(pl.len()).over(CELL) / pl.len().over(CELL)
    units = units.sort(*CELL, *SPREAD, "hash").with_columns(place=place)
    turn = hash_keys(seed, units["study_id"], pl.zeros(units.height, pl.Int64, eager=True)) / 2.0**64
    point = ((units["place"].to_numpy() + turn) % 1 * 2**16).astype(">u2")
    bits = np.unpackbits(point.view(np.uint8).reshape(-1, 2), axis=1)[:, ::-1]
    reversed_bits = np.packbits(bits, axis=1).view(">u2").ravel().astype(np.int64)
    return units.with_columns(point=reversed_bits).sort("point", "hash")


def hash_keys(seed: int, study: pl.Series, number: pl.Series) -> np.ndarray:
    """One uniform 64-bit number per (seed, study, number): ``[rows]``, uint64.

    The study's text goes through BLAKE2b keyed with the seed, the number through SplitMix64 (Steele, Lea and Flood
    2014, doi 10.1145/2660193.2660195), which is a bijection: within a study no two numbers collide.
    """
    names = study.unique().sort()
    digests = np.array([int.from_bytes(digest(seed, name), "little") for name in names], dtype=np.uint64)
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

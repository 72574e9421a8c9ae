"""From raw rows to the canonical table: types made equal, unusable rows set aside with a reason."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from socrates.core.errors import DataError
from socrates.data.studies import sort_rows
from socrates.survey.personas import LABELS, MISSING, MISSING_FIELD
from socrates.survey.tables import CELL, DEMOGRAPHICS, RESPONSES

# Why a row cannot be used: the first of these columns that is null. ``answer`` and ``condition`` are as they are given.
NEEDED = {
    "missing_study": "study_id",
    "missing_sample_id": "sample_id",
    "missing_participant": "participant",
    "missing_condition": "condition",
    "condition_not_integer": "condition_num",
    "empty_scenario": "stimuli",
    "missing_task": "task_num",
    "missing_answer": "answer",
    "answer_not_integer": "response",
    "unreadable_persona": "persona",  # demographics are given, and none of them is known
}
ADVICE = {
    "condition_not_integer": "condition_num is a number: code the conditions 0, 1, 2 ...",
    "answer_not_integer": "an answer is a whole number: code words as 1, 2, 3 ...",
    "unreadable_persona": f"demographic fields are {', '.join(DEMOGRAPHICS)}",
}
SUSPECT = "in_suspect_cell"  # its other answers are outside their scale: its numbers may mean something else
FEWEST_OUTSIDE = 2  # one slip does not make a cell suspect
REJECTS = {
    "file": pl.String,
    "row": pl.UInt32,  # 1 is the first row of a parquet or CSV file, or a JSONL file's first line
    "study_id": pl.String,
    "sample_id": pl.Int64,
    "answer": pl.String,
    "reason": pl.String,
}
WHOLE_NUMBER = r"^\+?(-?\d{1,18})(?:\.0*)?$"
KEY = ["study_id", "sample_id"]


@dataclass(frozen=True)
class Source:
    """Something responses can be read from.

    A raw table has the columns of ``RESPONSES``; identifiers and answers may be integers, floats or text. Two more are
    optional: ``line``, the row's number in the file, and ``unknown_labels``, demographic labels that are not known.
    """

    tables: Iterator[tuple[str, pl.DataFrame]]  # file and its raw table, in the order of the names
    about: dict[str, Any]  # what the manifest says of the source (revision, file hashes ...)
    mappings: dict[str, Path] = field(default_factory=dict)  # the dataset's own split files, by name


@dataclass(frozen=True)
class Cleaned:
    """The usable rows (``RESPONSES``, sorted), the others (``REJECTS``), and what was not understood."""

    responses: pl.DataFrame
    rejects: pl.DataFrame
    unknown_demographics: Counter[str]  # field or label -> rows that gave it a value
    suspect: pl.DataFrame  # CELL: where too many answers are outside the stated scale

    @property
    def rows(self) -> int:
        return self.responses.height + self.rejects.height

    @property
    def rejected(self) -> dict[str, int]:
        """Rows set aside, by reason."""
        return dict(self.rejects["reason"].value_counts().sort("reason").iter_rows())


def clean(
    tables: Iterable[tuple[str, pl.DataFrame]],
    conforms: Callable[[pl.DataFrame], pl.Series],
    max_rejected_in_cell: float = 1.0,
) -> Cleaned:
    """The canonical table of raw tables (:class:`Source`), whatever order their rows and files are in.

    Args:
        conforms: for a canonical table, whether each row's answer is one that its own text allows
            (:func:`socrates.data.scales.resolve.conforms`).
        max_rejected_in_cell: share of a cell's answers outside its scale from which the others are set aside too.
    """
    unknown: Counter[str] = Counter()
    rows = pl.concat([_typed(name, table, unknown) for name, table in tables], rechunk=False)
    unusable = pl.col("reason").is_not_null()
    usable, rejects = rows.filter(~unusable), [rows.filter(unusable)]

    def set_aside(reason: str, failed: pl.Series) -> None:
        nonlocal usable
        rejects.append(usable.filter(failed).with_columns(reason=pl.lit(reason)))
        usable = usable.filter(~failed)

    repeated = usable.filter(usable.select(KEY).is_duplicated())
    versions = repeated.select(*RESPONSES).unique().select(KEY)
    differing = versions.filter(versions.is_duplicated()).unique().with_columns(bad=True)
    bad = usable.select(KEY).join(differing, on=KEY, how="left", maintain_order="left")["bad"]
    set_aside("conflicting_key", bad.fill_null(False))  # they differ under one key: none can be trusted
    set_aside("repeated_row", ~usable.select(pl.struct(KEY).is_first_distinct()).to_series())
    set_aside("outside_stated_scale", ~conforms(usable.select(*RESPONSES)))
    cells = pl.concat([usable, rejects[-1]]).group_by(CELL).agg(pl.len(), outside=unusable.sum())
    most = pl.max_horizontal(max_rejected_in_cell * pl.col("len"), FEWEST_OUTSIDE)
    suspect = cells.filter(pl.col("outside") >= most).select(CELL).sort(CELL)
    set_aside(SUSPECT, usable.select(pl.struct(CELL).is_in(suspect.to_struct().implode())).to_series())
    return Cleaned(
        responses=sort_rows(usable.select(*RESPONSES)),
        rejects=pl.concat(rejects).select(*REJECTS).sort("file", "row"),
        unknown_demographics=unknown,
        suspect=suspect,
    )


def _typed(name: str, table: pl.DataFrame, unknown: Counter[str]) -> pl.DataFrame:
    """One raw table in canonical types, with ``file``, ``row``, ``answer`` (as given) and ``reason``."""
    demographic, unread = _demographic(name, table["demographic"], unknown)
    if "unknown_labels" in table.columns:
        unknown.update(table["unknown_labels"].explode(empty_as_null=False, keep_nulls=False).to_list())
        unread |= table["unknown_labels"].list.len() > 0
    nobody = demographic.struct.unnest().select(pl.all_horizontal(pl.all().is_null())).to_series()
    table = table.with_columns(
        *(_whole(name, table[column]) for column, kind in RESPONSES.items() if kind == pl.Int64),
        demographic,
        _text(name, table["study_id"]).str.strip_chars(),
        _text(name, table["stimuli"]),
        condition=_text(name, table["condition_num"]),
        answer=_text(name, table["response"], MISSING).str.strip_chars(),
        file=pl.lit(name),
        row=(pl.col("line") if "line" in table.columns else pl.int_range(1, pl.len() + 1)).cast(pl.UInt32),
        persona=pl.when(~(unread & nobody)).then(True),
    )
    reason = pl.coalesce(
        pl.when(pl.col(needed).is_null()).then(pl.lit(reason)) for reason, needed in NEEDED.items()
    )
    return table.select(*RESPONSES, "file", "row", "answer", reason=reason)


def _whole(name: str, column: pl.Series) -> pl.Series:
    """Whole numbers as Int64; what is none becomes null. 3.0 and "3" are whole, 3.5 is not."""
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if not (column.dtype.is_numeric() or column.dtype in (pl.String, pl.Null)):
        raise DataError(f"{name}: column {column.name} is {column.dtype}, not a whole number")
    return column.cast(pl.String).str.strip_chars().str.extract(WHOLE_NUMBER).cast(pl.Int64)


def _text(name: str, column: pl.Series, missing: str = r"^\s*$") -> pl.Series:
    """Text, null where it is ``missing``; a whole number that missing neighbours made a float loses its ``.0``."""
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise DataError(f"{name}: column {column.name} is {column.dtype}, not text or a number")
    text = column.cast(pl.String)
    if column.dtype.is_float():
        text = text.str.replace(r"\.0$", "")
    return text.set(text.str.contains(missing).fill_null(False), None)


def _demographic(name: str, column: pl.Series, unknown: Counter[str]) -> tuple[pl.Series, pl.Series]:
    """The demographic struct with exactly the known fields, as text; and whether a row gives a field not known."""
    if column.dtype == pl.Null:
        return column.cast(RESPONSES["demographic"]), column.is_not_null()
    if not isinstance(column.dtype, pl.Struct):
        raise DataError(
            f"{name}: column demographic is {column.dtype}, not a struct of {', '.join(DEMOGRAPHICS)}"
        )
    empty = pl.Series([None] * len(column), dtype=pl.String)
    known, unread = dict.fromkeys(DEMOGRAPHICS, empty), empty.is_not_null()
    for given in sorted(column.struct.unnest(), key=lambda one: (one.name not in DEMOGRAPHICS, one.name)):
        text = _text(name, given, MISSING_FIELD)
        known_as = LABELS.get(given.name.lower())
        if known_as and known[known_as] is empty:
            known[known_as] = text
        elif count := text.count():
            unknown[given.name] += count
            unread |= text.is_not_null()
    return pl.DataFrame(known).to_struct("demographic"), unread

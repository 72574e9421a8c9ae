"""From raw rows to the canonical table: types made equal, unusable rows set aside with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from socrates.core.errors import DataError
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES, sort_rows

# Why a row cannot be used, in the order the checks are made: a row has the first that holds.
REASONS = (
    "missing_study",
    "missing_sample_id",
    "missing_participant",
    "missing_condition",
    "empty_scenario",
    "missing_task",
    "missing_answer",
    "answer_not_integer",
    "repeated_row",  # an exact copy of a row that is kept
    "conflicting_key",  # rows that differ under one (study_id, sample_id): none can be trusted
    "outside_stated_scale",
)
REJECTS = {
    "file": pl.String,
    "row": pl.UInt32,  # 1 is a parquet file's first row, or a JSONL file's first line
    "study_id": pl.String,
    "sample_id": pl.Int64,
    "answer": pl.String,
    "reason": pl.String,
}
WHOLE_NUMBER = r"^[+-]?\d{1,18}(\.0*)?$"
KEY = ["study_id", "sample_id"]


@dataclass(frozen=True)
class Cleaned:
    """The usable rows (``RESPONSES``, sorted), the others (``REJECTS``), and what was not understood."""

    responses: pl.DataFrame
    rejects: pl.DataFrame
    unknown_demographics: Counter[str]  # field or label -> rows that gave it a value

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self.responses.height + self.rejects.height

    @property
    def rejected(self) -> dict[str, int]:
        """Rows set aside, by reason, in the order of ``REASONS``."""
        counts = dict(self.rejects["reason"].value_counts().iter_rows())
        return {reason: counts[reason] for reason in REASONS if reason in counts}


def clean(
    tables: Iterable[tuple[str, pl.DataFrame]],
    conforms: Callable[[pl.DataFrame], pl.Series],
) -> Cleaned:
    """The canonical table of raw tables, whatever order their rows and files are in.

    Args:
        tables: (file name, raw table); see :class:`socrates.data.sources.Source`.
        conforms: for a canonical table, whether each row's answer is one that its own text allows:
            :func:`socrates.data.scales.resolve.conforms`.

    Raises:
        DataError: a column is missing or of a type that cannot hold its values.
    """
    unknown: Counter[str] = Counter()
    typed = [_typed(name, table, unknown) for name, table in tables]
    if not typed:
        raise DataError("the source holds no files: nothing to read")
    rows = pl.concat(typed, rechunk=False)
    del typed
    rows = _reject_repeated_keys(rows)
    usable = rows["reason"].is_null()
    flagged = usable.arg_true().filter(~conforms(rows.filter(usable).select(*RESPONSES)))
    if flagged.len():
        position = pl.int_range(pl.len(), dtype=pl.UInt32)
        rows = rows.with_columns(
            reason=pl.when(position.is_in(flagged.implode()))
            .then(pl.lit("outside_stated_scale"))
            .otherwise("reason")
        )
    return Cleaned(
        responses=sort_rows(rows.filter(pl.col("reason").is_null()).select(*RESPONSES)),
        rejects=rows.filter(pl.col("reason").is_not_null()).select(*REJECTS).sort("file", "row"),
        unknown_demographics=unknown,
    )


def _typed(name: str, table: pl.DataFrame, unknown: Counter[str]) -> pl.DataFrame:
    """One raw table in canonical types, with ``file``, ``row``, ``answer`` (as given) and ``reason``."""
    missing = [column for column in RESPONSES if column not in table.columns]
    if missing:
        raise DataError(f"{name}: column {', '.join(missing)} missing; found {', '.join(table.columns)}")
    demographic = _demographic(name, table["demographic"], unknown)
    table = table.with_columns(
        *(
            _whole(name, table[column])
            for column in ("sample_id", "participant", "condition_num", "task_num")
        ),
        _whole(name, table["response"]),
        demographic,
        _text(name, table["study_id"]).str.strip_chars().replace("", None),
        _text(name, table["stimuli"]),
        answer=table["response"].cast(pl.String).str.strip_chars(),
        file=pl.lit(name),
        row=pl.int_range(1, pl.len() + 1, dtype=pl.UInt32),
    )
    if "line" in table.columns:
        table = table.with_columns(row=pl.col("line").cast(pl.UInt32))
    if "unknown_labels" in table.columns:
        unknown.update(table["unknown_labels"].explode(empty_as_null=False, keep_nulls=False).to_list())
    checks = {
        "missing_study": pl.col("study_id").is_null(),
        "missing_sample_id": pl.col("sample_id").is_null(),
        "missing_participant": pl.col("participant").is_null(),
        "missing_condition": pl.col("condition_num").is_null(),
        "empty_scenario": pl.col("stimuli").is_null() | ~pl.col("stimuli").str.contains(r"\S"),
        "missing_task": pl.col("task_num").is_null(),
        "missing_answer": pl.col("answer").is_null() | (pl.col("answer") == ""),
        "answer_not_integer": pl.col("response").is_null(),
    }
    reason = pl.coalesce(pl.when(failed).then(pl.lit(reason)) for reason, failed in checks.items())
    return table.select(*RESPONSES, "file", "row", "answer", reason=reason)


def _whole(name: str, column: pl.Series) -> pl.Series:
    """Whole numbers as Int64; what is none becomes null. 3.0 and "3" are whole, 3.5 is not."""
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if column.dtype.is_float():
        limit = 2.0**53  # beyond it a float no longer tells neighbouring integers apart
        whole = (column == column.floor()) & (column.abs() <= limit)
        return column.set(~whole.fill_null(False), None).cast(pl.Int64)
    if column.dtype == pl.Null:
        return column.cast(pl.Int64)
    if column.dtype == pl.String:
        stripped = column.str.strip_chars()
        digits = stripped.set(~stripped.str.contains(WHOLE_NUMBER).fill_null(False), None)
        return digits.str.strip_chars_start("+").str.replace(r"\..*$", "").cast(pl.Int64)
    raise DataError(f"{name}: column {column.name} is {column.dtype}, not a whole number")


def _text(name: str, column: pl.Series) -> pl.Series:
    if column.dtype in (pl.String, pl.Null, pl.Categorical, pl.Enum) or column.dtype.is_integer():
        return column.cast(pl.String)
    raise DataError(f"{name}: column {column.name} is {column.dtype}, not text")


def _demographic(name: str, column: pl.Series, unknown: Counter[str]) -> pl.Series:
    """The demographic struct with exactly the known fields, as text; blank is null."""
    if column.dtype == pl.Null:
        return column.cast(RESPONSES["demographic"])
    if not isinstance(column.dtype, pl.Struct):
        raise DataError(
            f"{name}: column demographic is {column.dtype}, not a struct of {', '.join(DEMOGRAPHICS)}"
        )
    given = column.struct.unnest()
    for field in sorted(set(given.columns) - set(DEMOGRAPHICS)):
        unknown[field] += given.height - given[field].null_count()
    fields = []
    for field in DEMOGRAPHICS:
        values = given[field] if field in given.columns else pl.Series(field, [None] * given.height)
        if values.dtype.is_float():  # 76.0: an integer that had missing neighbours
            whole = _whole(name, values)
            values = whole.cast(pl.String).fill_null(values.cast(pl.String))
        elif values.dtype.is_nested():
            raise DataError(f"{name}: demographic field {field} is {values.dtype}, not text or a number")
        values = values.cast(pl.String)
        fields.append(values.set((values.str.strip_chars() == "").fill_null(False), None))
    return pl.DataFrame(fields).to_struct("demographic")


def _reject_repeated_keys(rows: pl.DataFrame) -> pl.DataFrame:
    """Keep one of identical rows; keep none of rows that contradict each other under one key."""
    usable = rows["reason"].is_null()
    repeated = rows.select(*KEY).is_duplicated() & usable
    if not repeated.any():
        return rows
    position = pl.int_range(pl.len(), dtype=pl.UInt32).alias("position")
    group = rows.with_columns(position).filter(repeated)
    distinct = group.select(*RESPONSES).unique().group_by(KEY).len("versions")
    group = group.join(distinct, on=KEY, how="left").with_columns(
        first=pl.col("position") == pl.col("position").min().over(KEY)
    )
    verdict = group.select(
        "position",
        verdict=pl.when(pl.col("versions") > 1)
        .then(pl.lit("conflicting_key"))
        .when(~pl.col("first"))
        .then(pl.lit("repeated_row")),
    )
    return (
        rows.with_columns(position)
        .join(verdict, on="position", how="left", maintain_order="left")
        .with_columns(reason=pl.coalesce("reason", "verdict"))
        .drop("position", "verdict")
    )

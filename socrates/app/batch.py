"""Many questions from a file, many answers to a file.

A row has a ``scenario``, a persona as ``demographics`` ("Age: 30; Gender: Female") or as columns named like its fields
(``age``, ``Gender``), and where the scenario states no scale, a ``scale`` ("1-7"). Other columns are carried along.
Every row comes back, in its order: one that cannot be asked with its reason in ``problem``.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from socrates.app.answers import Answer
from socrates.app.model_ref import ModelRef, TrainingSupport
from socrates.app.parse import QUESTIONS, Question, parse_demographics, parse_question
from socrates.app.row_files import check_kind, check_output, column_texts, read_rows, write_rows
from socrates.core.errors import DataError
from socrates.core.files import Schema
from socrates.survey.personas import LABELS, persona_fields
from socrates.survey.tables import DEMOGRAPHICS

if TYPE_CHECKING:
    from socrates.app.model import OpenModel

READ = {name: name for name in ("scenario", "scale", "demographics")}  # columns, in any case
READ |= {"stimuli": "scenario", "demographic": "demographics"}  # the names of SocSci210
GIVEN: Schema = {
    "probabilities": pl.List(pl.Float64), "expected": pl.Float64, "middle_80_low": pl.Int64,
    "middle_80_high": pl.Int64, "format_validity": pl.Float64,
}  # fmt: skip
TEXTS = pl.List(pl.String)
ASKED: Schema = {**QUESTIONS, "notes": TEXTS, "problem": pl.String}
TOO_LONG = "scenario: longer than the model reads"


def read_table(path: Path) -> pl.DataFrame:
    """The rows of a file with a scenario each. Raises :class:`DataError` as :func:`read_rows` does, without a column
    scenario, and for a column that the answers use or cannot carry."""
    table = read_rows(path, "--input")
    names = {name: READ[known] for name in table.columns if (known := name.strip().lower()) in READ}
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise DataError(f"{path}: two columns are read as {twice[0]}; rename one")
    table = table.rename(names)
    if "scenario" not in table.columns:
        raise DataError(f"{path}: no column scenario; found {', '.join(table.columns)[:200]}")
    if taken := sorted({*GIVEN, "notes", "problem"} & set(table.columns)):
        raise DataError(f"{path}: column {', '.join(taken)} is what the answers are called; rename it")
    for name, kind in table.schema.items():
        if re.search("Binary|Object|Duration", str(kind)):
            raise DataError(f"{path}: column {name} is {kind}, which no answers can carry along; remove it")
    return table


def read_batch(
    path: Path, table: pl.DataFrame, given_scale: str | None, support: TrainingSupport | None
) -> tuple[pl.DataFrame, str]:
    """The questions of a table that was read from ``path``, and what their personas were read from. A question for each
    row: ``QUESTIONS`` (null where it cannot be asked), ``notes`` on its reading and the training range, and the
    ``problem`` with it. Raises :class:`DataError` where no row can be asked."""

    @functools.cache
    def read_question(scenario: str, on: str | None) -> tuple[Question, list[str]]:
        question = parse_question(scenario, on)
        return question, [*question.notes, *(support.of_question(question) if support else [])]

    scales = column_texts(table, "scale", path) if "scale" in table.columns else [""] * len(table)
    known: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    rows: list[tuple[Any, ...]] = []
    given = zip(_personas(table, path), column_texts(table, "scenario", path), scales, strict=True)
    for who, scenario, own_scale in given:
        try:
            persona = parse_demographics(who)
            if persona.unknown and not persona.fields:
                raise DataError(f"demographics: no field of {', '.join(persona.unknown)} is known")
            question, remarks = read_question(scenario, own_scale.strip() or given_scale)
        except DataError as error:
            rows.append((None, None, None, [], str(error)))
            continue
        known.update(persona.fields.keys())
        unknown.update(persona.unknown.keys())
        notes = [*(support.of_persona(persona) if support else []), *remarks]
        rows.append((persona.text, question.stimuli, question.scale.notation, notes, None))
    asked = pl.DataFrame(rows, ASKED, orient="row")
    if not (count := asked["problem"].null_count()):
        first = asked["problem"][0]
        raise DataError(f"{path}: none of {len(table):,} rows can be asked; the first: {first}")
    beside = [name for name in table.columns if name not in READ and name.strip().lower() not in LABELS]
    read_from = persona_fields({name: known[name] for name in DEMOGRAPHICS if known[name]}, unknown, count)
    return asked, read_from + (f"; columns not read: {', '.join(beside)}" if beside else "")


def _personas(table: pl.DataFrame, path: Path) -> Sequence[str | Mapping[str, str]]:
    """Each row's persona as it was given: a text, or value by label."""
    people = table.select(name for name in table.columns if name.strip().lower() in LABELS)
    if "demographics" in table.columns:
        if not isinstance(table.schema["demographics"], pl.Struct):
            return column_texts(table, "demographics", path)
        people = table["demographics"].struct.unnest()
    fields = {name: column_texts(people, name, path) for name in people.columns}
    return [{name: values[row] for name, values in fields.items()} for row in range(len(table))]


def answer_file(
    source: Path, output: Path, ref: ModelRef, opened: Callable[[], OpenModel], given_scale: str | None = None
) -> dict[str, Any]:
    """Ask every question of a file, write the answers to ``output``, and return the counts. Answers lie in the scratch
    folder until the output is whole, so a killed run goes on where it was. ``opened`` loads the model of ``ref``, when
    the file was read; ``given_scale`` is for rows without one. Raises :class:`DataError` where the questions cannot be
    read, or the output cannot be written."""
    check_kind(output, "--output")
    check_output(output, source)
    table = read_table(source)
    asked, read_from = read_batch(source, table, given_scale, ref.support)
    model = opened()
    from socrates.app.model import ask_in_shards  # torch, which files that cannot be used need not wait for

    asked = asked.with_row_index("position")
    fits = asked.filter(pl.col("problem").is_null())
    long = model.too_long(fits)
    too_long = pl.col("position").is_in(fits.filter(long)["position"].implode())
    asked = asked.with_columns(problem=pl.when(too_long).then(pl.lit(TOO_LONG)).otherwise("problem"))
    fits = fits.filter(~long)
    with contextlib.ExitStack() as folders:
        answers = Answer.of_table(ask_in_shards(model, fits.select(*QUESTIONS), folders))
        rows = [(a.probabilities, a.expected, *a.interval(), a.format_validity, a.doubts) for a in answers]
        given = pl.DataFrame(rows, {**GIVEN, "doubts": TEXTS}, orient="row").with_columns(fits["position"])
        notes = pl.col("notes").list.concat(pl.col("doubts").fill_null([])).list.join("; ")
        told = asked.join(given, on="position", how="left").sort("position")
        told = told.with_columns(notes=pl.when(notes != "").then(notes))
        beside = table.drop("scale", strict=False)
        write_rows(output, beside.hstack(told.select("scale", *GIVEN, "notes", "problem")))
    return {
        "output": str(output),
        "rows": len(asked),
        "answered": len(fits),
        "persona": read_from,
        "with_notes": told.filter(pl.col("problem").is_null())["notes"].count(),
        "first_problem": asked["problem"].drop_nulls().first(),
        "format_validity": round(float(given["format_validity"].mean() or 0), 6),  # type: ignore[arg-type]
        "model": str(model),
        "notes": ref.cautions,
    }

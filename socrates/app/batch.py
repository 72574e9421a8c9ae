"""Many questions from a file, many answers to a file.

A row has a ``scenario`` (or ``stimuli``), a persona as ``demographics`` ("Age: 30; Gender: Female") or as
columns named like its fields (``age``, ``Gender``), and where the scenario states no scale, a ``scale``
("1-7"). Other columns are carried along. Every row comes back, in its order: one that cannot be asked
with its reason in ``problem``.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from socrates.app.answers import TEMPERATURE, TOP_P, Answer
from socrates.app.model_ref import ModelRef
from socrates.app.parse import QUESTIONS, Question, parse_demographics, parse_question
from socrates.app.row_files import check_kind, check_output, column_missing, read_rows, write_rows
from socrates.app.training_support import TrainingSupport
from socrates.core.errors import DataError
from socrates.core.files import Schema
from socrates.survey.personas import LABELS, persona_fields
from socrates.survey.tables import DEMOGRAPHICS

if TYPE_CHECKING:
    from socrates.app.model import OpenModel

OUT = ["scale", "probabilities", "expected", "middle_80_low", "middle_80_high", "format_validity"]
TAKEN = re.compile(rf"(base_)?({'|'.join(OUT[1:])})|samples|notes|problem")  # what the answers are called
READ = ("scenario", "stimuli", "scale", "demographics", "demographic")  # columns, in any case
ASKED: Schema = {**QUESTIONS, "notes": pl.List(pl.String), "problem": pl.String}
TOO_LONG = "scenario: longer than the model reads"
PROBLEM_KINDS = {  # words of a problem -> how it is counted
    "is empty": "empty scenario",
    "understood": "no scale",
    "characters": "too long",
    "no field": "unreadable demographics",
    "longer than": "too long",
}


@dataclass(frozen=True)
class QuestionFile:
    """The rows of a file as questions.

    Attributes:
        table: the file's rows.
        asked: a row for each: ``QUESTIONS`` (null where it cannot be asked), ``notes`` on its reading and the training
            range, and the ``problem`` with it.
        read_from: what personas were read from, what of them was not understood, and columns that were not read.
    """

    table: pl.DataFrame
    asked: pl.DataFrame
    read_from: str


def read_table(path: Path) -> pl.DataFrame:
    """The rows of a file with a scenario each.

    Raises:
        DataError: see :func:`read_rows`; it has no scenario column, or a column that the answers use.
    """
    table = read_rows(path, "--input")
    names = {name: name.strip().lower() for name in table.columns if name.strip().lower() in READ}
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise DataError(f"{path}: two columns are called {twice[0]}; rename one")
    table = table.rename(names)
    if "scenario" not in table.columns:
        table = table.rename({"stimuli": "scenario"}, strict=False)
    if "scenario" not in table.columns:
        raise column_missing(path, table, "no column scenario")
    if taken := sorted(filter(TAKEN.fullmatch, table.columns)):
        raise DataError(f"{path}: column {', '.join(taken)} is what the answers are called; rename it")
    if held := [
        name for name, kind in table.schema.items() if re.search("Binary|Object|Duration", str(kind))
    ]:
        told = f"column {held[0]} is {table.schema[held[0]]}, which no answers can carry along; remove it"
        raise DataError(f"{path}: {told}")
    return table


def read_batch(path: Path, given_scale: str | None, support: TrainingSupport | None) -> QuestionFile:
    """The questions of a file; each distinct scenario is parsed once.

    Args:
        given_scale: for rows without a scale of their own.
        support: what training covered, for the notes.

    Raises:
        DataError: see :func:`read_table`; or no row can be asked.
    """

    @functools.cache
    def read_question(scenario: str, on: str | None) -> tuple[Question, list[str]]:
        question = parse_question(scenario, on)
        return question, [*question.notes, *(support.of_question(question) if support else [])]

    table = read_table(path)
    scales = _texts(table, "scale", path) if "scale" in table.columns else [""] * len(table)
    given = zip(_personas(table, path), _texts(table, "scenario", path), scales, strict=True)
    known: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    rows: list[tuple[Any, ...]] = []
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
    fields = {field: known[field] for field in DEMOGRAPHICS if known[field]}
    read_from = persona_fields(fields, unknown, count)
    read_from += f"; columns not read: {', '.join(beside)}" if beside else ""
    return QuestionFile(table, asked, read_from)


def _texts(table: pl.DataFrame, name: str, path: Path) -> list[str]:
    """A column as text, "" where it is null. Raises :class:`DataError` where it holds lists or objects."""
    if table.schema[name].is_nested():
        raise DataError(f"{path}: column {name} holds lists or objects; give a text in each row")
    return table[name].cast(pl.String).fill_null("").to_list()


def _personas(table: pl.DataFrame, path: Path) -> Sequence[str | Mapping[str, str]]:
    """Each row's persona as it was given: a text, or value by label."""
    given = next((name for name in ("demographics", "demographic") if name in table.columns), None)
    if given and not isinstance(table.schema[given], pl.Struct):
        return _texts(table, given, path)
    columns = [name for name in table.columns if name.strip().lower() in LABELS]
    people = table[given].struct.unnest() if given else table.select(columns)
    fields = [_texts(people, name, path) for name in people.columns]
    rows = zip(*fields, strict=True)
    return [dict(zip(people.columns, row, strict=True)) for row in rows] or [{}] * len(table)


def answer_file(
    source: Path,
    output: Path,
    ref: ModelRef,
    opened: Callable[[], dict[str, OpenModel]],
    given_scale: str | None = None,
    samples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Ask every question of a file, write the answers to ``output``, and return the counts.

    Answers lie in the scratch folder until the output is whole, so a killed run goes on where it was.

    Args:
        ref: the first of the models.
        opened: loads the models, by the prefix of their columns, the first without one; called when the file was read.
        given_scale: for rows without a scale of their own.
        samples: answers to draw for each row at the paper's settings.

    Raises:
        DataError: the questions cannot be read, or the output cannot be written.
    """
    check_kind(output, "--output")
    check_output(output, source)
    batch = read_batch(source, given_scale, ref.support)
    models = opened()
    rows, can_be_asked = batch.asked.with_row_index("position"), pl.col("problem").is_null()
    for model in models.values():
        fits = rows.filter(can_be_asked)
        long = pl.col("position").is_in(fits.filter(model.too_long(fits))["position"].implode())
        rows = rows.with_columns(problem=pl.when(long).then(pl.lit(TOO_LONG)).otherwise("problem"))
    fits = rows.filter(can_be_asked)
    with contextlib.ExitStack() as folders:
        answers, validity, resumed = _answers(fits, models, samples, seed, folders)
        remarks = rows.select("position", "notes", "problem")
        told = remarks.join(answers, on="position", how="left", maintain_order="left")
        notes = pl.col("notes").list.concat(pl.col("doubts").fill_null([])).list.join("; ")
        told = told.with_columns(notes=pl.when(notes != "").then(notes)).drop("position", "doubts")
        told = told.select(pl.exclude("notes", "problem"), "notes", "problem")
        write_rows(output, batch.table.drop("scale", strict=False).hstack(told))
    return {
        **{"output": str(output), "rows": len(rows), "answered": len(fits), "resumed": resumed},
        "persona": batch.read_from,
        "with_notes": told.filter(can_be_asked)["notes"].count(),
        "problems": dict(sorted(Counter(map(_kind, rows["problem"].drop_nulls())).items())),
        "format_validity": validity,
        "samples": {"n": samples, "temperature": TEMPERATURE, "top_p": TOP_P, "seed": seed}
        if samples
        else None,
        "models": [str(model) for model in models.values()],
        "notes": ref.cautions,
    }


def _answers(
    fits: pl.DataFrame, models: dict[str, OpenModel], samples: int, seed: int, folders: contextlib.ExitStack
) -> tuple[pl.DataFrame, dict[str, float], int]:
    """``position``, the columns ``OUT`` of every model, and ``doubts``; format validity by model; rows done before."""
    from socrates.app.model import ask_in_shards  # torch, which files that cannot be used need not wait for

    columns: dict[str, pl.Series] = {"position": fits["position"]}
    validity, resumed = {}, 0
    for name, model in models.items():
        answered, done_before = ask_in_shards(model, fits.select(*QUESTIONS), f"predict {name}", folders)
        resumed += done_before
        validity[name] = round(float(answered["allowed_mass"].mean() or 0), 6)  # type: ignore[arg-type]
        answers = Answer.of_table(answered)
        values = _columns(answered, answers)
        if len(columns) > 1:  # the base beside the adapter
            columns |= {f"{name}_{key}": values[key] for key in OUT[1:]}
            continue
        columns |= values
        if samples:
            draws = [answer.draw(samples, seed + i) for i, answer in enumerate(answers)]
            columns["samples"] = pl.Series(draws, dtype=pl.List(pl.Int64))
        columns["doubts"] = pl.Series([answer.doubts for answer in answers], dtype=pl.List(pl.String))
    return pl.DataFrame(columns), validity, resumed


def _columns(answered: pl.DataFrame, answers: list[Answer]) -> dict[str, pl.Series]:
    intervals = np.array([answer.interval() for answer in answers], dtype=np.int64).reshape(-1, 2)
    values: list[Any] = [
        [answer.scale.notation for answer in answers],
        answered["probabilities"],
        [answer.expected for answer in answers],
        *intervals.T,
        [answer.format_validity for answer in answers],
    ]
    return {name: pl.Series(name, value) for name, value in zip(OUT, values, strict=True)}


def _kind(problem: str) -> str:
    """A problem without the text that it quotes."""
    return next((kind for words, kind in PROBLEM_KINDS.items() if words in problem), "unusable scale")

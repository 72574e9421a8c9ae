"""Many questions from a file, many answers to a file: CSV, JSON lines or parquet.

A row has a ``scenario`` (or ``stimuli``), a persona as ``demographics`` ("Age: 30; Gender: Female") or as
columns named like its fields (``age``, ``Gender``), and where the scenario states no scale, a ``scale``
("1-7"). Other columns are carried along. Every row comes back, in its order: one that cannot be asked
with its reason in ``problem``.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.errors import DataError
from socrates.files import atomic_path, write_table
from socrates.survey.sources.local import LABELS
from socrates.use.answers import TEMPERATURE, TOP_P, Answer
from socrates.use.asking import OpenModel, answers_of, ask_in_parts
from socrates.use.questions import QUESTIONS, Asked, Persona, asked, persona
from socrates.use.seen import Seen

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".csv": lambda path: pl.read_csv(path, infer_schema=False),  # all text: "007" and "1-7" are not numbers
    ".jsonl": lambda path: pl.read_ndjson(path, infer_schema_length=None),
    ".ndjson": lambda path: pl.read_ndjson(path, infer_schema_length=None),
    ".parquet": pl.read_parquet,
}
OUT = ["scale", "probabilities", "expected", "middle_80_low", "middle_80_high", "format_validity"]
ADDED = [*OUT[1:], "notes", "problem"]


@dataclass(frozen=True)
class Batch:
    """The rows of a file as questions.

    Attributes:
        table: the file's rows.
        questions: ``QUESTIONS`` and ``position``, the row in ``table``, for rows that can be asked.
        problems: why a row cannot be asked, by position.
        notes: what a row's reading or the training range calls for, by position.
    """

    table: pl.DataFrame
    questions: pl.DataFrame
    problems: dict[int, str]
    notes: dict[int, str]


def read_rows(path: Path) -> pl.DataFrame:
    """The rows of a file with questions.

    Raises:
        DataError: it is missing, unreadable, empty, has no scenario column, or a column that the answers use.
    """
    if path.suffix not in READERS:
        raise DataError(f"{path}: expected .csv, .jsonl or .parquet (--input)")
    try:
        table = READERS[path.suffix](path)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: is empty; give a header and rows with a scenario each") from None
    except FileNotFoundError:
        raise DataError(f"{path}: not found (--input)") from None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError(f"{path}: {_unreadable(path, ' '.join(str(error).split()))}") from None
    if "stimuli" in table.columns and "scenario" not in table.columns:
        table = table.rename({"stimuli": "scenario"})
    if "scenario" not in table.columns:
        raise DataError(f"{path}: no column scenario; found {', '.join(table.columns)}")
    if taken := sorted(set(table.columns) & set(ADDED)):
        raise DataError(f"{path}: column {', '.join(taken)} is what the answers are called; rename it")
    if not len(table):
        raise DataError(f"{path}: holds a header and no rows")
    return table


def _unreadable(path: Path, detail: str) -> str:
    """What is wrong with a file, in the user's words where they are known."""
    if path.is_dir():
        return "is a folder; give a file (--input)"
    if "utf-8" in detail.lower():
        return "is not UTF-8 text; save it as UTF-8"
    if "more fields than" in detail:
        return "a row has more fields than the header; put quotes around texts that hold a comma"
    return f"not readable as {path.suffix[1:]} ({detail[:200]})"


def read_batch(path: Path, given_scale: str | None, seen: Seen | None) -> Batch:
    """The questions of a file; each distinct persona and scenario is read once.

    Args:
        given_scale: for rows without a scale of their own.
        seen: what training had seen, for the notes.

    Raises:
        DataError: see :func:`read_rows`; or no row can be asked.
    """
    table = read_rows(path)
    personas: dict[Any, tuple[Persona | None, str]] = {}
    scenarios: dict[tuple[str, str | None], tuple[Asked | None, str]] = {}
    problems, notes = {}, {}
    rows: list[tuple[int, str, str, str]] = []
    described = _described(table)
    scales = table["scale"].cast(pl.String).to_list() if "scale" in table.columns else [None] * len(table)
    for position, (who, scenario, own_scale) in enumerate(
        zip(described, table["scenario"].cast(pl.String).to_list(), scales, strict=True)
    ):
        key = who if isinstance(who, str) else tuple(who.items())
        if key not in personas:
            personas[key] = _tried(persona, who)
        question = (scenario or "", (own_scale or "").strip() or given_scale)
        if question not in scenarios:
            scenarios[question] = _tried(asked, *question)
        (read, wrong), (put, unclear) = personas[key], scenarios[question]
        if read is None or put is None:
            problems[position] = wrong or unclear
            continue
        rows.append((position, read.text, put.stimuli, put.scale.notation))
        said = list(put.notes)
        if seen is not None:
            said += seen.of_persona(read) + seen.of_question(put.stimuli, put.scale)
        if said:
            notes[position] = "; ".join(said)
    if not rows:
        raise DataError(f"{path}: none of {len(table):,} rows can be asked; the first: {problems[0]}")
    questions = pl.DataFrame(rows, schema={"position": pl.Int64, **QUESTIONS}, orient="row")
    return Batch(table, questions, problems, notes)


def answer_batch(
    batch: Batch,
    models: dict[str, OpenModel],
    output: Path,
    samples: int = 0,
    seed: int = 0,
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> dict[str, Any]:
    """Ask every question of every model, write ``output``, and return the counts.

    Parts lie in ``<output>.parts`` until the output is whole, so a killed run goes on where it was.

    Args:
        models: by the prefix of their columns, the first without one.
        samples: answers to draw for each row at the paper's settings.
    """
    problems, notes, fits = dict(batch.problems), dict(batch.notes), batch.questions
    for model in models.values():
        long = model.too_long(fits)
        problems |= dict.fromkeys(
            fits.filter(long)["position"].to_list(), "scenario: longer than the model reads"
        )
        fits = fits.filter(~long)
    table = batch.table.with_row_index("position").with_columns(pl.col("position").cast(pl.Int64))
    table = table.drop("scale", strict=False)
    parts = output.with_name(output.name + ".parts")
    resumed, validity = 0, {}
    for number, (name, model) in enumerate(models.items()):
        answered, there = ask_in_parts(model, fits.select(*QUESTIONS), parts / name, progress)
        resumed += there
        answers = answers_of(answered)
        for position, answer in zip(fits["position"], answers, strict=True):
            said = [] if number else answer.doubts
            if said:
                notes[position] = "; ".join(filter(None, [notes.get(position), *said]))
        columns = _columns(answered, answers)
        if number:
            columns = {f"{name}_{key}": value for key, value in columns.items() if key != "scale"}
        elif samples:
            draws = [answer.draw(samples, seed + i) for i, answer in enumerate(answers)]
            columns["samples"] = pl.Series(draws, dtype=pl.List(pl.Int64))
        table = table.join(
            pl.DataFrame({"position": fits["position"], **columns}),
            on="position",
            how="left",
            maintain_order="left",
        )
        validity[name] = round(float(answered["allowed_mass"].mean() or 0), 6)  # type: ignore[arg-type]
    table = table.with_columns(
        pl.Series("notes", [notes.get(row) for row in range(len(table))], dtype=pl.String),
        pl.Series("problem", [problems.get(row) for row in range(len(table))], dtype=pl.String),
    ).drop("position")
    write_rows(output, table)
    shutil.rmtree(parts, ignore_errors=True)
    return {
        "output": str(output),
        "rows": len(table),
        "answered": len(fits),
        "resumed": resumed,
        "with_notes": sum(row not in problems for row in notes),
        "problems": dict(sorted(Counter(_kind(text) for text in problems.values()).items())),
        "format_validity": validity,
        "samples": {"n": samples, "temperature": TEMPERATURE, "top_p": TOP_P, "seed": seed}
        if samples
        else None,
    }


def write_rows(path: Path, table: pl.DataFrame) -> None:
    """A table as CSV (lists as numbers with spaces between), JSON lines or parquet, atomically."""
    if path.suffix in (".jsonl", ".ndjson"):
        with atomic_path(path) as partial:
            table.write_ndjson(partial)
    elif path.suffix == ".csv":
        nested = [name for name, kind in table.schema.items() if kind.is_nested()]
        write_table(path, table.with_columns(_flat(name, table.schema[name]) for name in nested))
    else:
        write_table(path, table)


def _flat(name: str, kind: pl.DataType) -> pl.Expr:
    if isinstance(kind, pl.Struct):
        return pl.col(name).struct.json_encode()
    numbers = pl.col(name).list.eval(pl.element().round(6) if kind.inner.is_float() else pl.element())  # type: ignore[attr-defined]
    return numbers.cast(pl.List(pl.String)).list.join(" ")


def _columns(answered: pl.DataFrame, answers: list[Answer]) -> dict[str, pl.Series]:
    intervals = np.array([answer.interval() for answer in answers], dtype=np.int64).reshape(-1, 2)
    values: list[Any] = [
        [answer.scale.notation for answer in answers],
        answered["probabilities"],
        [answer.expected for answer in answers],
        intervals[:, 0],
        intervals[:, 1],
        [answer.format_validity for answer in answers],
    ]
    return {name: pl.Series(name, value) for name, value in zip(OUT, values, strict=True)}


def _described(table: pl.DataFrame) -> Sequence[str | dict[str, str | None]]:
    """Each row's persona as it was given."""
    if "demographics" in table.columns:
        return table["demographics"].cast(pl.String).fill_null("").to_list()
    if isinstance(table.schema.get("demographic"), pl.Struct):
        return table["demographic"].struct.unnest().cast(pl.String).to_dicts()
    fields = [name for name in table.columns if name.lower().strip() in LABELS]
    if not fields:
        return [""] * len(table)
    return table.select(pl.col(name).cast(pl.String).alias(name.strip()) for name in fields).to_dicts()


def _tried(read: Callable[..., Any], *given: Any) -> tuple[Any, str]:
    try:
        return read(*given), ""
    except DataError as error:
        return None, str(error)


def _kind(problem: str) -> str:
    """A problem without the text that it quotes."""
    for kind in ("is empty", "understood", "characters", "no field", "longer than"):
        if kind in problem:
            return {
                "is empty": "empty scenario",
                "understood": "no scale",
                "characters": "too long",
                "no field": "unreadable demographics",
                "longer than": "too long",
            }[kind]
    return "unusable scale"

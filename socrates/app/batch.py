"""Many questions from a file, many answers to a file: CSV, JSON lines or parquet.

A row has a ``scenario`` (or ``stimuli``), a persona as ``demographics`` ("Age: 30; Gender: Female") or as
columns named like its fields (``age``, ``Gender``), and where the scenario states no scale, a ``scale``
("1-7"). Other columns are carried along. Every row comes back, in its order: one that cannot be asked
with its reason in ``problem``.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.app.answers import TEMPERATURE, TOP_P, Answer
from socrates.app.model import OpenModel, answers_of, ask_in_parts
from socrates.app.parse import QUESTIONS, Persona, Question, parse_demographics, parse_question
from socrates.app.training_support import TrainingSupport
from socrates.core.errors import DataError
from socrates.core.files import atomic_path, write_table
from socrates.data.sources.local import LABELS

READERS: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
    ".csv": lambda file: pl.read_csv(file, infer_schema=False),  # all text: "007" and "1-7" are not numbers
    ".jsonl": lambda file: pl.read_ndjson(file, infer_schema_length=None),
    ".ndjson": lambda file: pl.read_ndjson(file, infer_schema_length=None),
    ".parquet": pl.read_parquet,
}
UTF8_MARK, UTF16_MARKS = b"\xef\xbb\xbf", (b"\xff\xfe", b"\xfe\xff")
OUT = ["scale", "probabilities", "expected", "middle_80_low", "middle_80_high", "format_validity"]
TAKEN = re.compile(rf"(base_)?({'|'.join(OUT[1:])})|samples|notes|problem")  # what the answers are called
OURS = re.compile(r"scenario|stimuli|scale|demographics?")  # columns that are read, in any case
TWICE = re.compile(r"(.*)_duplicated_\d+")  # what polars makes of a second column of one name


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
    kind = path.suffix.lower()
    if kind not in READERS:
        raise DataError(f"{path}: expected .csv, .jsonl or .parquet (--input)")
    data = b""
    try:
        data = path.read_bytes().removeprefix(UTF8_MARK)
        if data.startswith(UTF16_MARKS):  # polars reads it as text with holes
            raise ValueError("utf-8")
        table = READERS[kind](io.BytesIO(data))
    except pl.exceptions.NoDataError:
        raise DataError(f"{path}: is empty; give a header and rows with a scenario each") from None
    except FileNotFoundError:
        raise DataError(f"{path}: not found (--input)") from None
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise DataError(f"{path}: {_unreadable(path, data, ' '.join(str(error).split()))}") from None
    names = {name: name.strip().lower() for name in table.columns if OURS.fullmatch(name.strip().lower())}
    twice = [match[1] for match in map(TWICE.fullmatch, table.columns) if match]
    twice += sorted({name for name in names.values() if list(names.values()).count(name) > 1})
    if twice:
        raise DataError(f"{path}: two columns are called {twice[0]}; rename one")
    table = table.rename(names)
    if "stimuli" in table.columns and "scenario" not in table.columns:
        table = table.rename({"stimuli": "scenario"})
    if "scenario" not in table.columns:
        commas = "; put commas between columns" if re.search("[;\t]", table.columns[0]) else ""
        raise DataError(f"{path}: no column scenario; found {', '.join(table.columns)}{commas}")
    if taken := sorted(filter(TAKEN.fullmatch, table.columns)):
        raise DataError(f"{path}: column {', '.join(taken)} is what the answers are called; rename it")
    if held := [name for name, kind in table.schema.items() if re.search("Binary|Object", str(kind))]:
        raise DataError(f"{path}: column {held[0]} holds bytes, which no answers can carry along; remove it")
    if not len(table):
        raise DataError(f"{path}: holds a header and no rows")
    return table


def _unreadable(path: Path, data: bytes, detail: str) -> str:
    """What is wrong with a file, in the user's words where they are known."""
    if path.is_dir():
        return "is a folder; give a file (--input)"
    if "utf-8" in detail.lower():
        return "is not UTF-8 text; save it as UTF-8"
    if "more fields than" in detail:
        return "a row has more fields than the header; put quotes around texts that hold a comma"
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(data.splitlines(), start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f"line {number} is not a JSON object; mend or remove it"
            except ValueError as error:
                return f"line {number} is not JSON ({error}); mend or remove it"
    return f"not readable as {path.suffix[1:]} ({detail[:200]})"


def _texts(table: pl.DataFrame, name: str, path: Path) -> list[str | None]:
    """A column as text. Raises :class:`DataError` where it holds lists or objects."""
    if table.schema[name].is_nested():
        raise DataError(f"{path}: column {name} holds lists or objects; give a text in each row")
    return table[name].cast(pl.String).to_list()


def read_batch(path: Path, given_scale: str | None, seen: TrainingSupport | None) -> Batch:
    """The questions of a file; each distinct persona and scenario is read once.

    Args:
        given_scale: for rows without a scale of their own.
        seen: what training had seen, for the notes.

    Raises:
        DataError: see :func:`read_rows`; or no row can be asked.
    """
    table = read_rows(path)
    personas: dict[Any, tuple[Persona | None, str]] = {}
    scenarios: dict[tuple[str, str | None], tuple[Question | None, str]] = {}
    outside: dict[Any, list[str]] = {}  # of a persona or a question, what training had not seen
    problems, notes = {}, {}
    rows: list[tuple[int, str, str, str]] = []
    described = _described(table, path)
    scales = _texts(table, "scale", path) if "scale" in table.columns else [None] * len(table)
    for position, (who, scenario, own_scale) in enumerate(
        zip(described, _texts(table, "scenario", path), scales, strict=True)
    ):
        key = who if isinstance(who, str) else tuple(who.items())
        if key not in personas:
            personas[key] = read, _ = _tried(parse_demographics, who)
            outside[key] = seen.of_persona(read) if seen and read else []
        question = (scenario or "", (own_scale or "").strip() or given_scale)
        if question not in scenarios:
            scenarios[question] = put, _ = _tried(parse_question, *question)
            outside[question] = seen.of_question(put.stimuli, put.scale) if seen and put else []
        (read, wrong), (put, unclear) = personas[key], scenarios[question]
        if read is None or put is None:
            problems[position] = wrong or unclear
            continue
        rows.append((position, read.text, put.stimuli, put.scale.notation))
        if said := [*put.notes, *outside[key], *outside[question]]:
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
    rows = len(batch.table)
    added = pl.DataFrame({"position": range(rows)})
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
        added = added.join(
            pl.DataFrame({"position": fits["position"], **columns}),
            on="position",
            how="left",
            maintain_order="left",
        )
        validity[name] = round(float(answered["allowed_mass"].mean() or 0), 6)  # type: ignore[arg-type]
    added = added.drop("position").with_columns(
        pl.Series("notes", [notes.get(row) for row in range(rows)], dtype=pl.String),
        pl.Series("problem", [problems.get(row) for row in range(rows)], dtype=pl.String),
    )
    write_rows(output, batch.table.drop("scale", strict=False).hstack(added))
    shutil.rmtree(parts, ignore_errors=True)
    return {
        "output": str(output),
        "rows": rows,
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


def _described(table: pl.DataFrame, path: Path) -> Sequence[str | dict[str, str | None]]:
    """Each row's persona as it was given."""
    rows = len(table)
    given = [name for name in ("demographics", "demographic") if name in table.columns]
    if given and isinstance(table.schema[given[0]], pl.Struct):
        table = table[given[0]].struct.unnest()
    elif "demographics" in table.columns:
        return [text or "" for text in _texts(table, "demographics", path)]
    else:
        table = table.select(name for name in table.columns if name.lower().strip() in LABELS)
    fields = [_texts(table, name, path) for name in table.columns]
    names = [name.strip() for name in table.columns]
    return [dict(zip(names, values, strict=True)) for values in zip(*fields, strict=True)] or [""] * rows


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


def check_output(path: Path, source: Path | None = None) -> None:
    """Check that an output can be written, before the minutes that a model takes; makes its folder.

    Args:
        source: the file that is read, which an output must not replace.

    Raises:
        DataError: the path is a folder or the source, or its folder cannot be made or written in.
    """
    if path.is_dir():
        raise DataError(f"{path}: is a folder; give a file in it (--output)")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise DataError(
            f"{path}: holds the questions, which the answers would replace; give another --output"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(f"{path}: cannot be written ({reason}); give another --output") from None

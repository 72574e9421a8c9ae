"""Many questions from a file, many answers to a file: CSV, JSON lines or parquet.

A row has a ``scenario`` (or ``stimuli``), a persona as ``demographics`` ("Age: 30; Gender: Female") or as
columns named like its fields (``age``, ``Gender``), and where the scenario states no scale, a ``scale``
("1-7"). Other columns are carried along. Every row comes back, in its order: one that cannot be asked
with its reason in ``problem``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from socrates.app.answers import TEMPERATURE, TOP_P, Answer
from socrates.app.model import OpenModel, answers_of, ask_in_shards, identity
from socrates.app.parse import QUESTIONS, Persona, Question, parse_demographics, parse_question
from socrates.app.training_support import TrainingSupport
from socrates.core.errors import DataError
from socrates.core.files import atomic_path, write_table
from socrates.runs.fingerprint import hash_sources, run_directory_lock
from socrates.survey.personas import LABELS, persona_fields
from socrates.survey.tables import DEMOGRAPHICS

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
        questions: ``QUESTIONS`` and ``position``, the row in ``table``, for rows that can be asked.
        problems: why a row cannot be asked, by position.
        notes: what a row's reading or the training range calls for, by position.
        read_from: what personas were read from, what of them was not understood, and columns that were not read.
    """

    table: pl.DataFrame
    questions: pl.DataFrame
    problems: dict[int, str]
    notes: dict[int, str]
    read_from: str


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
        head = data.split(b"\n", 1)[0]
        by_semicolons = head.count(b";") > head.count(b",")
        return (
            "its columns are separated by semicolons; save it with commas"
            if by_semicolons
            else "a row has more fields than the header; put quotes around texts that hold a comma"
        )
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        for number, line in enumerate(data.splitlines(), start=1):
            try:
                if line.strip() and not isinstance(json.loads(line), dict):
                    return f"line {number} is not a JSON object; mend or remove it"
            except (ValueError, RecursionError) as error:
                return f"line {number} is not JSON ({error}); mend or remove it"
    return f"not readable as {path.suffix[1:]} ({detail[:200]})"


def _texts(table: pl.DataFrame, name: str, path: Path) -> list[str | None]:
    """A column as text. Raises :class:`DataError` where it holds lists or objects."""
    if table.schema[name].is_nested():
        raise DataError(f"{path}: column {name} holds lists or objects; give a text in each row")
    return table[name].cast(pl.String).to_list()


def read_batch(path: Path, given_scale: str | None, support: TrainingSupport | None) -> QuestionFile:
    """The questions of a file; each distinct persona and scenario is parsed once.

    Args:
        given_scale: for rows without a scale of their own.
        support: what training covered, for the notes.

    Raises:
        DataError: see :func:`read_rows`; or no row can be asked.
    """

    @functools.cache
    def read_persona(given: str | tuple[tuple[str, str | None], ...]) -> tuple[Persona, list[str]]:
        persona = parse_demographics(given if isinstance(given, str) else dict(given))
        if persona.unknown and not persona.fields:
            raise DataError(f"demographics: no field of {', '.join(persona.unknown)} is known")
        return persona, support.of_persona(persona) if support else []

    @functools.cache
    def read_question(scenario: str, on: str | None) -> tuple[Question, list[str]]:
        question = parse_question(scenario, on)
        outside = support.of_question(question.stimuli, question.scale) if support else []
        return question, [*question.notes, *outside]

    table = read_rows(path)
    scales = _texts(table, "scale", path) if "scale" in table.columns else [None] * len(table)
    given = zip(_described(table, path), _texts(table, "scenario", path), scales, strict=True)
    problems, notes = {}, {}
    known: Counter[str] = Counter()
    unknown: Counter[str] = Counter()
    rows: list[tuple[int, str, str, str]] = []
    for position, (who, scenario, own_scale) in enumerate(given):
        try:
            persona, unusual = read_persona(who)
            question, remarks = read_question(scenario or "", (own_scale or "").strip() or given_scale)
        except DataError as error:
            problems[position] = str(error)
            continue
        known.update(persona.fields.keys())
        unknown.update(persona.unknown.keys())
        rows.append((position, persona.text, question.stimuli, question.scale.notation))
        if told := [*unusual, *remarks]:
            notes[position] = "; ".join(told)
    if not rows:
        raise DataError(f"{path}: none of {len(table):,} rows can be asked; the first: {problems[0]}")
    questions = pl.DataFrame(rows, schema={"position": pl.Int64, **QUESTIONS}, orient="row")
    read = {"scenario", "scale", "demographics", "demographic"}
    beside = [name for name in table.columns if name not in read and name.strip().lower() not in LABELS]
    fields = {field: known[field] for field in DEMOGRAPHICS if known[field]}
    read_from = persona_fields(fields, unknown, len(rows))
    read_from += f"; columns not read: {', '.join(beside)}" if beside else ""
    return QuestionFile(table, questions, problems, notes, read_from)


def answer_batch(
    batch: QuestionFile, models: dict[str, OpenModel], output: Path, samples: int = 0, seed: int = 0
) -> dict[str, Any]:
    """Ask every question of every model, write ``output``, and return the counts.

    Answers lie in the scratch folder until the output is whole, so a killed run goes on where it was.

    Args:
        models: by the prefix of their columns, the first without one.
        samples: answers to draw for each row at the paper's settings.
    """
    problems, notes, fits = dict(batch.problems), dict(batch.notes), batch.questions
    for model in models.values():
        long = model.too_long(fits)
        problems |= dict.fromkeys(fits.filter(long)["position"].to_list(), TOO_LONG)
        fits = fits.filter(~long)
    questions = fits.select(*QUESTIONS)
    key = hashlib.sha256(questions.write_json().encode()).hexdigest()
    columns: dict[str, pl.Series] = {"position": fits["position"]}
    folders, resumed, validity = [], 0, {}
    with contextlib.ExitStack() as stack:
        for name, model in models.items():
            config = {"questions": key, **identity(model), **hash_sources("socrates.app.model")}
            folders.append(stack.enter_context(run_directory_lock("answers", config)))
            answered, done_before = ask_in_shards(model, questions, folders[-1], f"predict {name}")
            resumed += done_before
            validity[name] = round(float(answered["allowed_mass"].mean() or 0), 6)  # type: ignore[arg-type]
            answers = answers_of(answered)
            if len(columns) > 1:  # the base beside the adapter
                values = _columns(answered, answers)
                columns |= {f"{name}_{key}": values[key] for key in OUT[1:]}
                continue
            columns |= _columns(answered, answers)
            if samples:
                draws = [answer.draw(samples, seed + i) for i, answer in enumerate(answers)]
                columns["samples"] = pl.Series(draws, dtype=pl.List(pl.Int64))
            for position, answer in zip(fits["position"], answers, strict=True):
                if answer.doubts:
                    notes[position] = "; ".join(filter(None, [notes.get(position), *answer.doubts]))
        write_rows(output, _with_columns(batch.table, columns, notes, problems))
        for folder in folders:
            shutil.rmtree(folder)
    draw = {"n": samples, "temperature": TEMPERATURE, "top_p": TOP_P, "seed": seed}
    return {
        "output": str(output),
        "rows": len(batch.table),
        "answered": len(fits),
        "resumed": resumed,
        "persona": batch.read_from,
        "with_notes": sum(row not in problems for row in notes),
        "problems": dict(sorted(Counter(map(_kind, problems.values())).items())),
        "format_validity": validity,
        "samples": draw if samples else None,
    }


def _with_columns(
    table: pl.DataFrame, columns: dict[str, pl.Series], notes: dict[int, str], problems: dict[int, str]
) -> pl.DataFrame:
    """The rows of the file with the answers at their ``position``, and every row's notes and problem."""
    positions = pl.DataFrame({"position": range(len(table))})
    answers = positions.join(pl.DataFrame(columns), on="position", how="left", maintain_order="left")
    remarks = {
        name: pl.Series([texts.get(row) for row in range(len(table))], dtype=pl.String)
        for name, texts in (("notes", notes), ("problem", problems))
    }
    return table.drop("scale", strict=False).hstack(answers.drop("position").with_columns(**remarks))


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


def _described(table: pl.DataFrame, path: Path) -> Sequence[str | tuple[tuple[str, str | None], ...]]:
    """Each row's persona as it was given: a text, or pairs of label and value."""
    given = next((name for name in ("demographics", "demographic") if name in table.columns), None)
    rows = len(table)
    if given and isinstance(table.schema[given], pl.Struct):
        table = table[given].struct.unnest()
    elif given == "demographics":
        return [text or "" for text in _texts(table, given, path)]
    else:
        table = table.select(name for name in table.columns if name.lower().strip() in LABELS)
    fields = [_texts(table, name, path) for name in table.columns]
    names = [name.strip() for name in table.columns]
    return [tuple(zip(names, values, strict=True)) for values in zip(*fields, strict=True)] or [""] * rows


def _kind(problem: str) -> str:
    """A problem without the text that it quotes."""
    return next((kind for words, kind in PROBLEM_KINDS.items() if words in problem), "unusable scale")


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

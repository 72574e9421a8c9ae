"""Responses from this machine: parquet in the SocSci210 schema, CSV, or JSONL in the Alpaca form.

The Alpaca form is the seed project's: ``instruction``, ``input``, ``output``, ``study_id`` and ``condition_num`` on
each line, with persona and scenario in ``input``::

    Demographics: Age: 76; Gender: Male\\n\\nScenario: You read ... Only return an integer from 1 to 7.

and the answer in ``output`` (``Response: 3``). It names neither respondent nor outcome question. So each row is a
respondent of its own, numbered within the study in the order of the file (``sample_id`` and ``participant``), and
``task_num`` numbers the distinct questions of the study in alphabetical order; see :func:`question`. CSV has a row for
each answer: ``COLUMNS``, ``participant`` if respondents gave several, and a column for each field of the persona.
A file's own ``task_num`` and ``sample_id`` are not read.
"""

import functools
import json
import re
from pathlib import Path

import polars as pl

from socrates.core.errors import DataError, SourceError
from socrates.core.files import Schema, sha256
from socrates.data.near_duplicates import text_parts
from socrates.data.sources.clean import Source
from socrates.survey.personas import LABELS, MISSING_FIELD, parse_persona
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES

MAPPINGS = ("condition_mapping.json", "participant_mapping.json", "task_mapping.json")
ALPACA = ("input", "output", "study_id", "condition_num")
COLUMNS = ("study_id", "condition_num", "scenario", "response")
OWN = (*COLUMNS, "participant", "task_num", "sample_id")  # the last two are made here
LONGEST_LINE = 1_000_000  # characters; far beyond any survey question
SCENARIO = re.compile(r"(?:\A|\n)[^\S\n]*Scenario:\s*")
ANSWER = re.compile(r"\s*response:", re.IGNORECASE)
ASKED = re.compile(r"\basked[^:.?!\n]{0,30}:")


def open_local(path: Path) -> Source:
    """The source at ``path``: a parquet file, a folder of them (searched in depth), CSV or JSONL.

    Beside parquet, ``metadata/*_mapping.json`` are picked up when they are there.
    """
    if path.is_dir():
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*.parquet")}
        if not files:
            raise SourceError(f"{path}: no .parquet file in this folder (data.path)")
        return parquet_source(files, [path, path.parent])
    if not path.is_file():
        raise SourceError(f"{path}: not found (data.path)")
    if path.suffix == ".parquet":
        return parquet_source({path.name: path}, [path.parent, path.parent.parent])
    if read := {".csv": _read_csv, ".jsonl": _read_alpaca, ".ndjson": _read_alpaca}.get(path.suffix):
        return Source(iter([(path.name, read(path))]), about={"files": {path.name: sha256(path)}})
    raise SourceError(f"{path}: expected .csv, .parquet, .jsonl or a folder of .parquet files (data.path)")


def parquet_source(files: dict[str, Path], beside: list[Path]) -> Source:
    """The source of parquet ``files`` (name -> path), with the mappings of the first of ``beside`` that has them."""
    files = dict(sorted(files.items()))
    found = {name: [folder / "metadata" / name for folder in beside] for name in MAPPINGS}
    mappings = {name: path for name, paths in found.items() for path in reversed(paths) if path.is_file()}
    hashed = files | {f"metadata/{name}": path for name, path in mappings.items()}
    return Source(
        tables=((name, _read_parquet(path)) for name, path in files.items()),
        about={"files": {name: sha256(path) for name, path in hashed.items()}},
        mappings=mappings,
    )


def _read_parquet(path: Path) -> pl.DataFrame:
    """The columns of ``RESPONSES`` in whatever types the file has; its other columns are not read."""
    try:
        _has(path, list(RESPONSES), list(pl.read_parquet_schema(path)))
        return pl.read_parquet(path, columns=list(RESPONSES), use_statistics=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable parquet file, copy it again ({detail})") from None


def _read_alpaca(path: Path) -> pl.DataFrame:
    """The raw table of a JSONL file in the Alpaca form, with ``line`` and ``unknown_labels``."""
    persona_of = functools.cache(parse_persona)
    rows = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            text, output, study, condition = _entry(line, f"{path}: line {number}")
            told, *scenario = SCENARIO.split(text or "", maxsplit=1)
            if not re.match(r"\s*(?:Demographics:|\Z)", told):
                scenario = []
            known, unknown = persona_of(told.strip().removeprefix("Demographics:") if scenario else "")
            answer = None if output is None else ANSWER.sub("", output, count=1).strip()
            rows.append((study, condition, *(scenario or [None]), answer, known, list(unknown), number))
    types: Schema = {
        **dict.fromkeys(("study_id", "condition_num", "stimuli", "response"), pl.String),
        "demographic": RESPONSES["demographic"],
        "unknown_labels": pl.List(pl.String),
        "line": pl.Int64,
    }
    return _numbered(pl.DataFrame(rows, schema=types, orient="row")).with_columns(participant="sample_id")


def _read_csv(path: Path) -> pl.DataFrame:
    """The raw table of a CSV file with commas or semicolons."""
    text = _text(path)
    head = text.partition("\n")[0]
    separator = ";" if head.count(";") > head.count(",") else ","
    try:
        table = pl.read_csv(text.encode(), infer_schema=False, separator=separator)
        table = table.rename({name: key for name in table.columns if (key := name.strip().lower()) in OWN})
        others = table.drop(*OWN, "", strict=False)  # R calls the column of row names ""
        persona = others.rename(lambda name: LABELS.get(name.strip().lower(), name))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{path}: not readable as CSV ({' '.join(str(error).split())[:200]})") from None
    _has(path, list(COLUMNS), list(filter(None, table.columns)))
    if known := [name for name in persona.columns if name in DEMOGRAPHICS]:
        # Other columns (a date, a weight) make nobody unreadable where personas have columns of their own.
        missing = pl.all_horizontal(pl.col(known).str.contains(MISSING_FIELD).fill_null(True))
        nobody = persona.select(missing).to_series()
        persona = persona.select(one if one.name in known else one.set(nobody, None) for one in persona)
    demographic = persona.to_struct() if persona.width else pl.struct(age=pl.lit(None, pl.String))
    own = ("study_id", "condition_num", "response", *({"participant"} & {*table.columns}))
    rows = _numbered(table.select(*own, stimuli="scenario", demographic=demographic))
    whose = pl.col("participant" if "participant" in rows.columns else "sample_id")
    return rows.with_columns(participant=whose.rank("dense").over("study_id"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None


def _has(path: Path, columns: list[str], found: list[str]) -> None:
    if missing := [name for name in columns if name not in found]:
        raise DataError(f"{path}: column {', '.join(missing)} missing; found {', '.join(found)}")


def _entry(line: str, where: str) -> list[str | None]:
    """The values of ``ALPACA`` in a line of JSON, as text. Raises :class:`DataError` beginning with ``where``."""
    if len(line) > LONGEST_LINE:
        raise DataError(f"{where} has {len(line):,} characters; at most {LONGEST_LINE:,} are read")
    if line.lstrip().startswith("["):
        raise DataError(
            f"{where} is a JSON array, not a JSON object; write one object a line, without brackets"
        )
    try:
        entry = json.loads(line)
        values = [entry[key] for key in ALPACA]
        texts = [None if value is None else str(value) for value in values]
        "".join(filter(None, texts)).encode()
    except KeyError as error:
        raise DataError(f"{where} has no {error}") from None
    except UnicodeEncodeError:
        raise DataError(f"{where} holds half a character (a lone \\ud800 or the like); remove it") from None
    except (ValueError, TypeError, RecursionError):
        raise DataError(f"{where} is not a JSON object; mend or remove it") from None
    return texts


def question(scenario: str) -> str:
    """The outcome question in a scenario's text, with its answer instruction: what task_num stands for.

    It is what follows the last "asked:"; where nobody is said to ask, the last sentence that asks and the answer
    instruction. White space is folded, so that a line break makes no new question. A question whose own wording
    varies between conditions therefore counts as several: the text alone cannot tell.
    """
    text = " ".join(scenario.split())
    asked = list(ASKED.finditer(text))
    if asked and (said := text[asked[-1].end() :].strip()):
        return said
    _, asking, instruction = text_parts(text)
    return f"{asking} {instruction}".strip(" \"'“”‘’")


def _numbered(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with ``sample_id``, in their order, and ``task_num``, the rank of the question, within each study."""
    asked = {text: question(text) for text in rows["stimuli"].unique().drop_nulls()}
    told = pl.col("stimuli").replace_strict(asked, default=None, return_dtype=pl.String)
    return rows.with_columns(pl.col("study_id").str.strip_chars()).with_columns(
        sample_id=pl.int_range(pl.len()).over("study_id"),
        task_num=told.rank("dense").over("study_id").cast(pl.Int64) - 1,
    )

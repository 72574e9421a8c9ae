"""Responses from this machine: parquet in the SocSci210 schema, or JSONL in the Alpaca form.

The Alpaca form is the seed project's: ``instruction``, ``input``, ``output``, ``study_id`` and
``condition_num`` on each line, with persona and scenario in ``input``::

    Demographics: Age: 76; Gender: Male\\n\\nScenario: You read ... Only return an integer from 1 to 7.

and the answer in ``output`` (``Response: 3``). It names neither the respondent nor the outcome
question. So each row is a respondent of its own, numbered within the study in the order of the file
(``sample_id`` and ``participant``), and ``task_num`` numbers the distinct questions of the study in
alphabetical order; see :func:`question`.
"""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from socrates.core.errors import DataError, SourceError
from socrates.core.files import sha256
from socrates.data.sources import Source
from socrates.survey.tables import DEMOGRAPHICS, RESPONSES

MAPPINGS = ("participant_mapping.json", "condition_mapping.json", "task_mapping.json")
ALPACA = ("input", "output", "study_id", "condition_num")

# A persona's label, as printed or as the dataset's field name, in lower case -> field.
LABELS = {
    spelling.lower(): field
    for field, label in DEMOGRAPHICS.items()
    for spelling in (label, field, field.replace("_", " "))
}
LABELLED = re.compile(r"(?P<label>[A-Z][A-Za-z_/ -]{0,30}): ?(?P<value>.*)", re.DOTALL)
INPUT = r"(?s)^\s*(?:Demographics:(?P<persona>.*?)\n\s*)?Scenario:\s*(?P<stimuli>.*)$"
OUTPUT = r"(?si)^\s*(?:Response:)?\s*(.*?)\s*$"
ASKED = re.compile(r"\basked[^:.?!\n]{0,30}:")
INSTRUCTION = re.compile(
    r"\b(?:(?:please\s+)?only\s+(?:return|answer|respond)|(?:please\s+)?return\s+only)\b", re.I
)
SENTENCE_END = re.compile(r"(?<!\b[A-Z])[.?!][\"'”’)]*\s+")


def open_local(path: Path) -> Source:
    """The source at ``path``: a parquet file, a folder of them (searched in depth), or JSONL.

    Beside parquet, ``metadata/*_mapping.json`` are picked up when they are there.

    Raises:
        SourceError: nothing readable is at ``path``.
        DataError: while reading: a damaged file, a missing column, a line that is not JSON.
    """
    if path.is_dir():
        files = sorted(path.rglob("*.parquet"), key=lambda file: file.relative_to(path).as_posix())
        if not files:
            raise SourceError(f"{path}: no .parquet file in this folder (data.path)")
        return parquet_source(
            {file.relative_to(path).as_posix(): file for file in files}, [path, path.parent]
        )
    if not path.is_file():
        raise SourceError(f"{path}: not found (data.path)")
    if path.suffix == ".parquet":
        return parquet_source({path.name: path}, [path.parent, path.parent.parent])
    if path.suffix in (".jsonl", ".ndjson"):
        return Source(
            tables=((name, read_alpaca(file)) for name, file in [(path.name, path)]),
            about={"files": {path.name: sha256(path)}},
        )
    raise SourceError(f"{path}: expected .parquet, .jsonl or a folder of .parquet files (data.path)")


def parquet_source(files: dict[str, Path], beside: list[Path]) -> Source:
    """The source of parquet ``files`` (name -> path), with the mappings found in ``beside``/metadata."""
    mappings = {
        name: folder / "metadata" / name
        for name in MAPPINGS
        for folder in reversed(beside)
        if (folder / "metadata" / name).is_file()
    }
    return Source(
        tables=((name, read_parquet(path)) for name, path in sorted(files.items())),
        about={
            "files": {name: sha256(path) for name, path in sorted(files.items())}
            | {f"metadata/{name}": sha256(path) for name, path in sorted(mappings.items())}
        },
        mappings=mappings,
    )


def read_parquet(path: Path) -> pl.DataFrame:
    """The columns of ``RESPONSES`` in whatever types the file has; its other columns are not read.

    Raises:
        DataError: the file is damaged, or a column is missing.
    """
    try:
        found = pl.read_parquet_schema(path)
        missing = [name for name in RESPONSES if name not in found]
        if missing:
            raise DataError(f"{path}: column {', '.join(missing)} missing; found {', '.join(found)}")
        return pl.read_parquet(path, columns=list(RESPONSES), use_statistics=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        detail = " ".join(str(error).split())
        raise DataError(f"{path}: not a readable parquet file, copy it again ({detail})") from None


def read_alpaca(path: Path) -> pl.DataFrame:
    """The raw table of a JSONL file in the Alpaca form, with ``line`` and ``unknown_labels``.

    Raises:
        DataError: the file is not UTF-8, a line is not a JSON object or lacks a key; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from None
    lines = pl.DataFrame({"json": text.split("\n")}).with_row_index("line", 1)
    lines = lines.filter(pl.col("json").str.contains(r"\S"))
    is_object = pl.col("json").str.json_path_match("$").str.starts_with("{").fill_null(False)
    _refuse_lines(path, lines.filter(~is_object), "is not a JSON object; mend or remove it")
    for key in ALPACA:
        _refuse_lines(path, lines.filter(~pl.col("json").str.contains(rf'"{key}"\s*:')), f"has no {key!r}")
    rows = lines.select(
        "line",
        *(pl.col("json").str.json_path_match(f"$.{key}").alias(key) for key in ("study_id", "condition_num")),
        pl.col("json").str.json_path_match("$.input").str.extract_groups(INPUT).alias("input"),
        response=pl.col("json").str.json_path_match("$.output").str.extract(OUTPUT),
        sample_id=pl.int_range(pl.len()).over(pl.col("json").str.json_path_match("$.study_id")),
    ).unnest("input")
    personas = rows.select("persona").unique()
    parsed = [parse_persona(text or "") for text in personas["persona"]]
    personas = personas.with_columns(
        demographic=pl.Series([known for known, _ in parsed], dtype=RESPONSES["demographic"]),
        unknown_labels=pl.Series([list(unknown) for _, unknown in parsed], dtype=pl.List(pl.String)),
    )
    rows = rows.join(personas, on="persona", how="left", nulls_equal=True, maintain_order="left")
    return number_tasks(rows.with_columns(participant="sample_id"))


def _refuse_lines(path: Path, lines: pl.DataFrame, problem: str) -> None:
    if lines.height:
        raise DataError(f"{path}: line {lines['line'][0]} {problem}")


def parse_persona(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """The demographic fields of ``Age: 76; Gender: Male``, and the labels that are not known with their values.

    Values may hold "; " and ": " themselves. A part that does not begin like a label (a capital,
    then at most 30 letters, before a colon) belongs to the value before it. A label counts once: a
    second ``Age:`` belongs to the value before it as well.
    """
    fields: dict[str, str] = {}
    unknown: dict[str, str] = {}
    current: tuple[dict[str, str], str] | None = None  # what a continuation belongs to
    for part in text.strip().split("; "):
        match = LABELLED.fullmatch(part.strip())
        field = LABELS.get(match["label"].lower()) if match else None
        if match and (field or match["label"]) not in (fields if field else unknown):
            current = (fields, field) if field else (unknown, match["label"])
            current[0][current[1]] = match["value"].strip()
        elif current:
            current[0][current[1]] += f"; {part.strip()}"
    return {field: value for field, value in fields.items() if value}, unknown


def question(scenario: str) -> str:
    """The outcome question in a scenario's text, with its answer instruction: what task_num stands for.

    It is what follows the last "asked:"; where nobody is said to ask, the last sentence before the
    answer instruction ("Only return ...") and that instruction; failing both, the last sentence.
    White space is folded, so that a line break makes no new question. A question whose own wording
    varies between conditions therefore counts as several: the text alone cannot tell.
    """
    text = " ".join(scenario.split())
    asked = list(ASKED.finditer(text))
    if asked and text[asked[-1].end() :].strip():
        return text[asked[-1].end() :].strip()
    instructions = list(INSTRUCTION.finditer(text))
    before = text[: instructions[-1].start()] if instructions else text
    ends = [match.end() for match in SENTENCE_END.finditer(before.rstrip())]
    return text[ends[-1] if ends else 0 :].strip(" \"'“”‘’")


def number_tasks(rows: pl.DataFrame) -> pl.DataFrame:
    """``rows`` with ``task_num``: the rank from 0 of the row's question among those of its study."""
    texts = rows.select("study_id", "stimuli").unique().drop_nulls("stimuli")
    tasks = texts.with_columns(
        question=pl.Series([question(text) for text in texts["stimuli"]], dtype=pl.String)
    ).with_columns(task_num=pl.col("question").rank("dense").over("study_id").cast(pl.Int64) - 1)
    return rows.join(
        tasks.select("study_id", "stimuli", "task_num"),
        on=["study_id", "stimuli"],
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )

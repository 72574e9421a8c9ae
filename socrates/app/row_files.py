"""Rows that a user gives or gets, a file each: CSV, JSON lines or parquet."""

import io
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from socrates.core.errors import DataError
from socrates.core.files import atomic_path

READERS: dict[str, Callable[[io.BytesIO], pl.DataFrame]] = {
    ".csv": lambda file: pl.read_csv(file, infer_schema=False),  # all text: "007" and "1-7" are not numbers
    ".jsonl": lambda file: pl.read_ndjson(file, infer_schema_length=None),
    ".parquet": pl.read_parquet,
}
WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    ".csv": lambda table, path: table.write_csv(path, float_precision=6),
    ".jsonl": lambda table, path: table.write_ndjson(path),
    ".parquet": lambda table, path: table.write_parquet(path),
}
UTF8_MARK = b"\xef\xbb\xbf"
TWICE = re.compile(r"(.*)_duplicated_\d+")  # what polars makes of a second column of one name


def check_kind(path: Path, key: str) -> str:
    """The ending of a file that can be read and written. Raises :class:`DataError` for any other."""
    if (kind := path.suffix.lower()) not in READERS:
        raise DataError(f"{path}: expected .csv, .jsonl or .parquet ({key})")
    return kind


def read_rows(path: Path, key: str) -> pl.DataFrame:
    """The rows of a file, at least one; ``key`` is the option or key that names it, for the message. Raises
    :class:`DataError` where it is missing, unreadable or empty, or two of its columns have one name."""
    kind = check_kind(path, key)
    try:
        data = path.read_bytes().removeprefix(UTF8_MARK)
    except OSError as error:
        raise DataError(f"{path}: {(error.strerror or str(error)).lower()} ({key})") from None
    if not data.strip():
        raise DataError(f"{path}: is empty")
    head = data.split(b"\n", 1)[0]
    for mark, name in ((b";", "semicolons"), (b"\t", "tabs")):
        if kind == ".csv" and head.count(mark) > head.count(b","):
            raise DataError(f"{path}: its columns are separated by {name}; save it with commas")
    try:
        if kind != ".parquet":
            data.decode()  # polars reads UTF-16 as text with holes
        table = READERS[kind](io.BytesIO(data))
    except UnicodeDecodeError:
        raise DataError(f"{path}: is not UTF-8 text; save it as UTF-8") from None
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise DataError(f"{path}: {_unreadable(kind, data, ' '.join(str(error).split()))}") from None
    if twice := [match[1] for match in map(TWICE.fullmatch, table.columns) if match]:
        raise DataError(f"{path}: two columns are called {twice[0]}; rename one")
    if table.is_empty():
        raise DataError(f"{path}: holds a header and no rows")
    return table


def _unreadable(kind: str, data: bytes, detail: str) -> str:
    """What is wrong with a file, in the user's words where they are known."""
    if "more fields than" in detail:
        return "a row has more fields than the header; put quotes around texts that hold a comma"
    if kind == ".csv" and "could not parse" in detail:
        return 'the quotes around a text do not match; write a quote within a text twice ("")'
    for number, line in enumerate(data.splitlines() if kind == ".jsonl" else (), start=1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return f"line {number} is not a JSON object; mend or remove it"
        except (ValueError, RecursionError) as error:
            return f"line {number} is not JSON ({error}); mend or remove it"
    return f"not readable as {kind[1:]} ({detail[:200]})"


def column_texts(table: pl.DataFrame, name: str, path: Path) -> list[str]:
    """A column as text, "" where it is null. Raises :class:`DataError` where it holds lists or objects."""
    if table.schema[name].is_nested():
        raise DataError(f"{path}: column {name} holds lists or objects; give a text in each row")
    return table[name].cast(pl.String).fill_null("").to_list()


def write_rows(path: Path, table: pl.DataFrame) -> None:
    """A table as CSV (lists as numbers with spaces between), JSON lines or parquet, atomically."""
    kind = path.suffix.lower()
    flat: list[pl.Expr] = []
    for name, type_ in table.schema.items() if kind == ".csv" else ():
        if isinstance(type_, pl.Struct):
            flat.append(pl.col(name).struct.json_encode())
        elif type_.is_nested():
            inner = pl.element().round(6) if type_.inner.is_float() else pl.element()  # type: ignore[attr-defined]
            flat.append(pl.col(name).list.eval(inner).cast(pl.List(pl.String)).list.join(" "))
    with atomic_path(path) as partial:
        WRITERS[kind](table.with_columns(flat), partial)


def check_output(path: Path, source: Path | None = None) -> None:
    """Check that an output can be written, before the minutes that a model takes; makes its folder. Raises
    :class:`DataError` where it is a folder or ``source``, or its folder cannot be made or written in."""
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

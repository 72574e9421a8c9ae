"""Files that are either whole or not there: atomic writes, hashes, canonical JSON, tables with a schema."""

import contextlib
import errno
import functools
import glob
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from socrates.core.errors import DataError, SocratesError, WriteError

# What to do about a write that the file system refused, by errno.
REFUSED = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room, or raise ulimit -f,"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable"),
    errno.EIO: "look at the disk",
}
Schema = dict[str, pl.DataType | type[pl.DataType]]  # of a table: column name -> type


@contextlib.contextmanager
def _replacing(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Yield what ``make`` makes beside ``path``; it replaces ``path`` if the block succeeds.

    The data reach the disk before the name does (fsync, then rename), so a crash or a full disk leaves the old
    file or none, never half of one. What processes that are gone left half written of ``path`` is swept first.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*.partial"):
        process = left.name.removeprefix(f".{path.name}.").partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            _remove(left)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        make(partial)
        yield partial
        for inner in [*partial.rglob("*"), partial]:
            flush(inner)
        if path.is_dir():
            shutil.rmtree(path)
        partial.replace(path)
    except Exception as error:
        told = str(error)
        if refusal := refused_write(error):
            told = "{}: could not be written ({}); {} and run again".format(path, *refusal)
        elif not isinstance(error, WriteError):  # which a file inside has raised
            raise
        raise WriteError(told.replace(str(partial), str(path))) from error
    finally:
        _remove(partial)


atomic_path = functools.partial(_replacing, make=Path.touch)  # yields an empty file
atomic_folder = functools.partial(_replacing, make=Path.mkdir)  # yields an empty folder


def refused_write(error: Exception) -> tuple[str, str] | None:
    """Why the file system refused a write, and what to do about it; None for any other error."""
    if short := re.search(r"\d+ requested and \d+ written", str(error)):  # numpy
        return short[0], REFUSED[errno.ENOSPC]
    told = re.search(r"os error (\d+)", str(error))  # libraries in Rust
    number = int(told[1]) if told else getattr(error, "errno", None)
    return (os.strerror(number).lower(), REFUSED[number]) if number in REFUSED else None


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, in UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """``value`` as indented JSON that a diff can read; NaN is refused, since JSON has none."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` atomically as indented JSON."""
    write_text(path, json_text(value))


def read_json(
    path: Path, hint: str = "run dvc repro", error_class: type[SocratesError] = DataError
) -> dict[str, Any]:
    """A JSON object. Raises ``error_class`` where there is none, with ``hint``: what to do about it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise error_class(f"{path}: not found; {hint}") from None
    except (ValueError, RecursionError) as error:
        raise error_class(f"{path}: not JSON ({error}); {hint}") from None
    if not isinstance(value, dict):
        raise error_class(f"{path}: expected an object; {hint}")
    return value


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write ``table`` atomically as CSV or parquet, by the name's ending; equal tables give equal bytes."""
    with atomic_path(path) as partial:
        if path.suffix == ".csv":
            table.write_csv(partial, float_precision=6)
        else:
            table.write_parquet(partial, compression="zstd", statistics=False, row_group_size=262_144)


def read_table(path: Path, schema: Schema, where: pl.Expr | slice | None = None) -> pl.DataFrame:
    """A parquet table with exactly the columns of ``schema``, in its order and types.

    Other columns, and rows that are not ``where``, are not read. Raises :class:`DataError` where the file is missing
    or damaged, or a column is missing or of another type.
    """
    try:
        frame = pl.scan_parquet(path)
        has = frame.collect_schema()
        if missing := [name for name in schema if name not in has]:
            raise DataError(f"{path}: column {', '.join(missing)} missing; found {', '.join(has)}")
        wrong = [f"{name} is {has[name]}, not {kind}" for name, kind in schema.items() if has[name] != kind]
        if wrong:
            raise DataError(f"{path}: {'; '.join(wrong)}")
        if isinstance(where, slice):
            frame = frame.slice(where.start, where.stop - where.start)
        elif where is not None:
            frame = frame.filter(where)
        return frame.select(*schema).collect()
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run dvc repro") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({' '.join(str(error).split())})") from None


@contextlib.contextmanager
def parquet_parts(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield a function that appends a table to the parquet file ``path``, which appears when all is written.

    For tables that are too large to hold: each part becomes row groups of its own and is let go.
    Equal parts in equal order give equal bytes.
    """
    import pyarrow.parquet as pq  # here: a tenth of what an answer on the command line imports otherwise

    with atomic_path(path) as partial, contextlib.ExitStack() as stack:
        writer: pq.ParquetWriter | None = None

        def write(table: pl.DataFrame) -> None:
            nonlocal writer
            part = table.to_arrow(compat_level=pl.CompatLevel.oldest())
            if writer is None:
                # Long texts repeat: pages of this size keep them as a dictionary.
                settings = {"write_statistics": False, "dictionary_pagesize_limit": 64 * 2**20}
                opened = pq.ParquetWriter(partial, part.schema, compression="zstd", **settings)
                writer = stack.enter_context(opened)
            writer.write_table(part)

        yield write

"""Files that are either whole or not there: atomic writes, hashes, canonical JSON, tables with a schema."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import psutil

from socrates.core.errors import DataError, SocratesError

Schema = dict[str, pl.DataType | type[pl.DataType]]  # of a table: column name -> type


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it over ``path`` if the block succeeds.

    The data reach the disk before the name does (fsync, then rename), so a crash or a full disk
    leaves either the old file or none, never half a file.
    """
    handle, name = tempfile.mkstemp(dir=_swept(path), prefix=_partial(path, os.getpid()), suffix=".partial")
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        flush(partial)
        partial.chmod(0o644)  # mkstemp makes it private; an output is not
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{path}: could not be written ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; its files reach the disk, then it replaces ``path``."""
    partial = Path(tempfile.mkdtemp(dir=_swept(path), prefix=_partial(path, os.getpid()), suffix=".partial"))
    partial.chmod(0o755)
    try:
        yield partial
        for inner in [*partial.rglob("*"), partial]:
            flush(inner)
        if path.exists():
            shutil.rmtree(path)
        partial.replace(path)
    except OSError as error:
        text = (error.strerror or str(error)).replace(str(partial), str(path))
        raise OSError(error.errno, text) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _partial(path: Path, process: int | str) -> str:
    return f".{path.name}.{process}-"


def _swept(path: Path) -> Path:
    """The folder of ``path``, made, and without what processes that are gone left half written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(glob.escape(_partial(path, "")[:-1]) + "*.partial"):
        process = left.name.removeprefix(_partial(path, "")[:-1]).partition("-")[0]
        if process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    return path.parent


def flush(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically, in UTF-8."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """``value`` as indented JSON that a diff can read; NaN is refused, since JSON has none."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(
    path: Path, hint: str = "run dvc repro", error_class: type[SocratesError] = DataError
) -> dict[str, Any]:
    """A JSON object.

    Args:
        hint: what to do about a file that has none, for the message.
        error_class: raised where the file is missing, is not JSON, or holds something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise error_class(f"{path}: not found; {hint}") from None
    except (ValueError, RecursionError) as error:
        raise error_class(f"{path}: not JSON ({error}); {hint}") from None
    if not isinstance(value, dict):
        raise error_class(f"{path}: expected an object; {hint}")
    return value


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` to ``path`` atomically as indented JSON."""
    write_text(path, json_text(value))


def write_table(path: Path, table: pl.DataFrame) -> None:
    """Write ``table`` atomically as parquet or CSV, by the name's ending.

    Parquet is written with fixed settings, so that equal tables give equal bytes.
    """
    with atomic_path(path) as partial:
        if path.suffix == ".parquet":
            try:
                table.write_parquet(partial, compression="zstd", statistics=False, row_group_size=262_144)
            except pl.exceptions.ComputeError as error:  # what polars makes of a full disk
                if "os error 28" in str(error):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                raise
        elif path.suffix == ".csv":
            table.write_csv(partial, float_precision=6)
        else:
            raise ValueError(f"{path}: a table is written as .parquet or .csv")


def read_table(path: Path, schema: Schema, where: pl.Expr | slice | None = None) -> pl.DataFrame:
    """A parquet table with exactly the columns of ``schema``, in its order and types.

    Other columns, and rows that are not ``where``, are not read.

    Raises:
        DataError: the file is missing or damaged, a column is missing or of another type.
    """
    try:
        frame = pl.scan_parquet(path)
        check_table(frame.collect_schema().to_frame(), schema, path)
        if isinstance(where, slice):
            frame = frame.slice(where.start, where.stop - where.start)
        elif where is not None:
            frame = frame.filter(where)
        return frame.select(*schema).collect()
    except FileNotFoundError:
        raise DataError(f"{path}: not found; run dvc repro") from None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path}: not a readable parquet file ({' '.join(str(error).split())})") from None


def check_table(table: pl.DataFrame, schema: Schema, path: Path) -> pl.DataFrame:
    """``table`` with the columns of ``schema`` alone; ``path`` is named in the error."""
    missing = [name for name in schema if name not in table.columns]
    if missing:
        raise DataError(f"{path}: column {', '.join(missing)} missing; found {', '.join(table.columns)}")
    wrong = [
        f"{name} is {table.schema[name]}, not {kind}"
        for name, kind in schema.items()
        if table.schema[name] != kind
    ]
    if wrong:
        raise DataError(f"{path}: {'; '.join(wrong)}")
    return table.select(list(schema))


@contextlib.contextmanager
def parquet_parts(path: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield a function that appends a table to the parquet file ``path``, which appears when all is written.

    For tables that are too large to hold: each part becomes row groups of its own and is let go.
    Equal parts in equal order give equal bytes.
    """
    import pyarrow.parquet as pq  # here: a tenth of what an answer on the command line imports otherwise

    with atomic_path(path) as partial, contextlib.ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []

        def write(table: pl.DataFrame) -> None:
            part = table.to_arrow(compat_level=pl.CompatLevel.oldest())
            if not writers:
                writer = pq.ParquetWriter(
                    partial,
                    part.schema,
                    compression="zstd",
                    write_statistics=False,
                    dictionary_pagesize_limit=64 * 2**20,  # long texts repeat: keep them as a dictionary
                )
                writers.append(stack.enter_context(writer))
            writers[0].write_table(part)

        yield write


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Where answers go, checked before the minutes that a model takes rather than after."""

from __future__ import annotations

import tempfile
from pathlib import Path

from socrates.core.errors import DataError


def check_output(path: Path, source: Path | None = None) -> None:
    """Refuse a file that could not be written, or that holds the questions; makes its folder.

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

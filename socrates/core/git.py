"""Revisions as DVC and Git know them."""

from __future__ import annotations

from pathlib import Path

from socrates.core.errors import SourceError


def commit_of(revision: str, folder: Path = Path()) -> str:
    """The commit of a branch, tag or hash, or of an experiment by the name that ``dvc exp run`` gave it.

    Raises:
        SourceError: there is none, or several experiments have the name.
    """
    from dvc.scm import SCM, SCMError, resolve_rev  # here: it takes a second

    try:
        return str(resolve_rev(SCM(str(folder)), revision))
    except SCMError as error:
        raise SourceError(
            f"revision {revision!r}: {error}; give a commit, branch, tag or experiment"
        ) from None

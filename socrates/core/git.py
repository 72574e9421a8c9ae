"""Git, asked on the command line: what it refuses is one line."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from socrates.core.errors import DataError, SourceError


def git(*words: str, folder: Path = Path(), text: str = "", env: Mapping[str, str] | None = None) -> str:
    """What ``git`` prints, run in ``folder`` with ``text`` as its input. Raises :class:`DataError` where it fails."""
    done = subprocess.run(
        ["git", *words], cwd=folder, input=text.encode(), env={**os.environ, **(env or {})},
        capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise DataError(f"git {words[0]}: {' '.join(done.stderr.decode().split())}")
    return done.stdout.decode().strip()


def commit_of(revision: str, folder: Path = Path()) -> str:
    """The commit of a branch, tag or hash, or of an experiment by the name that ``dvc exp run`` gave it.

    Raises:
        SourceError: there is none, or several experiments have the name.
    """
    experiments = git("for-each-ref", "--format=%(refname)", "refs/exps", folder=folder).split()
    named = [ref for ref in experiments if ref.endswith(f"/{revision}")]
    if len(named) > 1:
        raise SourceError(
            f"revision {revision!r}: {len(named)} experiments have this name; give the hash of one"
        )
    ask = ("rev-parse", "--verify", "--quiet", "--end-of-options")
    for name in (revision, *named):
        try:
            return git(*ask, f"{name}^{{commit}}", folder=folder)
        except DataError:
            continue
    raise SourceError(f"revision {revision!r}: not a commit, branch, tag or experiment of this repository")

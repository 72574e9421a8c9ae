"""The paper as a Git revision: ``socrates paper-baseline``, then ``dvc metrics diff paper-baseline``.

Reads metrics/paper.json, the published figures under the keys of metrics/evaluate.json. Writes a commit
that is HEAD with those figures as its metrics/evaluate.json, and their headline beside it, and the local
tag ``paper-baseline`` on it.
The commit is on no branch; work tree, index and HEAD are not touched. The same HEAD and figures give
the same commit, and running it again moves the tag.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path

from socrates.core.errors import DataError
from socrates.core.files import json_text, read_json
from socrates.evaluation.headline import headline

PAPER = Path("metrics/paper.json")
METRICS = Path("metrics/evaluate.json")
HEADLINE = Path("metrics/headline.json")
TAG = "paper-baseline"
SOURCE = "source"  # where the figures come from: said in the commit's message, not a metric


def tag_paper(folder: Path = Path()) -> str:
    """Point the tag at HEAD with the paper's metrics, in the repository of ``folder``; returns the commit.

    Raises:
        DataError: ``metrics/paper.json`` is missing or not such a file; no Git repository or no commit yet.
    """
    figures = _read(folder / PAPER)
    source = figures.pop(SOURCE, {})
    if _git(folder, "rev-parse", "--is-inside-work-tree") != "true":
        raise DataError(f"{folder}: not the work tree of a Git repository")
    prefix = _git(folder, "rev-parse", "--show-prefix")
    head_date = _git(folder, "show", "--no-patch", "--format=%cI", "HEAD")
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        _git(folder, "read-tree", "HEAD", env=index)
        for path, content in ((METRICS, figures), (HEADLINE, headline(figures))):
            blob = _git(folder, "hash-object", "-w", "--stdin", text=json_text(content))
            entry = f"100644,{blob},{prefix}{path.as_posix()}"
            _git(folder, "update-index", "--add", "--cacheinfo", entry, env=index)
        tree = _git(folder, "write-tree", env=index)
    # A fixed signature: no user.name is needed, and the commit depends on its content alone.
    signature = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", TAG), ("EMAIL", f"{TAG}@invalid"), ("DATE", head_date))
    }
    message = "\n".join(["The paper's figures as metrics", "", *(f"{key}: {source[key]}" for key in source)])
    commit = _git(folder, "commit-tree", tree, "-p", "HEAD", text=message, env=signature)
    _git(folder, "tag", "--force", "--no-sign", TAG, commit)
    return commit


def _read(path: Path) -> dict[str, dict[str, object]]:
    figures = read_json(path, "run from the folder that holds it, as Git has it")
    if not all(isinstance(value, dict) for value in figures.values()):
        raise DataError(f"{path}: expected groups of figures such as 'adapter'")
    return figures


def _git(folder: Path, *command: str, text: str = "", env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *command],
        cwd=folder,
        input=text.encode(),
        env={**os.environ, **(env or {})},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise DataError(f"git {command[0]}: {' '.join(done.stderr.decode().split())}")
    return done.stdout.decode().strip()

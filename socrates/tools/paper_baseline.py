"""The paper as a Git revision: ``socrates paper-baseline``, then ``dvc metrics diff paper-baseline``.

Reads metrics/paper.json, the published figures under the keys of metrics/evaluate.json. Writes a commit that is HEAD
with those figures and their headline as its metrics, and the local tag ``paper-baseline`` on it. The commit is on no
branch; work tree, index and HEAD are not touched. The same HEAD and figures give the same commit.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from socrates.core.errors import DataError
from socrates.core.files import json_text, read_json
from socrates.evaluation.summary import headline

PAPER = Path("metrics/paper.json")
TAG = "paper-baseline"
SOURCE = "source"  # where the figures come from: said in the commit's message, not a metric


def tag_paper(folder: Path = Path()) -> str:
    """Point the tag at HEAD with the paper's metrics, in the repository of ``folder``; returns the commit.

    Raises:
        DataError: ``metrics/paper.json`` is missing or not such a file; no Git repository or no commit yet.
    """
    figures = read_json(folder / PAPER, "run from the folder that holds it, as Git has it")
    if not all(isinstance(value, dict) for value in figures.values()):
        raise DataError(f"{folder / PAPER}: expected groups of figures such as 'adapter'")
    source = figures.pop(SOURCE, {})
    figures.pop("published", None)  # of other splits and models, under no keys of ours
    run = partial(_git, folder)
    prefix, date = run("rev-parse", "--show-prefix"), run("show", "--no-patch", "--format=%cI", "HEAD")
    with tempfile.TemporaryDirectory() as scratch:
        index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
        run("read-tree", "HEAD", **index)
        for name, content in (("evaluate", figures), ("headline", headline(figures))):
            blob = run("hash-object", "-w", "--stdin", text=json_text(content))
            entry = f"100644,{blob},{prefix}metrics/{name}.json"
            run("update-index", "--add", "--cacheinfo", entry, **index)
        tree = run("write-tree", **index)
    # A fixed signature: no user.name is needed, and the commit depends on its content alone.
    signature = {
        f"GIT_{role}_{field}": value
        for role in ("AUTHOR", "COMMITTER")
        for field, value in (("NAME", TAG), ("EMAIL", f"{TAG}@invalid"), ("DATE", date))
    }
    message = "\n".join(["The paper's figures as metrics", "", *(f"{key}: {source[key]}" for key in source)])
    commit = run("commit-tree", tree, "-p", "HEAD", text=message, **signature)
    run("tag", "--force", "--no-sign", TAG, commit)
    return commit


def _git(folder: Path, *words: str, text: str = "", **env: str) -> str:
    """What ``git`` prints, with ``text`` as its input. Raises :class:`DataError` where it fails."""
    done = subprocess.run(
        ["git", *words], cwd=folder, input=text, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )  # fmt: skip
    if done.returncode:
        raise DataError(f"git {words[0]}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()

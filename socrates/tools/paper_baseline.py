"""The paper as a Git revision: ``socrates paper-baseline``, then ``dvc metrics diff paper-baseline``.

Reads metrics/paper.json, the published figures under the keys of metrics/evaluate.json. Writes a commit that is HEAD
with those figures and their headline as its metrics, and the local tag ``paper-baseline`` on it, by ``git
fast-import``: work tree, index and HEAD are not touched. The same HEAD and figures give the same commit.
"""

import subprocess
from pathlib import Path

from socrates.core.errors import DataError
from socrates.core.files import json_text, read_json
from socrates.evaluation.summary import headline

PAPER = Path("metrics/paper.json")
TAG = "paper-baseline"


def tag_paper() -> str:
    """Point the tag at HEAD with the paper's metrics, in the repository of this folder; returns the commit."""
    figures = read_json(PAPER, "run from the folder that holds it, as Git has it")
    if not all(isinstance(value, dict) for value in figures.values()):
        raise DataError(f"{PAPER}: expected groups of figures such as 'adapter'")
    source = figures.pop("source", {})  # where the figures come from: in the commit's message, no metric
    figures.pop("published", None)  # of other splits and models, under no keys of ours
    prefix = _git("rev-parse", "--show-prefix")
    head, date = _git("show", "--no-patch", "--format=%H %cd", "--date=raw", "HEAD").split(" ", 1)
    message = "\n".join(["The paper's figures as metrics", "", *(f"{key}: {source[key]}" for key in source)])
    stream = f"commit refs/tags/{TAG}\ncommitter {TAG} <{TAG}@invalid> {date}\n{_data(message)}from {head}\n"
    for name, content in (("evaluate", figures), ("headline", headline(figures))):
        stream += f"M 644 inline {prefix}metrics/{name}.json\n{_data(json_text(content))}"
    _git("fast-import", "--force", "--quiet", text=stream)
    return _git("rev-parse", TAG)


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def _git(*words: str, text: str = "") -> str:
    """What ``git`` prints, with ``text`` as its input. Raises :class:`DataError` where it fails."""
    done = subprocess.run(["git", *words], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"git {words[0]}: {' '.join(done.stderr.split())}")
    return done.stdout.strip()

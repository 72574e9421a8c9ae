"""The stages of the word-problem pipeline, and its parameter file.

Run from the repository root, as the survey pipeline's are: ``python -m gsm8k.stages.NAME``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from socrates import params

PATH = Path("gsm8k/params.yaml")
S = TypeVar("S", bound=params.Section)


def load(section: type[S]) -> S:
    """The section of class ``section`` from the pipeline's own ``params.yaml``, all of it checked."""
    return params.load(section, PATH, params.WORD_PROBLEMS)

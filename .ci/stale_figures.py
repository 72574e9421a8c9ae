"""Are the committed figures those of the committed code? Run in a clean clone after ``make repro``.

What was rebuilt is compared with the last commit: the params that ``dvc.lock`` says a stage was run with, exactly; the
figures of ``metrics/headline.json`` within ``TOLERANCE``, since a training ends in other digits on another CPU.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

HEADLINE, LOCK = Path("metrics/headline.json"), Path("dvc.lock")
TOLERANCE = 0.02


def committed(path: Path) -> str:
    """A file as it stands in the last commit."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], capture_output=True, text=True, check=True).stdout


def stale_figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Figures that only one side has, or that differ by more than the tolerance, one line each."""
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        if a != b and not (numbers and abs(a - b) <= TOLERANCE):
            yield f"{HEADLINE}: {key}: committed {a}, rebuilt {b}"


def stale_params(old: str, new: str) -> Iterator[str]:
    """Stages that the two locks have with other params, one line each."""
    before, after = (YAML(typ="safe").load(text)["stages"] for text in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if before.get(name, {}).get("params") != after.get(name, {}).get("params"):
            yield f"{LOCK}: {name}: committed with other params than it is run with now"


def main() -> None:
    stale = [
        *stale_params(committed(LOCK), LOCK.read_text()),
        *stale_figures(json.loads(committed(HEADLINE)), json.loads(HEADLINE.read_text())),
    ]
    for line in stale:
        print(line)
    if stale:
        sys.exit(
            "the committed figures are not those of the committed code: run make repro, commit what changes"
        )
    print(f"the committed figures are those of the committed code, within {TOLERANCE}")


if __name__ == "__main__":
    main()

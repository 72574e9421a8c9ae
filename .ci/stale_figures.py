"""Are the committed figures those of the committed code? Run in a clean clone after ``make repro``.

What was rebuilt is compared with the last commit. Exactly: params and code that ``dvc.lock`` says each stage was run
with. Within a tolerance: the figures of ``metrics/headline.json`` that no trained model enters. A training on another
CPU begins with other last digits, and after some hundred steps the small model of the default is another one
(docs/durable.md): where figures that depend on it differ, both values are printed, and that is no failure.
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
TRAINED = ("adapter", "base")  # figures of what is trained begin so
TOLERANCE = 0.005
REBUILT = ("data/", "models/", "metrics/")  # dependencies that are no code


def committed(path: Path) -> str:
    """A file as it stands in the last commit."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], capture_output=True, text=True, check=True).stdout


def stale_figures(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Figures that only one side has, or that differ although no trained model enters, one line each."""
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if a == b:
            continue
        numbers = isinstance(a, int | float) and isinstance(b, int | float)
        if key in old and key in new and key.startswith(TRAINED):
            print(f"{HEADLINE}: {key}: committed {a}, rebuilt {b} (depends on the CPU)")
        elif not (numbers and abs(a - b) <= TOLERANCE):
            yield f"{HEADLINE}: {key}: committed {a}, rebuilt {b}"


def stale_stages(old: str, new: str) -> Iterator[str]:
    """What two locks have differently, of params and code, one line each."""
    before, after = (
        {name: inputs(stage) for name, stage in YAML(typ="safe").load(text)["stages"].items()}
        for text in (old, new)
    )
    for name in sorted(before.keys() | after.keys()):
        a, b = before.get(name, {}), after.get(name, {})
        changed = [key for key in sorted(a.keys() | b.keys()) if a.get(key) != b.get(key)]
        if changed:
            yield f"{LOCK}: {name}: not run since a change of {', '.join(changed)}"


def inputs(stage: Mapping[str, Any]) -> dict[str, Any]:
    """The params and the hashes of the code of a stage in a lock."""
    code = {dep["path"]: dep["md5"] for dep in stage.get("deps", []) if not dep["path"].startswith(REBUILT)}
    return code | stage.get("params", {})


def main() -> None:
    stale = [
        *stale_stages(committed(LOCK), LOCK.read_text()),
        *stale_figures(json.loads(committed(HEADLINE)), json.loads(HEADLINE.read_text())),
    ]
    for line in stale:
        print(line)
    if stale:
        sys.exit(
            "the committed figures are not those of the committed code: run make repro, commit what changes"
        )
    print("the committed figures are those of the committed code")


if __name__ == "__main__":
    main()

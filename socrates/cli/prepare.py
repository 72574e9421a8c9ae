"""``prepare``: tokenise the splits ahead of time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Example:\n\n  python -m socrates prepare"


def prepare(
    as_json: Annotated[bool, typer.Option("--json", help="The counts as JSON.")] = False,
) -> None:
    """Tokenise data/splits/ for train and predict, so that no GPU waits for it.

    Needs no GPU: run it where the scratch folder (SOCRATES_SCRATCH, else .scratch) lies that they will use.

    Without it they tokenise at their first start.
    """
    from socrates.core.params import load
    from socrates.model.params import Prompt
    from socrates.runs.token_cache import prepared

    base, splits = Path("models/base"), Path("data/splits")
    layout = load(Prompt).layout
    counts = {}
    for stage, names in {"train": ["train", "val"], "predict": ["test"]}.items():
        data = prepared([splits / f"{name}.parquet" for name in names], base, layout)
        counts[stage] = {
            "rows": len(data),
            "scenarios": len(data.scenarios),
            "personas": len(data.personas),
            "tokens": int(data.lengths().sum()),
        }
    if as_json:
        typer.echo(json.dumps(counts, indent=2))
        return
    for stage, found in counts.items():
        typer.echo(f"{stage}: " + ", ".join(f"{number:,} {name}" for name, number in found.items()))

"""``python -m socrates card``: the model card of the run at hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from socrates.cli.options import Json, License, LicenseName, check_folder

EPILOG = "Example:\n\n  python -m socrates card --adapter owner/name --license apache-2.0"


def card(
    out: Annotated[
        Path, typer.Option(help="Folder of README.md and plots/; replaced if it is there.")
    ] = Path("models/card"),
    adapter: Annotated[
        str, typer.Option(help="Where the loading snippet finds the adapter: a folder or a hub repository.")
    ] = "models/adapter",
    license_: License = "other",
    license_name: LicenseName = "not-decided",
    grams_per_kwh: Annotated[
        float, typer.Option(min=0, help="CO2 equivalent of your electricity, for the estimate.")
    ] = 475.0,
    as_json: Json = False,
) -> None:
    """Write a model card from the run: data, params, figures with intervals, limits, cost, how to load."""
    check_folder(out)

    from socrates.reporting.read import read_report
    from socrates.tools.card import Choices, write_card

    choices = Choices(adapter, license_, license_name, grams_per_kwh)
    files = write_card(out, Path(), read_report(Path()), choices)
    if as_json:
        typer.echo(json.dumps({"out": str(out), "files": files}))
    else:
        typer.echo(f"card: {out / 'README.md'} and {len(files) - 1} plots")

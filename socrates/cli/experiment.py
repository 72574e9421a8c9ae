"""experiment: what a planned survey experiment would find, before anyone is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from socrates.cli.options import (
    ADAPTER,
    BASE,
    NO_ADAPTER,
    USE,
    Adapter,
    Base,
    Json,
    Precision,
    Revision,
    cautions,
    example,
)

if TYPE_CHECKING:
    from socrates.app.experiment import ExperimentResult

EXAMPLES = example(
    "socrates experiment examples/toll.yaml",
    "socrates experiment examples/toll.yaml --output experiments/toll --json",
)
app = typer.Typer()
TABLES = Path("metrics/tables")


@app.command(epilog=EXAMPLES, rich_help_panel=USE)
def experiment(
    design: Annotated[Path, typer.Argument(help="YAML: conditions, outcomes, population; see examples/.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for the page and its tables; experiments/NAME if left out.")
    ] = None,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
    rev: Revision = None,
    tables: Annotated[
        Path | None,
        typer.Option(help=f"Folder with the model's effects.csv and cells.csv; {TABLES} if left out."),
    ] = None,
    precision: Precision = "auto",
    as_json: Json = False,
) -> None:
    """Answer a survey experiment with the model: distributions, effects with intervals, power.

    The 90 % intervals hold the model's error on held-out studies, which evaluate measured.

    Writes a page (experiment.html) and CSV tables.
    """
    from functools import partial

    from tqdm import tqdm

    from socrates.app import experiment_report as report
    from socrates.app.experiment import from_files
    from socrates.core.files import json_text

    folder = output or Path("experiments") / design.stem
    if tables is None and (rev is not None or adapter not in (ADAPTER, NO_ADAPTER) or base != BASE):
        raise typer.BadParameter(
            f"say --tables: {TABLES} has the error of {ADAPTER}, and no other model's is known"
        )
    result = from_files(
        design,
        folder / "experiment.html",
        base,
        None if adapter == NO_ADAPTER else adapter,
        rev,
        tables or TABLES,
        precision,
        cautions(adapter, rev),
        partial(tqdm, desc="experiment", unit="batch"),
    )
    written = report.write(result, folder)
    if as_json:
        typer.echo(json_text({**report.summary(result), "files": [str(path) for path in written]}), nl=False)
    else:
        _print(result, written)


def _print(result: ExperimentResult, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    from socrates.app.experiment_report import percent, plain, signed

    table = Table(box=None, pad_edge=False, title=result.design.title, title_justify="left")
    for name in ("outcome", "condition", "mean", "effect", "90 % interval", "power", "over its error"):
        table.add_column(name, justify="left" if name in ("outcome", "condition") else "right")
    effects = {(effect.outcome, effect.condition): effect for effect in result.effects}
    outcomes = [outcome.name for outcome in result.design.outcomes]
    for arm in sorted(result.arms, key=lambda arm: outcomes.index(arm.outcome)):
        row = [arm.outcome, arm.condition, plain(arm.answer.expected)]
        if effect := effects.get((arm.outcome, arm.condition)):
            points = effect.points
            row += [signed(points["effect"]), f"{signed(points['low'])} to {signed(points['high'])}"]
            row += [percent(effect.power), percent(effect.assurance)]
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    # a file or a pipe has no width; in a narrow terminal a broken line is better than a shortened number
    console.width = max(console.width, 80) if console.is_terminal else 160
    console.print(f"model       {result.model}\npopulation  {result.people.source}\n", soft_wrap=True)
    console.print(table)
    console.print(
        f"\nPower is of {result.design.respondents} respondents in all, two-sided 0.05. Simulated answers are "
        "no substitute for people.",
        soft_wrap=True,
    )
    for text in result.warnings:
        console.print(f"warning: {text}", soft_wrap=True)
    for text in result.notes:
        console.print(f"note: {text}", soft_wrap=True)
    console.print(f"written: {', '.join(map(str, written))}", soft_wrap=True)

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
    found,
)

if TYPE_CHECKING:
    from socrates.app.experiment import Result

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
    from socrates.app.calibration import calibrate, read_effects
    from socrates.app.design import read_design
    from socrates.app.outputs import check_output
    from socrates.app.population import from_file, from_training, training_respondents

    plan = read_design(design)
    folder = output or Path("experiments") / design.stem
    check_output(folder / "experiment.html")
    if tables is None and (rev is not None or adapter not in (ADAPTER, NO_ADAPTER) or base != BASE):
        raise typer.BadParameter(
            f"say --tables: {TABLES} has the error of {ADAPTER}, and no other model's is known"
        )
    ref, known = found(base, adapter, rev)
    calibration = calibrate(read_effects(tables or TABLES, "adapter" if ref.adapter else "base"))
    if plan.population.file is not None:
        people = from_file(design.parent / plan.population.file)
    elif ref.training_table is None:
        raise typer.BadParameter(
            "the training respondents are not at hand; give the design a population.file"
        )
    else:
        respondents = training_respondents(ref.training_table)
        size = plan.population.size or len(respondents)
        people = from_training(respondents, size, plan.population.quotas, plan.population.seed)

    from functools import partial

    from tqdm import tqdm

    from socrates.app import experiment as planned
    from socrates.app import experiment_report as page
    from socrates.app.model import open_model
    from socrates.core.files import json_text

    model = open_model(ref, precision)
    result = planned.run(
        plan,
        people,
        partial(model.ask, progress=lambda batches: tqdm(batches, desc="experiment", unit="batch")),
        calibration,
        known,
        str(model),
        (*ref.notes, *cautions(adapter, rev)),
    )
    written = page.write(result, folder)
    if as_json:
        typer.echo(json_text({**page.summary(result), "files": [str(path) for path in written]}), nl=False)
    else:
        _print(result, written)


def _print(result: Result, written: list[Path]) -> None:
    from rich.console import Console
    from rich.table import Table

    from socrates.app.experiment_report import percent, plain, signed

    table = Table(box=None, pad_edge=False, title=result.design.title, title_justify="left")
    for name in ("outcome", "condition", "mean", "effect", "90 % interval", "power", "over its error"):
        table.add_column(name, justify="left" if name in ("outcome", "condition") else "right")
    effects = {(found.outcome, found.condition): found for found in result.effects}
    for cell in sorted(
        result.cells, key=lambda cell: [o.name for o in result.design.outcomes].index(cell.outcome)
    ):
        row = [cell.outcome, cell.condition, plain(cell.mean)]
        if found := effects.get((cell.outcome, cell.condition)):
            low, high = signed(found.low * found.span), signed(found.high * found.span)
            row += [signed(found.effect * found.span), f"{low} to {high}"]
            row += [percent(found.power), percent(found.assurance)]
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

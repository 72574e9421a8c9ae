"""experiment: what a planned survey experiment would find, before anyone is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from socrates.cli.options import (
    ADAPTER,
    BASE,
    USE,
    Adapter,
    Base,
    Json,
    Precision,
    example,
    show_markdown,
)

if TYPE_CHECKING:
    from socrates.app.experiment import ExperimentResult

EXAMPLES = example(
    "socrates experiment examples/endorsement.yaml",
    "socrates experiment examples/endorsement.yaml --output experiments/endorsement --json",
)
app = typer.Typer()
TABLES = Path("metrics/tables")


@app.command(epilog=EXAMPLES, rich_help_panel=USE)
def experiment(
    design: Annotated[Path, typer.Argument(help="YAML: conditions, outcomes, population; see examples/.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder for page and tables; experiments/NAME if left out.")
    ] = None,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
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
    from socrates.app.design import read_design
    from socrates.app.experiment import ask_model
    from socrates.app.model_ref import resolve_model
    from socrates.app.row_files import check_output

    folder = output or Path("experiments") / design.stem
    if tables is None and (adapter not in (ADAPTER, None) or base != BASE):
        known = f"{TABLES} has the error of {ADAPTER}, and no other model's is known"
        raise typer.BadParameter(f"say --tables: {known}")
    planned = read_design(design)
    check_output(folder / "experiment.html")
    ref = resolve_model(base, adapter)
    bar = partial(tqdm, desc="experiment", unit="batch")
    result = ask_model(planned, design.parent, ref, tables or TABLES, precision, bar)
    written = report.write(result, folder)
    value = {**report.summary(result), "files": [str(path) for path in written]}
    show_markdown(as_json, value, _markdown(result, written))


def _markdown(result: ExperimentResult, written: list[Path]) -> str:
    from socrates.app.experiment_report import answer, interval, percent, signed
    from socrates.reporting.markdown import markdown_table

    head = ("outcome", "condition", "unit", "model", "effect", "90 % interval", "power", "people for 80 %")
    rows = []
    for effect in result.effects:
        row = [effect.outcome, effect.condition, effect.unit.name, signed(effect.predicted)]
        if effect.effect is not None and effect.power is not None:
            needed = f"{effect.respondents_needed:,}" if effect.respondents_needed else "not attainable"
            row += [signed(effect.effect), interval(effect), percent(effect.power), needed]
        rows.append(row + [""] * (len(head) - len(row)))
    study = f"{result.design.respondents} respondents in all find the effect (two-sided 0.05)"
    ending = [f"warning: {kind}: {text}" for kind, texts in result.warnings.items() for text in texts]
    ending += [*(f"note: {text}" for text in result.notes), f"written: {', '.join(map(str, written))}"]
    return "\n\n".join([
        f"# {result.design.title}",
        f"{result.model}; {result.people.source}",
        *answer(result),
        markdown_table(head, rows),
        f"Power: chance that {study}, averaged over what it may be. Simulated answers are no substitute for people.",
        "\n".join(f"- {line}" for line in ending),
    ])  # fmt: skip

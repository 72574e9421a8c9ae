"""``audit``: is this run what the paper did?"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

EPILOG = "Examples:\n\n  python -m socrates audit\n\n  python -m socrates audit --strict --markdown"
STYLES = {"same": "green", "different on purpose": "yellow", "wrong": "bold red", "not compared": "dim"}


def audit(
    folder: Annotated[Path, typer.Option(help="The project folder whose run is compared.")] = Path(),
    markdown: Annotated[bool, typer.Option("--markdown", help="A table for a pull request.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Every item as JSON.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if an item is wrong.")] = False,
) -> None:
    """Compare params, split, training record and metrics with the paper, item by item.

    Each item is the same, different on purpose (with the reason), wrong, or not compared.

    What was not compared is never called the same. The paper's side is docs/paper.yaml.
    """
    from socrates.core.files import json_text
    from socrates.tools import audit as auditing

    specification = auditing.read_specification(folder / auditing.SPECIFICATION)
    findings = auditing.audit(specification, auditing.read_facts(folder))
    if as_json:
        items = [dataclasses.asdict(found) for found in findings]
        report = {"source": specification.source, "counts": auditing.counts(findings), "items": items}
        typer.echo(json_text(report), nl=False)
    elif markdown:
        typer.echo(auditing.markdown(findings), nl=False)
    else:
        _table(findings, auditing.summary(findings))
    if strict and any(found.verdict == "wrong" for found in findings):
        raise typer.Exit(1)


def _table(findings: list, summary: str) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("item", "paper", "here", "verdict", "reason"):
        table.add_column(name, overflow="fold")
    for found in findings:
        verdict = Text(found.verdict, style=STYLES[found.verdict])
        table.add_row(*map(Text, (found.item, found.paper, found.here)), verdict, Text(found.reason))
    console = Console()
    if not console.is_terminal:  # a file or a pipe has no width
        console.width = 160
    console.print(table)
    console.print(summary, highlight=False)

"""``python -m socrates estimate``: memory, hours and dollars of a training, before it is paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from socrates.cli.options import Json

EPILOG = "Examples:\n\n  python -m socrates estimate\n\n  python -m socrates estimate full --gpus 4"


def estimate(
    presets: Annotated[
        list[str] | None, typer.Argument(help="Presets laid over params.yaml for this estimate, in order.")
    ] = None,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs of each machine.")] = 1,
    as_json: Json = False,
) -> None:
    """Print what the training of the current params, or of presets, would need on named machines.

    Every figure is an estimate; what it assumes stands below.
    """
    import os
    from dataclasses import asdict

    from socrates.tools import estimate as estimating
    from socrates.tools.measured import cpu_rate
    from socrates.tools.preset import preview
    from socrates.tools.workload import assumed, at_hand, counted

    here, names = Path(), presets or []
    sections = preview(names)
    reason = at_hand(here, sections)
    work = counted(here, sections, gpus) if reason is None else assumed(sections, gpus)
    form = estimating.shape(sections["model"], here / "models/base")  # type: ignore[arg-type]
    rate = cpu_rate(here, sections, form)
    price = sections["run"].usd_per_hour  # type: ignore[attr-defined]
    found = estimating.needs(form, work, sections, gpus, os.cpu_count() or 1, rate)
    basis = estimating.assumptions(work, sections["train"], price, gpus, rate)  # type: ignore[arg-type]
    if reason is not None:
        basis.insert(0, f"tokens are not counted, because {reason}")
    reported = {name: estimating.REPORTED[name] for name in names if name in estimating.REPORTED}
    if as_json:
        needs = [asdict(need) | {"bytes": need.total} for need in found]
        told = {
            "steps": work.steps,
            "tokens": work.tokens,
            "needs": needs,
            "assumed": basis,
            "reported": reported,
        }
        typer.echo(json.dumps(told))
        return
    typer.echo(
        f"estimate: {work.steps:,} steps, {work.rows:,} rows, {work.tokens / 1e6:,.1f} million tokens computed, "
        f"{work.micro} rows and {work.pass_tokens:,.0f} tokens a pass\n"
    )
    typer.echo(f"{'machine':<16}{'GiB per GPU':>12}{'of':>7}{'hours':>18}{'US dollars':>18}")
    for need in found:
        name = f"{need.gpus} x {need.machine}" if need.gpus else need.machine
        size = f"{need.total / estimating.GIB:.1f}" if need.memory else "-"
        room = f"{need.room / estimating.GIB:.0f}" if need.room else "-"
        if need.why_not:
            typer.echo(f"{name:<16}{size:>12}{room:>7}  no: {need.why_not}")
        else:
            typer.echo(f"{name:<16}{size:>12}{room:>7}{_span(need.hours):>18}{_span(need.usd):>18}")
    for name, text in reported.items():
        typer.echo(f"\nThe seed project reports of {name}: {text}.")
    typer.echo("\nAll of it is estimated. Assumed:")
    for line in basis:
        typer.echo(f"- {line}")


def _span(values: dict[str, float]) -> str:
    low, high = min(values.values()), max(values.values())
    if 0 < high < 0.005:
        return "under 0.01"
    return f"{low:,.2f}" if high - low < 0.005 else f"{low:,.2f} to {high:,.2f}"

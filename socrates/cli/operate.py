"""Before and during a training: ``preset``, ``doctor``, ``estimate`` and ``watch``."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from socrates.cli.options import Json, panel, show

app, command = panel("Before and during a run")


@command("socrates preset one-percent")
def preset(
    name: Annotated[str, Argument(help="A file of presets/ without .yaml; gsm8k/NAME for word problems.")],
    as_json: Json = False,
) -> None:
    """Write a preset into params.yaml: the keys that it names get its values, all others stay."""
    from socrates.tools.preset import apply_to_pipeline

    path, changes = apply_to_pipeline(name)
    told = f"preset {name}: {len(changes)} values changed in {path}"
    value = {"preset": name, "path": str(path), "changes": changes}
    show(as_json, value, *(f"  {change}" for change in changes), told)


@command("socrates doctor")
def doctor(as_json: Json = False) -> None:
    """Check packages, stores, GPU, disk, scratch and hub against params.yaml.

    The exit status is 1 where a run would fail; a warning is a risk that you may take.
    """
    from socrates.runs.launch import wanted_processes
    from socrates.tools.doctor import examine, gpus
    from socrates.tools.preset import preview

    checks = []
    for check in examine(Path(), preview([]), gpus(), wanted_processes()):
        checks.append(check)
        if not as_json:
            do = f"; {check.do}" if check.do else ""
            typer.echo(f"{check.status:<5} {check.name:<12} {check.text}{do}")
    failed = [check.name for check in checks if check.status == "fail"]
    warned = sum(check.status == "warn" for check in checks)
    told = f"not ready: {', '.join(failed)}" if failed else f"ready, {warned} warnings"
    show(as_json, {"ready": not failed, "checks": [asdict(check) for check in checks]}, f"doctor: {told}")
    if failed:
        raise typer.Exit(1)


@command("socrates estimate", "socrates estimate full --gpus 4")
def estimate(
    presets: Annotated[
        list[str] | None, Argument(help="Presets laid over params.yaml for this estimate, in order.")
    ] = None,
    gpus: Annotated[int, Option(min=1, help="GPUs of each machine.")] = 1,
    as_json: Json = False,
) -> None:
    """Print what the training of the current params, or of presets, would need on named machines.

    Every figure is an estimate; what it assumes stands below.
    """
    from socrates.reporting.markdown import markdown_table
    from socrates.tools.estimate import GIB, assumptions, estimates, measured, span, workload
    from socrates.tools.preset import preview

    work = workload(Path(), preview(presets or []), gpus)
    timed = measured(Path())
    rows, basis = estimates(work, timed), assumptions(work, timed)
    cells = []
    for row in rows:
        cost = ("does not fit: lower train.micro_batch or prompt.max_length, or deepspeed.offload", "", "")
        if row["hours"]:
            cost = (str(row["plan"]["micro_batch_size"]), span(row["hours"]), span(row["usd"]))
        memory = f"{row['bytes'] / GIB:.1f} of {row['room'] / GIB:.0f}"
        cells.append((f"{gpus} x {row['machine']}", memory, *cost))
    size = f"{work.plan.max_steps:,} steps, {work.rows:,} rows, {work.tokens / 1e6:,.1f} million tokens"
    told = markdown_table(("machine", "GiB per GPU", "rows a pass", "hours", "US dollars"), cells)
    assumed = "\n".join(f"- {line}" for line in basis)
    value = {"steps": work.plan.max_steps, "tokens": work.tokens, "machines": rows, "assumed": basis}
    show(as_json, value, f"{size}\n\n{told}\n\nAll of it is estimated. Assumed:\n\n{assumed}", markdown=True)


@command("socrates watch", "socrates watch --once")
def watch(
    log: Annotated[Path, Argument(help="The training's log.")] = Path("runs/train.jsonl"),
    once: Annotated[bool, Option("--once", help="Print the view once and leave.")] = False,
    as_json: Json = False,
) -> None:
    """Show a running training live, from another shell. It reads the log only, so that the run is not touched.

    With --json: the log's latest step, validation and line, once.
    """
    from socrates.tools import watch as watching

    if as_json:
        show(True, watching.state(log))
    else:
        watching.watch(log, once)

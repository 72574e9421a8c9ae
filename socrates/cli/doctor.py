"""``python -m socrates doctor``: whether this machine can run the experiment, before it costs anything."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from socrates.cli.options import Json

EPILOG = "Example:\n\n  python -m socrates doctor"


def doctor(as_json: Json = False) -> None:
    """Check Python, packages, Git, stores, GPU, disk, scratch and hub against params.yaml.

    The exit status is 1 where a run would fail; a warning is a risk that you may take.
    """
    from dataclasses import asdict

    from socrates.runs.launch import wanted_processes
    from socrates.tools.doctor import examine, gpus
    from socrates.tools.preset import preview

    findings = []
    for finding in examine(Path(), preview([]), gpus(), wanted_processes()):
        findings.append(finding)
        if not as_json:
            do = f"; {finding.do}" if finding.do else ""
            typer.echo(f"{finding.status:<5} {finding.check:<12} {finding.found}{do}")
    failed = [finding.check for finding in findings if finding.status == "fail"]
    if as_json:
        typer.echo(json.dumps({"ready": not failed, "findings": [asdict(finding) for finding in findings]}))
    elif failed:
        typer.echo(f"doctor: not ready: {', '.join(failed)}")
    else:
        warned = sum(finding.status == "warn" for finding in findings)
        typer.echo(f"doctor: ready, {warned} warnings")
    if failed:
        raise typer.Exit(1)

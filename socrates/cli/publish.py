"""``python -m socrates publish``: adapter, card, metrics and plots on the Hugging Face hub."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from socrates.cli.options import Json, License, LicenseName

EPILOG = (
    "Examples:\n\n  python -m socrates publish --repo owner/name --dry-run\n\n"
    "  python -m socrates publish --repo owner/name --public --license apache-2.0"
)


def publish(
    repo: Annotated[str, typer.Option(help="Repository on the hub: owner/name.")],
    public: Annotated[bool, typer.Option("--public", help="Show it to everyone; private otherwise.")] = False,
    license_: License = "other",
    license_name: LicenseName = "not-decided",
    grams_per_kwh: Annotated[float, typer.Option(min=0, help="As for card.")] = 475.0,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "Adapter, card, metrics and plots",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Push adapter, model card, metrics and plots to the hub in one commit, private unless told otherwise."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise typer.BadParameter(f"--repo {repo}: expected owner/name")

    from socrates.core.errors import SocratesError
    from socrates.reporting.read import read_report
    from socrates.tools.card import Choices, write_card
    from socrates.tools.publish import publish as push
    from socrates.tools.publish import published

    if public and (license_, license_name) == ("other", "not-decided"):
        raise SocratesError(
            "--public: others need a licence to use it; decide with --license or --license-name"
        )
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder) / "card"
        write_card(card, Path(), read_report(Path()), Choices(repo, license_, license_name, grams_per_kwh))
        files = published(Path(), card)
        sizes = {path: file.stat().st_size for path, file in files.items()}
        address = None if dry_run else push(repo, files, public, message)
    if as_json:
        typer.echo(json.dumps({"repo": repo, "public": public, "commit": address, "files": sizes}))
        return
    if dry_run:
        for path, size in sizes.items():
            typer.echo(f"{size:>12,}  {path}")
    shown = "public" if public else "private"
    done = f"would go to {repo} ({shown}); nothing was sent" if dry_run else f"{shown}, {address}"
    typer.echo(f"publish: {len(sizes)} files, {sum(sizes.values()):,} bytes, {done}")

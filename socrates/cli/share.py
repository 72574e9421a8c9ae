"""The trained model for others: ``merge``, ``card`` and ``publish``."""

import contextlib
import re
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from socrates.cli.options import Json, panel, show

Out = Annotated[Path, Option(file_okay=False, help="Folder that is written; replaced if it is there.")]
License = Annotated[
    str | None, Option("--license", help="Of the adapter, as the hub names it; else not decided.")
]

app, command = panel("Hand the model on")


@command(
    "socrates merge", "socrates predict --model models/merged --adapter none --example 1  # asks it then"
)
def merge(
    out: Out = Path("models/merged"),
    rows: Annotated[int, Option(min=1, help="Test rows to compare on.")] = 100,
    tolerance: Annotated[
        float | None,
        Option(min=0, help="Mean distance of answers that is allowed; by the dtype if left out."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the adapter merged into its base model as safetensors, if both give the same answers.

    The adapter is added to the weights that NF4 represents, not to the original ones.
    """
    from socrates.tools.merge import merge as merge_models

    with contextlib.redirect_stdout(sys.stderr):  # DeepSpeed logs to standard output, which is for the result
        check = merge_models(Path(), out, rows, tolerance)
    told = (
        f"merge: {out}, {check['dtype']}, the adapter added to the "
        f"{'de-quantised NF4' if check['quantization'] == 'nf4' else 'base'} weights; on {check['rows']} test rows "
        f"their answers have a total variation distance of {check['mean_distance']:.2g} in the mean "
        f"(largest {check['largest_distance']:.2g}; allowed in the mean {check['tolerance']:.2g})"
    )
    show(as_json, {"out": str(out), **check}, told)


@command("socrates card --adapter owner/name --license apache-2.0")
def card(
    out: Out = Path("models/card"),
    adapter: Annotated[
        str, Option(help="Where the loading snippet finds the adapter: a folder or a hub repository.")
    ] = "models/adapter",
    license_: License = None,
    as_json: Json = False,
) -> None:
    """Write a model card from the run: data, params, figures with intervals, limits, how to load."""
    from socrates.reporting.read import read_report
    from socrates.tools.card import write_card

    files = write_card(out, read_report(Path()), adapter, license_)
    show(as_json, {"out": str(out), "files": files}, f"card: {out / 'README.md'} and {len(files) - 1} plots")


@command(
    "socrates publish --repo owner/name --dry-run",
    "socrates publish --repo owner/name --public --license apache-2.0",
)
def publish(
    repo: Annotated[str, Option(help="Repository on the hub: owner/name.")],
    public: Annotated[bool, Option("--public", help="Show it to everyone; private otherwise.")] = False,
    license_: License = None,
    dry_run: Annotated[bool, Option("--dry-run", help="List the files and send nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Push adapter, model card, metrics and plots to the hub in one commit, private unless told otherwise."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise typer.BadParameter(f"--repo {repo}: expected owner/name")

    from socrates.core.errors import SocratesError
    from socrates.reporting.read import read_report
    from socrates.tools.card import files_to_publish, upload, write_card

    if public and license_ is None:
        raise SocratesError("--public: others need a licence to use it; decide with --license")
    with tempfile.TemporaryDirectory() as folder:
        card = Path(folder, "card")
        write_card(card, read_report(Path()), repo, license_)
        files = files_to_publish(Path(), card)
        sizes = {path: file.stat().st_size for path, file in files.items()}
        address = None if dry_run else upload(repo, files, public)
    lines = [f"{size:>12,}  {path}" for path, size in sizes.items()] if dry_run else []
    shown = "public" if public else "private"
    done = f"would go to {repo} ({shown}); nothing was sent" if dry_run else f"{shown}, {address}"
    told = f"publish: {len(sizes)} files, {sum(sizes.values()):,} bytes, {done}"
    show(as_json, {"repo": repo, "public": public, "commit": address, "files": sizes}, *lines, told)

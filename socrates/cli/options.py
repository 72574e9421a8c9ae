"""Options that several commands have, and the model that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from socrates.app.model_ref import ModelRef
    from socrates.app.training_support import TrainingSupport

ADAPTER, BASE = "models/adapter", Path("models/base")
NO_ADAPTER = "none"
USE = "Use the model"  # a panel of --help

Adapter = Annotated[
    str, typer.Option(help=f"A folder, owner/name@commit on the hub, or '{NO_ADAPTER}' for the base model.")
]
Base = Annotated[Path, typer.Option("--base", "--model", help="The base model's folder, or one saved whole.")]
Revision = Annotated[str | None, typer.Option(help="A Git revision whose models DVC fetches.")]
Precision = Annotated[
    Literal["auto", "bfloat16", "nf4", "int8", "float32"],
    typer.Option(help="Of the weights; auto: by device and its free memory."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def example(*commands: str) -> str:
    """The end of a command's help."""
    return "\n\n".join(
        ["Examples:" if len(commands) > 1 else "Example:", *(f"  {line}" for line in commands)]
    )


def print_json(value: Any) -> None:
    """The output of a command under ``--json``."""
    from socrates.core.files import json_text

    typer.echo(json_text(value), nl=False)


def found(base: Path, adapter: str, revision: str | None) -> tuple[ModelRef, TrainingSupport | None]:
    """The model that the options name, and what its training had seen; None where that is not at hand."""
    from socrates.app.model_ref import resolve_model
    from socrates.app.training_support import training_support

    ref = resolve_model(base, None if adapter == NO_ADAPTER else adapter, revision)
    return ref, training_support(ref.training_table)


def cautions(adapter: str, revision: str | None) -> tuple[str, ...]:
    """That the checkout's own model learned from made answers, if it did."""
    from socrates.core.params import PATH, load
    from socrates.data.params import Data

    own = adapter in (ADAPTER, NO_ADAPTER) and revision is None and PATH.exists()
    if not own or load(Data).source != "synthetic":
        return ()
    return ("The model learned from a made world (data.source synthetic): nothing here is about people.",)

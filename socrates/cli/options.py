"""Options that several commands have, and how a result is printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

ADAPTER, BASE = "models/adapter", Path("models/base")
USE = "Use the model"  # a panel of --help

Adapter = Annotated[
    str | None,
    typer.Option(
        help="A folder, or 'none' for the base model.",
        callback=lambda name: None if name == "none" else name,
    ),
]
Base = Annotated[Path, typer.Option("--base", "--model", help="The base model's folder, or one saved whole.")]
Precision = Annotated[
    Literal["auto", "bfloat16", "nf4", "int8", "float32"],
    typer.Option(help="Of the weights; auto: by device and its free memory."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def example(*commands: str) -> str:
    """The end of a command's help."""
    title = "Examples:" if len(commands) > 1 else "Example:"
    return "\n\n".join([title, *(f"  {line}" for line in commands)])


def show(as_json: bool, value: Any, *lines: str) -> None:
    """Print the result of a command: ``value`` under ``--json``, otherwise ``lines``."""
    from socrates.core.files import json_text

    typer.echo(json_text(value) if as_json else "".join(f"{line}\n" for line in lines), nl=False)


def show_markdown(as_json: bool, value: Any, text: str) -> None:
    """Print the result of a command: ``value`` under ``--json``, otherwise a text in Markdown, drawn on a terminal."""
    if as_json or not sys.stdout.isatty():
        show(as_json, value, text)
    else:
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown(text))

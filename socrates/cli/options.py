"""What several commands have in common: their decorator, their options, and how a result is printed."""

import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer
from typer import Option

Json = Annotated[bool, Option("--json", help="Print one JSON object.")]
Command = TypeVar("Command", bound=Callable[..., None])


def panel(title: str) -> tuple[typer.Typer, Callable[..., Callable[[Command], Command]]]:
    """A part of ``--help``: its app, and ``@command(*examples)`` for a command whose help ends with examples."""
    app = typer.Typer()

    def command(*examples: str) -> Callable[[Command], Command]:
        heading = "Examples:" if len(examples) > 1 else "Example:"
        epilog = "\n\n".join([heading, *(f"  {line}" for line in examples)])
        return app.command(epilog=epilog, rich_help_panel=title)

    return app, command


def show(as_json: bool, value: Any, *lines: str, markdown: bool = False) -> None:
    """Print the result of a command: ``value`` under ``--json``, otherwise ``lines``, Markdown drawn on a terminal."""
    from socrates.core.files import json_text

    if markdown and not as_json and sys.stdout.isatty():
        from rich.console import Console
        from rich.markdown import Markdown

        Console().print(Markdown("\n".join(lines)))
    else:
        typer.echo(json_text(value) if as_json else "".join(f"{line}\n" for line in lines), nl=False)

"""``python -m socrates``: use the model, hand it on, and look after a run.

Exit status: 0 done; 1 a :class:`~socrates.core.errors.SocratesError`, or what a command was asked to fail for
(``audit --strict``, ``doctor``); 2 a wrong command line; 130 Ctrl+C. What is wrong is one line on standard error.
"""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Annotated

import typer
from typer.completion import completion_init

from socrates.cli import (
    audit,
    card,
    chat,
    completion,
    doctor,
    estimate,
    experiment,
    merge,
    predict,
    prepare,
    publish,
    serve,
)
from socrates.core import errors

app = typer.Typer(
    name="socrates",
    help="Predict how people answer survey experiments. There is no chat: the adapter answers surveys.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _script(shell: completion.Shell | None) -> None:
    if shell:
        typer.echo(completion.SCRIPTS[shell], nl=False)
        raise typer.Exit


@app.callback()
def root(
    shell: Annotated[
        completion.Shell | None,
        typer.Option(
            "--completion",
            callback=_script,
            is_eager=True,
            help="Print a script that completes words, and exit.",
        ),
    ] = None,
) -> None:
    """Commands are registered below, in the order that help shows them."""


app.command(epilog=predict.EPILOG)(predict.predict)
app.command(epilog=experiment.EPILOG)(experiment.experiment)
app.command(epilog=serve.EPILOG)(serve.serve)
app.command(epilog=audit.EPILOG)(audit.audit)
app.command(hidden=True, context_settings=chat.ANYTHING)(chat.chat)
app.command(epilog=doctor.EPILOG)(doctor.doctor)
app.command(epilog=estimate.EPILOG)(estimate.estimate)
app.command(epilog=prepare.EPILOG)(prepare.prepare)
app.command(epilog=merge.EPILOG)(merge.merge)
app.command(epilog=card.EPILOG)(card.card)
app.command(epilog=publish.EPILOG)(publish.publish)


def run() -> None:
    """Run the command line; a wrong one is a line on stderr and exit status 2."""
    try:
        status = app(prog_name="python -m socrates", complete_var=completion.VARIABLE, standalone_mode=False)
    except typer.TyperException as wrong:
        said = wrong.format_message().removeprefix("Invalid value: ").replace("Value error, ", "").rstrip(".")
        if said:  # nothing where the help was shown instead
            command = getattr(getattr(wrong, "ctx", None), "command_path", "python -m socrates")
            print(f"error: {' '.join(said.split())}; see {command} --help", file=sys.stderr)
        raise SystemExit(wrong.exit_code) from None
    raise SystemExit(status)


def main() -> None:
    """``python -m socrates``."""
    # A collection walks the hundreds of thousands of objects that torch's import makes, and frees none of them.
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    completion_init()  # teaches the shells to Click; what add_completion would do
    errors.run(run)

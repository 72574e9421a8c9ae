"""``socrates``, or ``python -m socrates``: use the model, hand it on, and look after a run.

Exit status: 0 done; 1 a :class:`~socrates.core.errors.SocratesError`, or what a command was asked to fail for
(``audit --strict``, ``doctor``); 2 a wrong command line; 130 Ctrl+C. What is wrong is one line on standard error.
"""

import atexit
import gc
import sys

import typer

from socrates.cli import operate, results, use
from socrates.core import errors

NAME = "socrates"

app = typer.Typer(
    name=NAME,
    help="Predict how people answer survey experiments. There is no chat: the adapter answers surveys.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for panel in (use.app, operate.app, results.look, results.share):
    app.add_typer(panel)


def run() -> None:
    """Run the command line; a wrong one is a line on stderr and exit status 2."""
    try:
        status = app(prog_name=NAME, standalone_mode=False)
    except typer.TyperException as error:
        message = error.format_message().removeprefix("Invalid value: ").replace("Value error, ", "")
        if message := " ".join(message.rstrip(".").split()):  # empty where the help was shown instead
            command = getattr(getattr(error, "ctx", None), "command_path", NAME)
            print(f"error: {message}; see {command} --help", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    raise SystemExit(status)


def main() -> None:
    """The entry point of the command ``socrates``."""
    # A collection walks the hundreds of thousands of objects that torch's import makes, and frees none of them;
    # so does the one at exit (processor time of an answer: 7.1 s instead of 9.5, docs/log.md).
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)
    errors.run(run)

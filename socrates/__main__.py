"""``python -m socrates``: use the model, hand it on, and look after a run.

A :class:`~socrates.errors.SocratesError` becomes one line and exit status 1; a wrong option is 2.
"""

from __future__ import annotations

import typer

from socrates import errors
from socrates.commands import (
    audit,
    card,
    chat,
    doctor,
    estimate,
    experiment,
    merge,
    predict,
    prepare,
    publish,
    serve,
    solve,
)

app = typer.Typer(
    name="socrates",
    help="Predict how people answer survey experiments. There is no chat: the adapter answers surveys.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def main() -> None:
    """Commands are registered below, in the order that help shows them."""


app.command(epilog=predict.EPILOG)(predict.predict)
app.command(epilog=experiment.EPILOG)(experiment.experiment)
app.command(epilog=serve.EPILOG)(serve.serve)
app.command(epilog=audit.EPILOG)(audit.audit)
app.command(hidden=True, context_settings=chat.ANYTHING)(chat.chat)
app.command()(doctor.doctor)
app.command()(estimate.estimate)
app.command()(prepare.prepare)
app.command()(solve.solve)
app.command()(merge.merge)
app.command()(card.card)
app.command()(publish.publish)

if __name__ == "__main__":
    errors.run(lambda: app(prog_name="python -m socrates"))

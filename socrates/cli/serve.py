"""serve: a page and a JSON API on this machine."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from socrates.cli.options import (
    ADAPTER,
    BASE,
    USE,
    Adapter,
    Base,
    Precision,
    Revision,
    cautions,
    example,
    found,
)

HOST = "127.0.0.1"  # and no other: there is no login
EXAMPLES = example("socrates serve --port 8500")
app = typer.Typer()


@app.command(epilog=EXAMPLES, rich_help_panel=USE)
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8421,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
    rev: Revision = None,
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The address as JSON on standard output.")] = False,
) -> None:
    """Serve a page to ask the model and to compare two wordings, on 127.0.0.1 only."""
    listening = listen(port)  # before the seconds a model takes
    import json

    import uvicorn

    from socrates.app.model import open_model
    from socrates.app.server import create_app

    ref, known = found(base, adapter, rev)
    model = open_model(ref, precision)
    url = f"http://{HOST}:{listening.getsockname()[1]}"
    print(
        json.dumps({"url": url, "model": str(model)}) if as_json else f"{model}\n{url}  (Ctrl+C stops)",
        flush=True,
    )
    app = create_app(model, known, warnings=cautions(adapter, rev))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_keep_alive=5, server_header=False)
    )
    server.run(sockets=[listening])


def listen(port: int) -> socket.socket:
    """A socket on the port of this machine. Raises :class:`SocratesError` where it is taken."""
    from socrates.core.errors import SocratesError

    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise SocratesError(
            f"port {port}: {(error.strerror or str(error)).lower()}; give another with --port, or 0 for any free one"
        ) from None
    return listening

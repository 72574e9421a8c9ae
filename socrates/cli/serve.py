"""serve: a page and a JSON API on this machine."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from socrates.cli.options import ADAPTER, BASE, USE, Adapter, Base, Precision, example

HOST = "127.0.0.1"  # and no other: there is no login
app = typer.Typer()


@app.command(epilog=example("socrates serve --port 8500"), rich_help_panel=USE)
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8421,
    adapter: Adapter = ADAPTER,
    base: Base = BASE,
    precision: Precision = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The address as JSON on standard output.")] = False,
) -> None:
    """Serve a page to ask the model and to compare two wordings, on 127.0.0.1 only."""
    listening = listen(port)  # before the seconds a model takes
    import json

    import uvicorn

    from socrates.app.model import open_model
    from socrates.app.model_ref import resolve_model
    from socrates.app.server import create_app

    model = open_model(resolve_model(base, adapter), precision)
    url = f"http://{HOST}:{listening.getsockname()[1]}"
    told = json.dumps({"url": url, "model": str(model)})
    print(told if as_json else f"{model}\n{url}  (Ctrl+C stops)", flush=True)
    config = uvicorn.Config(
        create_app(model),
        log_level="critical",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    uvicorn.Server(config).run(sockets=[listening])


def listen(port: int) -> socket.socket:
    """A socket on the port of this machine. Raises :class:`SocratesError` where it is taken."""
    from socrates.core.errors import SocratesError

    try:
        return socket.create_server((HOST, port), backlog=512)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        advice = "give another with --port, or 0 for any free one"
        raise SocratesError(f"port {port}: {reason}; {advice}") from None

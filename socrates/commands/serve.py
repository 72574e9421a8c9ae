"""serve: a page and a JSON API on this machine."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

HOST = "127.0.0.1"  # and no other: there is no login
EPILOG = "Example:\n\n  python -m socrates serve --port 8500"


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8421,
    adapter: Annotated[
        str, typer.Option(help="A folder, owner/name@commit on the hub, or 'none' for the base model.")
    ] = "models/adapter",
    base: Annotated[
        Path, typer.Option("--base", "--model", help="The base model's folder, or one saved whole.")
    ] = Path("models/base"),
    rev: Annotated[str | None, typer.Option(help="A Git revision whose models DVC fetches.")] = None,
    precision: Annotated[str, typer.Option(help="auto, bfloat16, nf4, int8 or float32.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="The address as JSON on standard output.")] = False,
) -> None:
    """Serve a page to ask the model and to compare two wordings, on 127.0.0.1 only."""
    listening = listen(port)  # before the seconds a model takes
    import json

    import uvicorn

    from socrates.use.asking import open_model
    from socrates.use.finding import locate
    from socrates.use.seen import seen
    from socrates.use.server import application

    located = locate(base, None if adapter == "none" else adapter, rev)
    known = seen(located.training_table) if located.training_table else None
    model = open_model(located, precision)
    url = f"http://{HOST}:{listening.getsockname()[1]}"
    print(
        json.dumps({"url": url, "model": str(model)}) if as_json else f"{model}\n{url}  (Ctrl+C stops)",
        flush=True,
    )
    app = application(model, known)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", timeout_keep_alive=5, server_header=False)
    )
    server.run(sockets=[listening])


def listen(port: int) -> socket.socket:
    """A socket on the port of this machine. Raises :class:`SocratesError` where it is taken."""
    from socrates.errors import SocratesError

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

"""`lalafo serve`: the HTTP gateway in the foreground, with the servers that are there.

Decides which servers: those that the environment names, else those of a stack that runs on the
home. Serving is `gateway/server.py`'s; `python -m gateway` is the same without this package.
"""

from typing import Annotated

import typer
from rich.console import Console

from lalafo_assets.commands.console import DEFAULT_HOME, Home, use_running_stack


def serve(
    home: Home = DEFAULT_HOME,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; LALAFO_GATEWAY_HOST, 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="0: any free one; LALAFO_GATEWAY_PORT, 8080."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; LALAFO_GATEWAY_WORKERS, 1.")
    ] = None,
    auth: Annotated[
        str | None, typer.Option(help="'keys', or 'off': on loopback only; LALAFO_GATEWAY_AUTH.")
    ] = None,
) -> None:
    """Serve the HTTP API and its page until Ctrl-C."""
    from gateway.server import configure_log
    from gateway.server import serve as serve_here
    from resources.settings import changed_settings

    use_running_stack(home)
    given = {"host": host, "port": port, "workers": workers, "auth": auth}
    changes = {f"gateway_{name}": value for name, value in given.items() if value is not None}
    err = Console(stderr=True)
    configure_log()

    def print_address(url: str) -> None:
        message = f"The page: {url}/   the API: {url}/docs   Ctrl-C stops it."
        err.print(message, soft_wrap=True, highlight=False)

    serve_here(changed_settings(changes), on_progress=print_address)

"""`lalafo serve`: runs the HTTP gateway in the foreground.

It uses the PostgreSQL and Kafka that the environment names, otherwise those of the running stack.
`gateway/server.py` serves; `python -m gateway` does the same without this package.
"""

from typing import Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, new_console, use_running_stack
from lalafo_assets.commands.terminal.help_pages import help_page


@help_page(
    ("lalafo serve", "beside a running stack, on the next address you give"),
    ("lalafo serve --port 8090 --auth off", "without keys, on loopback only"),
    ("lalafo serve --host 0.0.0.0 --auth keys", "for other machines; `lalafo keys make`"),
    reads="PostgreSQL, Kafka and the photo store: the environment's, or the running stack's",
    writes="accepted ads, uploads, labels and the outbox; its log to standard error",
    settings=("database_url", "kafka_bootstrap", "store_url", "gateway_host", "gateway_port"),
    until_interrupted=True,
)
def serve(
    home: Home = DEFAULT_HOME,
    host: Annotated[
        str | None,
        typer.Option(help="Address to listen on. Default: LALAFO_GATEWAY_HOST, or 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Port to listen on; 0 takes any free one. Default: LALAFO_GATEWAY_PORT, or 8080.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of server processes. Default: LALAFO_GATEWAY_WORKERS, or 1."
        ),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            help="'keys' requires API keys; 'off' requires none, and is allowed on loopback only. "
            "Default: LALAFO_GATEWAY_AUTH, or keys."
        ),
    ] = None,
) -> None:
    """Serve the HTTP API and its web page until Ctrl-C."""
    from gateway.server import configure_log
    from gateway.server import serve as serve_here
    from resources.settings import changed_settings

    use_running_stack(home)
    given = {"host": host, "port": port, "workers": workers, "auth": auth}
    changes = {f"gateway_{name}": value for name, value in given.items() if value is not None}
    err = new_console(stderr=True)
    configure_log()

    def print_address(url: str) -> None:
        line = f"The page: {url}/   API documentation: {url}/docs   Ctrl-C stops the server."
        err.print(line, soft_wrap=True, highlight=False)

    serve_here(changed_settings(changes), on_progress=print_address)

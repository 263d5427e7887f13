"""The command `lalafo up`: runs the whole stack on this machine until Ctrl-C."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, Home, Port, new_console
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps


@help_page(
    ("lalafo up", "everything, until Ctrl-C"),
    ("LALAFO_SESSIONS=2 lalafo up", "two sessions that share the partitions"),
    ("lalafo up --only services", "PostgreSQL and the broker, for `dagster dev`"),
    reads="the environment: a Kafka that LALAFO_KAFKA_BOOTSTRAP names is used",
    writes="all state and logs in LALAFO_HOME; exports for a shell to standard output",
    settings=("home", "kafka_bootstrap", "sessions", "gateway_port", "metrics_port"),
    failure="a part can't start, or ended too often; the message has the end of its log",
    until_interrupted=True,
)
def up(
    home: Home = DEFAULT_HOME,
    only: Annotated[
        str | None,
        typer.Option(
            help="'services' starts PostgreSQL and the broker only, for use with `dagster dev`."
        ),
    ] = None,
    port: Port = None,
) -> None:
    """Run PostgreSQL, a broker, Dagster and the gateway on this machine until Ctrl-C.

    Prints the environment variables of the stack as shell exports.
    """
    from lalafo_assets.stack.supervisor import Stack
    from resources.processes.environment import cache_folders

    if only not in (None, "services"):
        raise typer.BadParameter(f"--only {only}: expected 'services'")
    err = new_console(stderr=True)
    services_only = only is not None
    os.environ.update(cache_folders(home, os.environ))
    with (
        Steps(err) as steps,
        Stack(home, port=port, services_only=services_only, on_progress=steps) as stack,
    ):
        steps.finish()
        for name, value in stack.exports.items():
            print(f"export {name}={shlex.quote(value)}")  # noqa: T201 - shell input for `eval`
        sys.stdout.flush()
        if stack.gateway_url:
            err.print(f"The page: {stack.gateway_url}/", soft_wrap=True)
        if stack.ui_url:
            err.print(f"Dagster's UI: {stack.ui_url}", soft_wrap=True)
        err.print("Running; Ctrl-C stops everything and keeps the state.")
        _wait_for_interrupt(stack.check)


def _wait_for_interrupt(check: Callable[[], None]) -> None:
    try:
        while True:
            check()
            time.sleep(1)
    except KeyboardInterrupt:
        return

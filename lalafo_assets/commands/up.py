"""The command `lalafo up`: runs the whole stack on this machine until Ctrl-C."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from lalafo_assets.commands.console import DEFAULT_HOME, GatewayPort, Home, Port, new_console
from lalafo_assets.commands.notices import NoticeWatch, stack_notices
from lalafo_assets.commands.terminal.help_pages import help_page
from lalafo_assets.commands.terminal.steps import Steps

if TYPE_CHECKING:
    from resources.postgres.database import Database


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
    gateway_port: GatewayPort = None,
    release: Annotated[
        bool,
        typer.Option(
            help="Where no release is live yet, install the one that ships with the package. "
            "Without a release, ads are accepted and not scored."
        ),
    ] = True,
) -> None:
    """Run PostgreSQL, a broker, Dagster and the gateway on this machine until Ctrl-C.

    Uses the servers that LALAFO_KAFKA_BOOTSTRAP, LALAFO_DATABASE_URL and
    LALAFO_DAGSTER_DATABASE_URL name instead of its own. Prints the environment variables of the
    stack as shell exports.
    """
    from lalafo_assets.commands.releases.default import install_default_release
    from lalafo_assets.stack.supervisor import Stack
    from ops.tasks import all_tasks
    from resources.processes.environment import cache_folders
    from resources.settings import load_settings

    all_tasks()  # a package with a task that can't be imported ends the start here, by its name
    if only not in (None, "services"):
        raise typer.BadParameter(f"--only {only}: expected 'services'")
    err = new_console(stderr=True)

    def say(text: str) -> None:
        err.print(text, soft_wrap=True, highlight=False)

    def prepare(database: "Database") -> None:
        name = install_default_release(database) if release else None
        if name is not None:
            say(f"no release was live: installed {name}, which ships with the package")

    services_only = only is not None
    os.environ.update(cache_folders(home, os.environ))
    with (
        Steps(err) as steps,
        Stack(
            home,
            port=port,
            gateway_port=gateway_port,
            services_only=services_only,
            prepare=prepare,
            on_progress=steps,
        ) as stack,
    ):
        steps.finish()
        for name, value in stack.exports.items():
            print(f"export {name}={shlex.quote(value)}")  # noqa: T201 - shell input for `eval`
        sys.stdout.flush()
        if stack.gateway_url:
            say(f"The page: {stack.gateway_url}/")
        if stack.ui_url:
            say(f"Dagster's UI: {stack.ui_url}")
        notices = NoticeWatch(lambda: stack_notices(load_settings()), say)
        notices.check()
        say("Running; Ctrl-C stops everything and keeps the state.")
        _wait_for_interrupt(stack.check, notices.check)


def _wait_for_interrupt(*checks: Callable[[], None]) -> None:
    try:
        while True:
            for check in checks:
                check()
            time.sleep(1)
    except KeyboardInterrupt:
        return

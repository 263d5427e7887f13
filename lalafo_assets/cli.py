"""The command `lalafo`: assembles its subcommands and starts the one that was named.

Owns the command tree, logging of commands, and exit statuses. Subcommands import the modules that
do the work only when they run, so that `--help` answers at once.
"""

import logging
import signal
import sys
import warnings
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.markup import escape

from lalafo_assets.bench.batch.command import bench_batch
from lalafo_assets.bench.event_log.command import bench_event_log
from lalafo_assets.bench.gateway.command import bench_gateway
from lalafo_assets.bench.rescore.command import bench_rescore
from lalafo_assets.bench.stream.command import bench_stream
from lalafo_assets.commands.console import new_console
from lalafo_assets.commands.dlq import dlq
from lalafo_assets.commands.doctor import doctor
from lalafo_assets.commands.kafka.topics import topics
from lalafo_assets.commands.keys import keys
from lalafo_assets.commands.migrate import migrate
from lalafo_assets.commands.publish import publish
from lalafo_assets.commands.releases.lifecycle import releases
from lalafo_assets.commands.releases.promote import diff, promote
from lalafo_assets.commands.releases.rescore import rescore
from lalafo_assets.commands.releases.train import check_command, train
from lalafo_assets.commands.results import results
from lalafo_assets.commands.serve import serve
from lalafo_assets.commands.stats import stats
from lalafo_assets.commands.up import up
from lalafo_assets.demo.command import demo
from ops.errors import LalafoError

app = typer.Typer(
    name="lalafo",
    help="Photo understanding for classifieds marketplaces: ads arrive through Kafka, their "
    "categories are stored in PostgreSQL, and Dagster shows every step.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
bench = typer.Typer(
    help="Run a benchmark. Each command prints one JSON object.", no_args_is_help=True
)
app.add_typer(releases, name="releases")
app.add_typer(bench, name="bench")
bench.command("stream")(bench_stream)
bench.command("rescore")(bench_rescore)
bench.command("gateway")(bench_gateway)
bench.command("batch")(bench_batch)
bench.command("event-log")(bench_event_log)
app.add_typer(dlq, name="dlq")
app.add_typer(keys, name="keys")
for command in (demo, up, results, doctor, publish, migrate, topics, serve, stats):
    app.command()(command)
for command in (rescore, diff, promote):
    app.command()(command)
app.command("train")(train)
releases.command("check")(check_command)

console = new_console()


def _show_version(requested: bool) -> None:
    if requested:
        console.print(installed_version("lalafo-vision"))
        raise typer.Exit


@app.callback()
def lalafo(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_show_version,
            is_eager=True,
            help="Show the version and exit.",
        ),
    ] = False,
) -> None:
    """Hold the options that come before a command; its help is the application's."""


def _check_settings(arguments: Sequence[str]) -> None:
    """Refuse settings that are misspelt or out of range before a command starts anything.

    Help needs no settings, and `doctor` prints what is wrong with them itself.
    """
    if arguments and arguments[0] != "doctor" and not {"--help", "--version"} & set(arguments):
        from resources.settings import load_settings

        load_settings()


def main() -> None:
    """Run the command line.

    A LalafoError is printed as one line and gives exit status 1, a usage error status 2, and
    Ctrl-C or SIGTERM status 130.
    """
    # Both signals raise KeyboardInterrupt, so that a command shuts down gracefully. A shell may
    # have started this process with SIGINT ignored; setting the handler restores it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # Dagster 1.13 warns about its own beta parameters at every start; the tests watch for changes.
    warnings.filterwarnings("ignore", message=".*is currently in beta")
    # stdout carries results only: logs go to stderr, from the level "warning" on.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        _check_settings(sys.argv[1:])
        app()
    except LalafoError as error:
        # One line whatever the width, and no markup: the message may hold a path with brackets.
        message = f"[red]lalafo:[/] {escape(str(error))}"
        Console(stderr=True).print(message, highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

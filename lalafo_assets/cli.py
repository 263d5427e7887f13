"""The command `lalafo`: assembles its subcommands and starts the one that was named.

Owns the command tree and its groups. Exit statuses are in `commands/terminal/ending.py`.
Subcommands import the modules that do the work only when they run, so that `--help` answers at
once.
"""

import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from lalafo_assets.bench.batch.command import bench_batch
from lalafo_assets.bench.duplicates.command import bench_duplicates
from lalafo_assets.bench.engines.command import bench_engines
from lalafo_assets.bench.event_log.command import bench_event_log
from lalafo_assets.bench.export.command import bench_export
from lalafo_assets.bench.gateway.command import bench_gateway
from lalafo_assets.bench.growth.command import bench_growth
from lalafo_assets.bench.peers.command import bench_peers
from lalafo_assets.bench.price.command import bench_price
from lalafo_assets.bench.quality.command import bench_quality
from lalafo_assets.bench.rescore.command import bench_rescore
from lalafo_assets.bench.search.command import bench_search
from lalafo_assets.bench.segments.command import bench_segments
from lalafo_assets.bench.start.command import bench_start
from lalafo_assets.bench.stream.command import bench_stream
from lalafo_assets.commands.console import new_console
from lalafo_assets.commands.doctor import doctor
from lalafo_assets.commands.export.command import export
from lalafo_assets.commands.kafka.dlq import dlq
from lalafo_assets.commands.kafka.topics import topics
from lalafo_assets.commands.keys import keys
from lalafo_assets.commands.migrate import migrate
from lalafo_assets.commands.publish import publish
from lalafo_assets.commands.releases.backbones import backbones
from lalafo_assets.commands.releases.lifecycle import releases
from lalafo_assets.commands.releases.promote import diff, promote
from lalafo_assets.commands.releases.rescore import rescore
from lalafo_assets.commands.releases.train import check_command, train
from lalafo_assets.commands.results import results
from lalafo_assets.commands.search.duplicates import duplicates
from lalafo_assets.commands.search.segments import segments
from lalafo_assets.commands.search.similar import similar
from lalafo_assets.commands.serve import serve
from lalafo_assets.commands.settings import settings
from lalafo_assets.commands.stats import stats
from lalafo_assets.commands.terminal.ending import run_to_status
from lalafo_assets.commands.terminal.help_pages import LalafoCommand, LalafoGroup, help_page
from lalafo_assets.commands.terminal.logs import configure_logs
from lalafo_assets.commands.terminal.switches import set_color
from lalafo_assets.commands.up import up
from lalafo_assets.demo.command import demo

RUN, ADS, RELEASES = "Run", "Ads", "Releases"
OPERATE, MEASURE = "Operate", "Measure"

app = typer.Typer(
    name="lalafo",
    cls=LalafoGroup,
    help="Photo understanding for classifieds marketplaces: ads arrive through Kafka, their "
    "categories are stored in PostgreSQL, and Dagster shows every step.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
bench = typer.Typer(
    cls=LalafoGroup,
    help="Run a benchmark. Each command prints one JSON object.",
    no_args_is_help=True,
)
for name, measure in (
    ("stream", bench_stream),
    ("rescore", bench_rescore),
    ("gateway", bench_gateway),
    ("batch", bench_batch),
    ("engines", bench_engines),
    ("price", bench_price),
    ("event-log", bench_event_log),
    ("peers", bench_peers),
    ("growth", bench_growth),
    ("export", bench_export),
    ("start", bench_start),
    ("quality", bench_quality),
    ("search", bench_search),
    ("duplicates", bench_duplicates),
    ("segments", bench_segments),
):
    bench.command(name, cls=LalafoCommand)(measure)
releases.command("check", cls=LalafoCommand)(check_command)

# The panels of `lalafo --help` appear in this order.
for panel, commands in (
    (RUN, (demo, up, serve)),
    (ADS, (publish, results, similar, duplicates, segments, export)),
    (RELEASES, (train, rescore, diff, promote, backbones)),
    (OPERATE, (doctor, settings, migrate, topics)),
    (MEASURE, (stats,)),
):
    for command in commands:
        app.command(cls=LalafoCommand, rich_help_panel=panel)(command)
for panel, name, group in (
    (RELEASES, "releases", releases),
    (OPERATE, "keys", keys),
    (OPERATE, "dlq", dlq),
    (MEASURE, "bench", bench),
):
    app.add_typer(group, name=name, cls=LalafoGroup, rich_help_panel=panel)


def _show_version(requested: bool) -> None:
    if requested:
        new_console().print(installed_version("lalafo-vision"))
        raise typer.Exit


@app.callback(cls=LalafoGroup)
@help_page(
    ("lalafo demo", "the whole product on this machine, with ads"),
    ("lalafo up", "the same stack without the demo's ads"),
    ("lalafo results", "the ads that were scored last"),
    ("lalafo train", "a better release, from the labels that came in"),
    ("lalafo doctor", "what is missing here, and how to fix it"),
    ("lalafo --install-completion", "Tab completes commands and options"),
    reads="the environment (`lalafo settings`), and the stack that runs in LALAFO_HOME",
    writes="results to standard output, messages to standard error, log records to the file "
    "logs/lalafo.log in LALAFO_HOME",
    settings=("home", "database_url", "kafka_bootstrap", "gateway_url"),
)
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
    command = next((it for it in arguments if not it.startswith("-")), "doctor")
    if command != "doctor" and not {"--help", "--version"} & set(arguments):
        from resources.settings import load_settings

        load_settings()


def _run() -> None:
    _check_settings(sys.argv[1:])
    app(prog_name="lalafo")


def main() -> None:
    """Run the command line; `commands/terminal/ending.py` lists the exit statuses."""
    # Both signals raise KeyboardInterrupt, so that a command shuts down gracefully. A shell may
    # have started this process with SIGINT ignored; setting the handler restores it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    set_color(False)
    configure_logs()
    sys.exit(run_to_status(_run))


if __name__ == "__main__":
    main()

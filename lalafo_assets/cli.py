"""The command `lalafo`: everything that a person starts by hand.

Decides options and words only; the work is in the modules that it calls, imported on use so that
`--help` answers at once.
"""

import logging
import signal
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import closing
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.table import Table

from lalafo_assets.bench.gateway_command import bench_gateway
from lalafo_assets.bench.rescore_command import bench_rescore
from lalafo_assets.bench.stream_command import bench_stream
from lalafo_assets.command_line import (
    DEFAULT_HOME,
    Home,
    new_console,
    open_database,
)
from lalafo_assets.dlq_commands import dlq
from lalafo_assets.keys_commands import keys
from lalafo_assets.promote_command import diff, promote
from lalafo_assets.publish_command import publish
from lalafo_assets.release_commands import releases
from lalafo_assets.rescore_command import rescore
from lalafo_assets.serve_command import serve
from lalafo_assets.stats_command import stats
from lalafo_assets.train_commands import check_command, train
from ops.errors import LalafoError

app = typer.Typer(
    name="lalafo",
    help="Photo understanding for classifieds marketplaces: ads go in through Kafka, categories "
    "come out in PostgreSQL, and Dagster shows every step.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
bench = typer.Typer(help="Measure; each prints one JSON object.", no_args_is_help=True)
app.add_typer(releases, name="releases")
app.add_typer(bench, name="bench")
bench.command("stream")(bench_stream)
bench.command("rescore")(bench_rescore)
bench.command("gateway")(bench_gateway)
app.add_typer(dlq, name="dlq")
app.add_typer(keys, name="keys")
for command in (publish, rescore, diff, promote, serve, stats):
    app.command()(command)
app.command("train")(train)
releases.command("check")(check_command)

console = new_console()

Port = Annotated[
    int | None,
    typer.Option(
        min=1, max=65_535, help="Of Dagster's UI; the first free one from 3000 on if not given."
    ),
]
WEIGHTS = ("auto", "starter", "pretrained")


def _show_version(wanted: bool) -> None:
    if wanted:
        console.print(installed_version("lalafo-vision"))
        raise typer.Exit


@app.callback()
def lalafo(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Tell it.")
    ] = False,
) -> None:
    """Options before a command."""


@app.command()
def demo(
    home: Home = DEFAULT_HOME,
    ads: Annotated[int, typer.Option(min=1, help="How many ads to publish.")] = 200,
    photos: Annotated[
        Path | None,
        typer.Option(help="Your own photos, one folder a class; drawn ones if not given."),
    ] = None,
    weights: Annotated[
        str,
        typer.Option(help="Of the backbone: auto, starter, pretrained, or file:PATH.safetensors."),
    ] = "auto",
    backbone: Annotated[str, typer.Option(help="A torchvision name.")] = "mobilenet_v3_small",
    finetune: Annotated[
        bool, typer.Option("--finetune", help="Train the backbone on your photos too (minutes).")
    ] = False,
    exit_at_end: Annotated[
        bool, typer.Option("--exit", help="End by itself; status 0 if every ad is accounted for.")
    ] = False,
    story: Annotated[
        bool,
        typer.Option(help="Go on to train, gate, re-score, diff, promote and roll back a release."),
    ] = True,
    port: Port = None,
) -> None:
    """Start everything on this machine and run the main job once, on labelled ads."""
    from lalafo_assets.demo.options import DemoOptions
    from lalafo_assets.demo.run import run_demo

    if weights not in WEIGHTS and not weights.startswith("file:"):
        raise typer.BadParameter(f"{weights!r}: {', '.join(WEIGHTS)} or file:PATH.safetensors")
    options = DemoOptions(
        home=home,
        ads=ads,
        photos=photos,
        weights=weights,
        backbone=backbone,
        finetune=finetune,
        exit_at_end=exit_at_end,
        story=story,
        port=port,
    )
    if not run_demo(options, console):
        console.print("[red]Not every event is accounted for.[/]")
        raise typer.Exit(1)


@app.command()
def up(
    home: Home = DEFAULT_HOME,
    only: Annotated[
        str | None,
        typer.Option(help="'services': PostgreSQL and the broker, for `dagster dev`."),
    ] = None,
    port: Port = None,
) -> None:
    """Start PostgreSQL, a broker, Dagster and the gateway on this machine, until Ctrl-C."""
    from lalafo_assets.stack import Stack

    if only not in (None, "services"):
        raise LalafoError(f"--only {only}: expected 'services'")
    err = Console(stderr=True)
    services_only = only is not None
    with Stack(home, port=port, services_only=services_only, told=err.print) as stack:
        for name, value in stack.exports.items():
            print(f"export {name}='{value}'")  # noqa: T201 - made for `eval`
        sys.stdout.flush()
        if stack.gateway_url:
            err.print(f"The page: {stack.gateway_url}/")
        if stack.ui_url:
            err.print(f"Dagster's UI: {stack.ui_url}")
        err.print("Running; Ctrl-C stops everything, the state stays.")
        _wait_for_interrupt(stack.check)


@app.command()
def results(
    ad: Annotated[
        str | None, typer.Argument(help="catalog/ad_id; the latest ads if not given.")
    ] = None,
    home: Home = DEFAULT_HOME,
) -> None:
    """What is known of an ad: photos, failures, predictions, and the run behind each."""
    from lalafo_assets.results import print_ad, print_latest

    with closing(open_database(home)) as database:
        if ad is None:
            print_latest(database, console)
        else:
            print_ad(database, ad, console)


@app.command()
def doctor() -> None:
    """What is missing on this machine, and how to mend it."""
    from lalafo_assets.doctor import Grade, diagnose

    table = Table(show_header=False, box=None)
    worst = Grade.GOOD
    marks = {Grade.GOOD: "[green]✓[/]", Grade.LACKS: "[yellow]~[/]", Grade.BAD: "[red]✗[/]"}
    for line in diagnose():
        told = line.found if line.mend == "" else f"{line.found}  →  {line.mend}"
        table.add_row(marks[line.grade], line.subject, told)
        worst = Grade.BAD if Grade.BAD in (worst, line.grade) else worst
    console.print(table)
    if worst is Grade.BAD:
        raise typer.Exit(1)


@bench.command("event-log")
def bench_event_log(
    json_only: Annotated[bool, typer.Option("--json", help="Nothing but the JSON line.")] = False,
) -> None:
    """What an hour of a stream's reports costs in Dagster's event log: rows and bytes."""
    from lalafo_assets.bench.event_log import run_bench

    if not json_only:
        Console(stderr=True).print("writing the reports of one hour (about 20 s)")
    print(run_bench())  # noqa: T201 - the result


@bench.command("batch")
def bench_batch(
    photos: Annotated[
        Path | None, typer.Option(help="A folder of real photos; drawn ones if not given.")
    ] = None,
    count: Annotated[int, typer.Option(min=64, help="Photos, no two alike.")] = 2_000,
    rounds: Annotated[int, typer.Option(min=1, help="Interleaved runs; medians count.")] = 3,
    json_only: Annotated[bool, typer.Option("--json", help="Nothing but the JSON line.")] = False,
) -> None:
    """Photos a second of the asset path, beside a bare loop of the same work in the same run."""
    from lalafo_assets.bench.batch import run_bench

    told = (lambda _: None) if json_only else Console(stderr=True).print
    print(run_bench(photos=photos, count=count, rounds=rounds, told=told))  # noqa: T201 - the result


def main() -> None:
    """The entry point: our errors become one line and status 1, a wrong use status 2."""
    # Ctrl-C and SIGTERM both end politely, also where a shell started us with SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # stdout is for results, so logs go to stderr, and only those that call for a person.
    # Dagster 1.13 warns of its own beta parameters at every start; the project's tests watch them.
    warnings.filterwarnings("ignore", message=".*is currently in beta")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        app()
    except LalafoError as error:
        Console(stderr=True).print(f"[red]lalafo:[/] {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _wait_for_interrupt(check: Callable[[], None]) -> None:
    try:
        while True:
            check()
            time.sleep(1)
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()

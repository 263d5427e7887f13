"""The options of `lalafo bench stream`."""

from pathlib import Path
from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page


@help_page(
    ("lalafo bench stream --embedded --seconds 20", "a short one, without Apache Kafka"),
    ("lalafo bench stream --saturate --json", "photos a second; nothing but the JSON document"),
    ("lalafo bench stream --plot latency.png", "a picture of latency over time"),
    ("lalafo bench stream --all-tasks", "with price, quality and moderation"),
    ("lalafo bench stream --with-search", "with the index for similar ads"),
    ("lalafo bench stream --seconds 600 --explain", "what delayed the slowest ads"),
    reads="photos that it draws, or yours; the Kafka that LALAFO_KAFKA_BOOTSTRAP names",
    writes="servers' data in a temporary folder, which it removes",
    settings=("kafka_bootstrap", "device", "torch_threads"),
)
def bench_stream(
    rate: Annotated[float, typer.Option(min=0.1, help="Ads a second.")] = 20.0,
    photos_per_ad: Annotated[
        float, typer.Option(min=1, max=4, help="The mean; each ad has 1 to 4.")
    ] = 2.5,
    seconds: Annotated[float, typer.Option(min=1, help="How long ads arrive.")] = 60.0,
    sessions: Annotated[
        int | None,
        typer.Option(min=1, help="Sessions to run; 1, or 2 with --saturate and --kill."),
    ] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions of the topic; 1, or 2 with --saturate.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="A folder of real photos; drawn ones if not given.")
    ] = None,
    saturate: Annotated[
        bool, typer.Option("--saturate", help="Send all ads at once, to measure photos a second.")
    ] = False,
    handover: Annotated[
        bool, typer.Option("--handover", help="Make sessions so short that one hands over.")
    ] = False,
    kill: Annotated[
        bool, typer.Option("--kill", help="Kill the live session with SIGKILL; a standby runs.")
    ] = False,
    with_backfill: Annotated[
        bool, typer.Option("--with-backfill", help="Run a re-score of stored photos meanwhile.")
    ] = False,
    backfill_photos: Annotated[int, typer.Option(min=1, help="Photos of that re-score.")] = 4_000,
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="Use librdkafka's test broker instead of Apache Kafka."),
    ] = False,
    without_storing: Annotated[
        bool,
        typer.Option("--without-storing", help="Also run a baseline that stores no photos."),
    ] = False,
    all_tasks: Annotated[
        bool,
        typer.Option(
            "--all-tasks", help="A release that answers price, quality and moderation too."
        ),
    ] = False,
    with_search: Annotated[
        bool,
        typer.Option(
            "--with-search",
            help="Let the indexer run, and measure when ads are found by searches.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say what delayed each ad of over three times the median."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw latency over time into this PNG.", metavar="FILE")
    ] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Latency from Kafka timestamp to committed row, compared with a baseline in the same run.

    Real PostgreSQL, Dagster, photo host and load generator run on the same cores. Kafka is the one
    that LALAFO_KAFKA_BOOTSTRAP names; without it the bench starts Apache Kafka (needs Java 17, and
    Maven the first time). It takes about two minutes more than twice --seconds.
    """
    from lalafo_assets.bench.harness.options import StreamBench
    from lalafo_assets.bench.stream.run import run_stream

    bench = StreamBench(
        rate=rate,
        photos_per_ad=photos_per_ad,
        seconds=seconds,
        sessions=sessions,
        partitions=partitions,
        photos=photos,
        saturate=saturate,
        handover=handover,
        kill=kill,
        with_backfill=with_backfill,
        backfill_photos=backfill_photos,
        embedded=embedded,
        explain=explain,
        without_storing=without_storing,
        all_tasks=all_tasks,
        with_search=with_search,
        plot=plot,
    )
    print(run_stream(bench, bench_console(json_only)))  # noqa: T201 - the result

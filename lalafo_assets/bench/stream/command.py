"""The options of `lalafo bench stream`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def bench_stream(
    rate: Annotated[float, typer.Option(min=0.1, help="Ads a second.")] = 20.0,
    photos_per_ad: Annotated[
        float, typer.Option(min=1, max=4, help="On average; ads have 1 to 4, mixed.")
    ] = 2.5,
    seconds: Annotated[float, typer.Option(min=1, help="How long ads come.")] = 60.0,
    sessions: Annotated[
        int | None, typer.Option(min=1, help="Kept; 1, or 2 with --saturate and --kill.")
    ] = None,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Of the topic; 1, or 2 with --saturate.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="A folder of real photos; drawn ones if not given.")
    ] = None,
    saturate: Annotated[
        bool, typer.Option("--saturate", help="All ads at once: how many photos a second.")
    ] = False,
    handover: Annotated[
        bool, typer.Option("--handover", help="Sessions so short that one hands over.")
    ] = False,
    kill: Annotated[
        bool, typer.Option("--kill", help="kill -9 of the live session; a standby runs.")
    ] = False,
    with_backfill: Annotated[
        bool, typer.Option("--with-backfill", help="A re-score of stored photos beside.")
    ] = False,
    backfill_photos: Annotated[int, typer.Option(min=1, help="Photos of that re-score.")] = 4_000,
    embedded: Annotated[
        bool,
        typer.Option("--embedded", help="The test broker, where Apache Kafka can't be had."),
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw latency over time into this PNG.", metavar="FILE")
    ] = None,
    json_only: Annotated[bool, typer.Option("--json", help="Nothing but the JSON line.")] = False,
) -> None:
    """Kafka timestamp to committed row, everything real on this machine, beside a baseline script.

    LALAFO_KAFKA_BOOTSTRAP names a Kafka to use; without it Apache Kafka is started (Java 17, and
    Maven the first time). Real PostgreSQL, Dagster, photo host and load generator run on the same
    cores. It takes about two minutes more than twice --seconds.
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
        plot=plot,
    )
    print(run_stream(bench, Console(stderr=True, quiet=json_only)))  # noqa: T201 - the result

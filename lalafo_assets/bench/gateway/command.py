"""The options of `lalafo bench gateway`."""

from typing import Annotated

import typer

from lalafo_assets.bench.harness.progress import bench_console
from lalafo_assets.commands.terminal.help_pages import help_page

PARTS = ("accept", "read", "wait", "lookup", "peer")


@help_page(
    ("lalafo bench gateway --rows 10000 --seconds 5", "a short one"),
    ("lalafo bench gateway --only accept,read --json", "two parts, nothing but the JSON document"),
    reads="photos that it draws",
    writes="servers' data in a temporary folder, which it removes: 25 GB with the default rows",
    failure="a part could not be measured",
)
def bench_gateway(
    rows: Annotated[
        int, typer.Option(min=1_000, help="Ads in the database for the lookups.")
    ] = 10_000_000,
    seconds: Annotated[int, typer.Option(min=2, help="Length of each load, in seconds.")] = 20,
    only: Annotated[
        str, typer.Option(help=f"Some of {','.join(PARTS)}; all if not given.", metavar="PARTS")
    ] = ",".join(PARTS),
    json_only: Annotated[bool, typer.Option("--json", help="Print only the JSON line.")] = False,
) -> None:
    """Latency of the HTTP gateway under `wrk`, with real PostgreSQL, Apache Kafka and session.

    accept: POST 200 ads a second. read: GET 500 ads a second. wait: POST 20 ads a second and wait
    for their results; a session of the whole stack fetches the photos from a host on this machine
    and scores them. peer: the same ads sent to the original's first design (Tornado, two threads,
    the model in the handler), in alternating rounds. lookup: PostgreSQL's own timing of the
    statements behind GET, among --rows ads; each ad takes about 2 KB of disk and 60 microseconds
    to insert.

    Needs `wrk` (apt-get install wrk), Java 17, and Maven the first time. If a part can't be
    measured, the command exits with status 1 and the JSON line has the reason under `failed`.
    """
    from lalafo_assets.bench.gateway.options import GatewayBench
    from lalafo_assets.bench.gateway.run import run_gateway_bench

    parts = tuple(part.strip() for part in only.split(",") if part.strip())
    unknown = sorted(set(parts) - set(PARTS))
    if unknown or not parts:
        raise typer.BadParameter(f"--only {only}: expected some of {', '.join(PARTS)}")
    bench = GatewayBench(rows=rows, seconds=seconds, parts=frozenset(parts))
    result = run_gateway_bench(bench, bench_console(json_only))
    print(result.line)  # noqa: T201 - the result
    if result.failed:
        raise typer.Exit(1)
